"""Which features of two modalities belong together: what GLUE is guided by, without bedtools."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from mudata import MuData
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from omicsfm._errors import InputError

REGION = r"^(?P<chrom>[\w.]+)[:-](?P<start>\d+)-(?P<end>\d+)$"
Links = dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]


def guide(mdata: MuData, kinds: dict[str, str], window: int) -> Links:
    """Link the features of every pair of modalities.

    By coordinates where both have ``chrom``, ``start`` and ``end`` in ``var`` (regions also by names such as
    chr1:100-200), else by equal ``gene_id``, else by equal names (case, a prefix "modality:" and the number of a clone
    such as ".1" set aside).

    Parameters
    ----------
    mdata
        Cells of training.
    kinds
        Modality -> recipe.
    window
        Bases by which intervals may miss each other.

    Returns
    -------
    Pair of modalities -> positions of linked features in both, of equal length; pairs without a link are left out.

    Raises
    ------
    InputError
        If no chain of links ties all modalities together.
    """
    mods = sorted(kinds)
    links: Links = {}
    for i, a in enumerate(mods):
        for b in mods[i + 1 :]:
            found = _link(mdata, a, b, kinds, window)
            if len(found[0]):
                links[a, b] = found
    tied = np.zeros((len(mods), len(mods)))
    for a, b in links:
        tied[mods.index(a), mods.index(b)] = 1
    n_parts, part = connected_components(csr_array(tied), directed=False)
    if n_parts > 1:
        groups = " | ".join(", ".join(m for m, p in zip(mods, part, strict=True) if p == i) for i in range(n_parts))
        raise InputError(
            f"GLUE.fit: links between features of the modalities are needed, found none between {groups}. Fix: give "
            "both chrom, start and end in var (genes too), or gene_id, or the same names; or use a model that learns "
            "from paired cells alone, such as LinearMosaic or MIDAS."
        )
    return links


def _link(mdata: MuData, a: str, b: str, kinds: dict[str, str], window: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = _intervals(mdata, a), _intervals(mdata, b)
    if x is not None and y is not None:
        found = _overlaps(x, y, window)
        if len(found[0]):
            return found
    var = mdata.mod[a].var, mdata.mod[b].var
    if all("gene_id" in v.columns for v in var):
        found = _equal(var[0]["gene_id"], var[1]["gene_id"])
        if len(found[0]):
            return found
    return _equal(_names(mdata, a, kinds[a]), _names(mdata, b, kinds[b]))


def _intervals(mdata: MuData, mod: str) -> pd.DataFrame | None:
    var = mdata.mod[mod].var
    columns = ["chrom", "start", "end"]
    if not set(columns) <= set(var.columns):
        table = pd.Series(var.index.astype(str), dtype=object).str.extract(REGION)
    else:
        table = var[columns].reset_index(drop=True)
    table = table.assign(
        chrom=table["chrom"].astype(object).where(table["chrom"].notna(), None),
        start=pd.to_numeric(table["start"], errors="coerce"),
        end=pd.to_numeric(table["end"], errors="coerce"),
    ).dropna()
    return table if len(table) else None


def _overlaps(x: pd.DataFrame, y: pd.DataFrame, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions in both tables of intervals at most `window` apart."""
    left, right = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for chrom, part in x.groupby("chrom"):
        other = y[y["chrom"] == chrom].sort_values("start")
        if not len(other):
            continue
        first, last, position = other["start"].to_numpy(), other["end"].to_numpy(), other.index.to_numpy()
        longest = (last - first).max()
        low = np.searchsorted(first, part["start"].to_numpy() - window - longest)
        high = np.searchsorted(first, part["end"].to_numpy() + window, side="right")
        for i, (at, lo, hi) in enumerate(zip(part.index, low, high, strict=True)):
            near = position[lo:hi][last[lo:hi] >= part["start"].iloc[i] - window]
            left.append(np.full(len(near), at))
            right.append(near)
    return np.concatenate(left), np.concatenate(right)


def _equal(x: pd.Series, y: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Positions in both series of equal text."""
    tables = [pd.DataFrame({"key": s.to_numpy(dtype=object), n: np.arange(len(s))}) for s, n in ((x, "i"), (y, "j"))]
    tables = [t[t["key"].notna() & (t["key"] != "")] for t in tables]
    both = tables[0].merge(tables[1], on="key").sort_values(["i", "j"])
    return both["i"].to_numpy(dtype=np.int64), both["j"].to_numpy(dtype=np.int64)


def _names(mdata: MuData, mod: str, kind: str) -> pd.Series:
    names = pd.Series(mdata.mod[mod].var_names.astype(str), dtype=object)
    names = names.str.replace(rf"^{re.escape(mod)}:", "", regex=True).str.upper()
    return names.str.replace(r"\.\d+$", "", regex=True) if kind == "protein" else names
