"""The 3D genome beside the counts: contacts of features in ``varp``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import anndata as ad
import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from omicsfm import _compat
from omicsfm._errors import InputError
from omicsfm._progress import progress
from omicsfm.hub._manifest import versions
from omicsfm.seq._contact_map import Band, ContactMap
from omicsfm.seq._expected import observed_over_expected
from omicsfm.seq._intervals import plain_chrom, read_intervals
from omicsfm.seq._locate import BEYOND, chromosomes

_CALLER = "seq.add_contacts"
_MOST = 400_000_000  # entries: 3.2 GB


def add_contacts(
    data: ad.AnnData | MuData,
    contacts: str | os.PathLike[str],
    *,
    key_added: str = "contacts",
    max_distance: int = 2_000_000,
    balance: str | None = None,
    expected: Literal["chromosome", "genome"] | pd.DataFrame = "chromosome",
    overwrite: bool = False,
) -> None:
    """Give features the contacts of their places in a Hi-C map, over what their distance lets expect.

    Parameters
    ----------
    data
        One modality, such as ``mdata["atac"]``, whose `var` holds `chrom`, `start`, `end` (0-based, half-open) or names
        such as ``"chr1:100-600"``; or a whole MuData, for contacts of peaks with genes as well: features of modalities
        without intervals then have none. Only ``var``, ``varp`` and ``uns`` are changed.
    contacts
        A cooler: ``"map.cool"``, or one resolution of several, ``"map.mcool::/resolutions/10000"``.
    key_added
        Key of ``varp``, such as ``"contacts:wt"``.
    max_distance
        In bases, between the bins: contacts farther apart are left out, and so are those between chromosomes, which
        have no distance.
    balance
        Column of the map's weights of bins ("weight", "KR"), by which raw counts are corrected for the coverage of
        bins. None: raw counts; they are larger where more was sequenced, at both ends.
    expected
        Over what pairs of bins the mean at a distance is taken: each "chromosome" by itself, the "genome", or each of
        the regions of a table with `chrom`, `start`, `end` (arms); contacts between two regions are left out.
    overwrite
        Replace what is under the key.

    Raises
    ------
    InputError
        If there is no such map, resolution or weights; no feature, or hardly any, lies on it (another assembly); the
        key is taken; or the table would not fit into memory.

    Notes
    -----
    ``varp[key]`` is CSR float32 (n_vars, n_vars), symmetric: contacts of the bins that hold the centres of two
    features, divided by the mean at their distance (1: as expected). The map does not tell features of one bin apart,
    so pairs within a bin have no entry. ``var["<key>_bin"]`` is the bin, counted over all chromosomes of the map, and
    -1 where there is none or it was not measured. So no entry means no contact where both bins are told and differ, and
    not known elsewhere. Distances are grouped, 1 bin wide at first and then wider by an eighth each.
    ``uns["omicsfm"]["contacts"][key]`` records map, assembly, resolution, choices, SHA-256 of the contacts read, and
    versions.

    References
    ----------
    Abdennur & Mirny (2020), Bioinformatics 36:311 (cooler); Lieberman-Aiden et al. (2009), Science 326:289 (observed
    over expected).
    """
    _check(data, key_added, max_distance=max_distance, expected=expected, overwrite=overwrite)
    found = ContactMap(contacts, balance=balance)
    features = _features(data)
    chrom, place = _bins(features, found)
    regions = _regions(found, expected)
    width = max_distance // found.resolution
    bands: list[Band] = []
    origin: list[str] = []
    measured = np.full(len(features), -1, dtype=np.int32)
    starts = dict(zip(found.lengths, np.cumsum([0, *_n_bins(found)]), strict=False))
    for name in progress([name for name in found.lengths if name in regions], desc=f"contacts of {found.name}"):
        band = found.band(name, width)
        inside = np.zeros(len(band.valid), dtype=bool)
        for first, last in regions[name]:
            bands.append(band.part(first, last))
            origin.append(name)
            inside |= bands[-1].valid
        rows = np.flatnonzero(chrom == name)
        seen = inside[place[rows]]
        measured[rows[seen]] = starts[name] + place[rows[seen]]
    values = observed_over_expected(bands, width, pooled=isinstance(expected, str) and expected == "genome")
    table = _spread(bands, values, origin=[starts[name] for name in origin], bins=measured)
    with _compat.silent():  # mudata 0.3 about its own update()
        data.varp[key_added] = table
        data.var[f"{key_added}_bin"] = measured
    _record(
        data,
        key_added,
        {
            "map": found.name,
            "assembly": found.assembly,
            "resolution": found.resolution,
            "max_distance": max_distance,
            "balance": balance or "raw",
            "expected": expected if isinstance(expected, str) else "regions",
            "n_measured": int((measured >= 0).sum()),
            "contacts_sha256": found.sha256,
            "versions": versions(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


def _check(data: Any, key: str, *, max_distance: int, expected: Any, overwrite: bool) -> None:
    if not isinstance(data, ad.AnnData | MuData):
        raise InputError(
            f"{_CALLER}: a modality or a MuData was needed, found {type(data).__name__}. Fix: pass mdata['atac']."
        )
    if data.is_view:
        raise InputError(f"{_CALLER}: a view cannot be written to. Fix: pass a copy, data[...].copy().")
    if "/" in key:
        raise InputError(f"{_CALLER}: keys must not hold '/', found {key!r}. Fix: write ':' or '_'.")
    if key in data.varp and not overwrite:
        raise InputError(f"{_CALLER}: varp[{key!r}] is there already. Fix: overwrite=True, or another key_added.")
    if max_distance < 1:
        raise InputError(
            f"{_CALLER}: max_distance must be 1 base or more, found {max_distance}. Fix: such as 2_000_000."
        )
    if not isinstance(expected, pd.DataFrame) and expected not in ("chromosome", "genome"):
        raise InputError(
            f"{_CALLER}: expected must be 'chromosome', 'genome' or a table of regions, found {expected!r}. "
            "Fix: choose one."
        )


def _features(data: ad.AnnData | MuData) -> pd.DataFrame:
    """Intervals of all features, in the order of `var`; chrom is None where there are none."""
    if isinstance(data, ad.AnnData):
        return read_intervals(_CALLER, data.var)
    parts = []
    for adata in data.mod.values():
        try:
            parts.append(read_intervals(_CALLER, adata.var))
        except InputError:
            if {"start", "end"} <= set(adata.var.columns):  # there are intervals, and they are wrong
                raise
    if not parts:
        raise InputError(
            f"{_CALLER}: no modality has intervals. Fix: give var chrom, start and end (0-based, half-open)."
        )
    table = pd.concat(parts).reindex(data.var_names)
    table["chrom"] = table["chrom"].astype(object).where(table["chrom"].notna(), None)
    return table


def _n_bins(found: ContactMap) -> list[int]:
    return [-(-length // found.resolution) for length in found.lengths.values()]


def _bins(features: pd.DataFrame, found: ContactMap) -> tuple[np.ndarray, np.ndarray]:
    """Give the chromosome of the map of each feature (None: not on it) and the bin of its centre."""
    placed = features["chrom"].notna().to_numpy()
    wanted = features["chrom"][placed].unique()
    known = chromosomes(_CALLER, found.name, found.lengths, wanted)
    chrom = features["chrom"].map(known).to_numpy(dtype=object)
    on = pd.notna(chrom)
    if not on.any():
        raise InputError(
            f"{_CALLER}: none of the {len(features):,} features is on a chromosome of '{found.name}', which has "
            f"{', '.join(list(found.lengths)[:4])}; the features have {', '.join(map(str, wanted[:4]))}. "
            "Fix: give a map of the assembly of the data."
        )
    start, end = (features[name].fillna(0).to_numpy(dtype=np.int64) for name in ("start", "end"))
    beyond = on & (end > np.array([found.lengths.get(name, 0) for name in chrom]))
    if beyond.sum() > max(2, BEYOND * on.sum()):
        i = int(np.argmax(beyond))
        told = f" ({found.assembly})" if found.assembly else ""
        raise InputError(
            f"{_CALLER}: {int(beyond.sum()):,} of {int(on.sum()):,} features end beyond their chromosome, first "
            f"'{features.index[i]}' ({chrom[i]} has {found.lengths[chrom[i]]:,} bases). This looks like another "
            f"assembly than that of '{found.name}'{told}. Fix: give a map of the assembly of the data."
        )
    chrom[beyond] = None
    return chrom, np.where(pd.notna(chrom), (start + end) // 2 // found.resolution, 0)


def _regions(found: ContactMap, expected: str | pd.DataFrame) -> dict[str, list[tuple[int, int]]]:
    """Chromosome -> bins (first, behind the last) of the regions within which contacts are compared."""
    whole = {name: [(0, n)] for name, n in zip(found.lengths, _n_bins(found), strict=True)}
    if isinstance(expected, str):
        return whole
    table = read_intervals(f"{_CALLER}: expected", expected)
    plain = {plain_chrom(name): name for name in found.lengths}
    out: dict[str, list[tuple[int, int]]] = {}
    for told, start, end in table[["chrom", "start", "end"]].itertuples(index=False, name=None):
        name = told if told in found.lengths else plain.get(plain_chrom(told))
        if name is None:
            raise InputError(
                f"{_CALLER}: '{found.name}' has no chromosome '{told}'. Fix: correct the table of regions."
            )
        # A bin belongs to the region that holds its centre, so that no bin is in two.
        half = found.resolution / 2
        first, last = (int(np.ceil((edge - half) / found.resolution)) for edge in (start, end))
        n_bins = whole[name][0][1]
        # The last bin of a chromosome is short.
        span = (max(first, 0), n_bins if end >= found.lengths[name] else min(last, n_bins))
        if any(span[0] < b and a < span[1] for a, b in out.get(name, [])):
            raise InputError(f"{_CALLER}: regions of '{told}' overlap. Fix: give regions that do not.")
        out.setdefault(name, []).append(span)
    return out


def _spread(
    bands: Sequence[Band], values: Sequence[np.ndarray], *, origin: Sequence[int], bins: np.ndarray
) -> sparse.csr_matrix:
    """Give all pairs of features the value of their bins, unless that is one bin."""
    rows = np.flatnonzero(bins >= 0)
    ends = [start + len(band.valid) for start, band in zip(origin, bands, strict=True)]
    n_bins = max(ends, default=0)
    count = np.bincount(bins[rows], minlength=n_bins)
    low, high, value = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for band, over, start in zip(bands, values, origin, strict=True):
        kept = (band.low != band.high) & (count[band.low + start] > 0) & (count[band.high + start] > 0)
        low.append(band.low[kept] + start)
        high.append(band.high[kept] + start)
        value.append(over[kept].astype(np.float32))
    i, j, x = np.concatenate(low), np.concatenate(high), np.concatenate(value)
    if (total := 2 * int((count[i] * count[j]).sum())) > _MOST:
        raise InputError(
            f"{_CALLER}: {len(rows):,} features have {total:,} contacts, more than {_MOST:,}. Fix: a smaller "
            "max_distance, fewer features (one promoter per gene), or a map of smaller bins."
        )
    holds = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, bins[rows])), shape=(len(bins), n_bins))
    upper = holds @ sparse.csr_matrix((x, (i, j)), shape=(n_bins, n_bins)) @ holds.T
    out = (upper + upper.T).tocsr()
    out.sort_indices()
    return out


def _record(data: ad.AnnData | MuData, key: str, entry: dict[str, Any]) -> None:
    known = dict(data.uns.get("omicsfm", {}))
    data.uns["omicsfm"] = {**known, "contacts": {**known.get("contacts", {}), key: entry}}
