"""Guide counts to a perturbation per cell, with a report of how it went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from omicsfm import _compat, contract, io
from omicsfm._errors import InputError
from omicsfm.pp._guides import Cut, above, cuts


@dataclass(frozen=True, repr=False)
class GuideReport:
    """How guides were assigned.

    Attributes
    ----------
    guides : DataFrame, one row per guide: target, is_control, n_cells (that have it), threshold (smallest count that
        is signal), method ("mixture", or "threshold" where too few cells allow no other), separation (log2 of median
        signal over mean background; NaN without a mixture).
    moi : Series, number of guides of a cell -> number of cells.
    unassigned, single, multiple : shares of cells with no guide, with one target (or control), with several targets.
    """

    guides: pd.DataFrame
    moi: pd.Series
    unassigned: float
    single: float
    multiple: float

    def __str__(self) -> str:
        mean = float(np.average(self.moi.index, weights=self.moi))
        few = int((self.guides["method"] == "threshold").sum())
        return (
            f"{int(self.moi.sum())} cells, {len(self.guides)} guides, {mean:.2f} per cell: one target "
            f"{self.single:.1%}, several {self.multiple:.1%}, none {self.unassigned:.1%}; {few} guides by "
            "fixed threshold"
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>{self}</p>{self.guides.to_html(max_rows=20, float_format='{:.2f}'.format)}"


def assign_guides(
    mdata: MuData,
    *,
    method: Literal["mixture", "threshold"] = "mixture",
    threshold: int = 5,
    min_share: float = 0.1,
    key_added: str = "perturbation",
) -> GuideReport:
    """Tell from guide counts what was done to each cell, and make that the perturbation of the MuData.

    A guide is in a cell where its count is at or above the guide's threshold and is no mere shadow of the cell's
    strongest guide. Guides of one target count as one; a control guide beside a targeting one says nothing; several
    targets become "A+B" (two guides in a cell, or two cells in a droplet: counts alone cannot tell).

    Writes ``obs[key_added]`` (NaN: no guide), ``obs[key_added + "_n_guides"]`` (NaN: not measured), and tells `setup`
    of the column and of the control.

    Parameters
    ----------
    mdata
        With a guide modality of counts; ``var["target"]`` names what a guide targets (else its own name is the
        target), ``var["is_control"]`` tells which are controls.
    method
        "mixture": a threshold per guide, where background and signal part; "threshold": the same count for all.
    threshold
        Smallest count of signal, for "threshold" and for guides with too few cells for a mixture.
    min_share
        Share of the count of the cell's strongest guide that another must have; 0 to judge each guide by itself.
    key_added
        Name of the column.

    Raises
    ------
    InputError
        If there is no guide modality, or it does not hold counts.
    """
    if method not in ("mixture", "threshold"):
        raise InputError(f"assign_guides: there is no method '{method}'. Fix: 'mixture' or 'threshold'.")
    if threshold < 1 or not 0 <= min_share <= 1:
        raise InputError(
            f"assign_guides: threshold must be 1 or more and min_share within 0 and 1, found {threshold}, {min_share}. "
            "Fix: leave them out for 5 counts and 0.1."
        )
    mod = contract.guide_modality(mdata)
    if mod is None:
        raise InputError(
            "assign_guides: there is no modality of guide counts. "
            'Fix: add mod["guide"] (cells x guides), or ofm.setup(mdata, perturbation_key="...") if obs names them.'
        )
    guides, x = mdata.mod[mod], io.canonical(mdata.mod[mod].X)
    if contract.recipe_of(mdata, mod) != "guide" or not x.nnz or x.data.max() <= 1:
        raise InputError(
            f"assign_guides: modality '{mod}' needs counts of guides, found doses or only 0 and 1: guides were "
            'assigned already. Fix: ofm.setup(mdata, perturbation_key="...", control="...") with the column of names.'
        )
    named = guides.var["target"] if "target" in guides.var else guides.var_names.to_series().str.removeprefix("guide:")
    target = named.astype(str).to_numpy(dtype=object)
    known = "is_control" in guides.var
    is_control = guides.var["is_control"].to_numpy(dtype=bool) if known else np.zeros(len(target), dtype=bool)

    found = cuts(x, threshold=threshold) if method == "mixture" else [Cut(threshold, "threshold")] * len(target)
    has = above(x, np.array([cut.threshold for cut in found]), min_share=min_share)
    control = contract.control_of(mdata) or contract.CONTROL
    label = _names(has, target, is_control, control)
    n_guides = np.asarray(has.sum(axis=1)).ravel().astype(np.int64)
    place = contract.rows(mdata, mod)
    column, number = np.full(mdata.n_obs, np.nan, dtype=object), np.full(mdata.n_obs, np.nan)
    column[place], number[place] = label, n_guides
    with _compat.silent():
        if mdata.is_view:
            mdata.uns = dict(mdata.uns)  # makes the view a MuData of its own
        mdata.obs[key_added] = pd.Categorical(column)
        mdata.obs[f"{key_added}_n_guides"] = number
    contract.setup(mdata, perturbation_key=key_added, control=control if known else None)
    contract.record(
        mdata, "assign_guides", method=method, threshold=threshold, min_share=min_share, columns=[key_added]
    )
    table = pd.DataFrame(
        {
            "target": target,
            "is_control": is_control,
            "n_cells": np.asarray(has.sum(axis=0)).ravel().astype(np.int64),
            "threshold": [cut.threshold for cut in found],
            "method": [cut.method for cut in found],
            "separation": [cut.separation for cut in found],
        },
        index=guides.var_names,
    )
    targets = np.array([len(contract.members(name, control)) if isinstance(name, str) else -1 for name in label])
    return GuideReport(
        guides=table,
        moi=pd.Series(n_guides).value_counts().sort_index().rename("n_cells"),
        unassigned=float((targets == -1).mean()),
        single=float(((targets == 0) | (targets == 1)).mean()),
        multiple=float((targets > 1).mean()),
    )


def _names(has: sparse.csr_matrix, target: np.ndarray, is_control: np.ndarray, control: str) -> np.ndarray:
    """Give each cell its targets joined by '+', the control where it has control guides only, NaN where none."""
    targets, code = np.unique(np.where(is_control, "", target).astype(str), return_inverse=True)
    of_target = sparse.csr_matrix((np.ones(len(code)), (np.arange(len(code)), code)), shape=(len(code), len(targets)))
    cells = (has.astype(np.float64) @ of_target).tocsr()
    cells.sort_indices()
    label = np.full(cells.shape[0], np.nan, dtype=object)
    for i in np.flatnonzero(np.diff(cells.indptr)):
        names = targets[cells.indices[cells.indptr[i] : cells.indptr[i + 1]]]
        label[i] = "+".join(name for name in names if name) or control
    return label
