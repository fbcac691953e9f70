"""Which part of which record of a FASTA file an interval is."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from omicsfm._errors import InputError, OmicsfmWarning
from omicsfm.seq._fasta import Place
from omicsfm.seq._intervals import plain_chrom, read_intervals

BEYOND = 0.01  # of the intervals may end beyond their chromosome, or two


def locate(
    name: str, lengths: Mapping[str, int], *, var: pd.DataFrame, places: Callable[[], Mapping[Place, str]]
) -> pd.DataFrame:
    """Find what to read for each feature.

    Parameters
    ----------
    name
        Of the file, for errors.
    lengths
        Number of bases by record.
    var
        Features, whose names are records, or which have intervals as `read_intervals` takes them.
    places
        Gives the records by the interval in their headers; called if no chromosome of `var` is a record.

    Returns
    -------
    DataFrame (n_vars): record, start, end, flip (whether to read the other strand).

    Raises
    ------
    InputError
        If a feature is not found, or so many end beyond their chromosome that this is another assembly.
    """
    features = var.index.astype(str)
    absent = [feature for feature in features if feature not in lengths]
    if not absent:
        return _whole(features.to_numpy(dtype=object), lengths, flip=False)
    if len(absent) < len(features):
        raise InputError(
            f"seq.Genome: {len(absent):,} of {len(features):,} features have no record in '{name}', first "
            f"'{absent[0]}'; the others have one of their name. Fix: leave them out, or add them to the file."
        )
    table = read_intervals("seq.Genome", var)
    record = table["chrom"].map(chromosomes("seq.Genome", name, lengths, table["chrom"].unique()))
    if record.isna().all() and (found := places()):
        return _regions(name, lengths, table=table, places=found)
    if record.isna().any():
        i = int(np.argmax(record.isna()))
        raise InputError(
            f"seq.Genome: {int(record.isna().sum()):,} of {len(table):,} intervals are on chromosomes that '{name}' "
            f"does not have, first '{table['chrom'].iloc[i]}' of '{table.index[i]}'; it has "
            f"{', '.join(list(lengths)[:4])}. This looks like another assembly. "
            "Fix: give the FASTA of the assembly of the data, or remove these features."
        )
    beyond = table["end"].to_numpy() > record.map(lengths).to_numpy()
    if beyond.sum() > max(2, BEYOND * len(table)):
        i = int(np.argmax(beyond))
        raise InputError(
            f"seq.Genome: {int(beyond.sum()):,} of {len(table):,} intervals end beyond their chromosome, first "
            f"'{table.index[i]}' ({record.iloc[i]} has {lengths[record.iloc[i]]:,} bases). This looks like another "
            f"assembly than '{name}'. Fix: give the FASTA of the assembly of the data."
        )
    return table.assign(record=record).rename(columns={"minus": "flip"})[["record", "start", "end", "flip"]]


def chromosomes(function: str, file: str, lengths: Mapping[str, int], wanted: np.ndarray) -> dict[str, str]:
    """Name of a chromosome in the data -> its name in the file, for those that have one; other names are warned of."""
    plain = {plain_chrom(record): record for record in lengths}
    found = {name: name if name in lengths else plain.get(plain_chrom(name)) for name in wanted}
    known = {name: record for name, record in found.items() if record is not None}
    renamed = [f"{name} as {record}" for name, record in known.items() if name != record]
    if renamed:
        more = ", ..." if len(renamed) > 3 else ""
        warnings.warn(
            f"{function}: chromosomes have other names in '{file}': read {', '.join(renamed[:3])}{more}.",
            OmicsfmWarning,
            stacklevel=3,
        )
    return known


def _regions(
    name: str, lengths: Mapping[str, int], *, table: pd.DataFrame, places: Mapping[Place, str]
) -> pd.DataFrame:
    """Find intervals among those of the records; one of the other strand is read backwards."""
    records, flip = [], []
    for feature, (chrom, start, end, minus) in zip(table.index, table.itertuples(index=False, name=None), strict=True):
        at = Place(plain_chrom(chrom), start, end, minus)
        record = places.get(at) or places.get(at._replace(minus=not minus))
        if record is None:
            raise InputError(
                f"seq.Genome: '{name}' has neither a chromosome '{chrom}' nor a record of the interval "
                f"{chrom}:{start}-{end} of '{feature}'. "
                "Fix: give the FASTA of the chromosomes, or of these very regions (start from 0, end not included)."
            )
        records.append(record)
        flip.append(at not in places)
    return _whole(np.array(records, dtype=object), lengths, flip=np.array(flip, dtype=bool)).set_axis(table.index)


def _whole(records: np.ndarray, lengths: Mapping[str, int], *, flip: np.ndarray | bool) -> pd.DataFrame:
    end = np.array([lengths[record] for record in records], dtype=np.int64)
    return pd.DataFrame({"record": records, "start": 0, "end": end, "flip": flip})
