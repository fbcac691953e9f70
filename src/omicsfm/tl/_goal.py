"""A wanted state of cells as a direction in expression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from omicsfm import contract
from omicsfm._errors import InputError
from omicsfm.pp import log_normalised


@dataclass(frozen=True)
class Goal:
    """A direction in expression.

    Attributes
    ----------
    weight : (n_genes,) wanted change, 0 where nothing is said.
    named : (n_genes,) bool, genes of which the goal says something (that may be 0).
    share : (n_obs,) weight of each cell of the MuData in `weight`; zeros for a signature.
    noise : (n_genes,) sampling variance of `weight`; zeros for a signature.
    """

    weight: np.ndarray
    named: np.ndarray
    share: np.ndarray
    noise: np.ndarray


def read_goal(goal: Any, mdata: MuData, modality: str) -> Goal:
    """Make of what was asked for a direction over the features of a modality.

    Raises
    ------
    InputError
        If it has no genes or cells, or no direction.
    """
    genes = mdata.mod[modality].var_names
    if isinstance(goal, Mapping) and set(goal) == {"from", "to"}:
        rows = contract.rows(mdata, modality)
        start, end = (_cells(goal[key], mdata, rows, key) for key in ("from", "to"))
        share = end / end.sum() - start / start.sum()
        x: Any = log_normalised(mdata, modality)
        weight = np.asarray(share[rows] @ x).ravel()
        named, noise = np.ones(len(genes), dtype=bool), np.zeros(len(genes))
        for cells in (start[rows], end[rows]):
            n, squares = cells.sum(), x.multiply(x) if sparse.issparse(x) else x**2
            mean, square = (np.asarray(cells @ a).ravel() / n for a in (x, squares))
            noise += np.maximum(square - mean**2, 0) / max(n - 1, 1)
    else:
        try:
            signature = pd.Series(goal, dtype=np.float64)
        except (TypeError, ValueError) as err:
            raise InputError(
                "rank_perturbations: the goal must be gene -> wanted change, or {'from': ..., 'to': ...}. "
                "Fix: goal={'CD274': -1, 'IRF1': -1}."
            ) from err
        if not np.isfinite(signature.to_numpy()).all() or signature.index.has_duplicates:
            raise InputError("rank_perturbations: the goal has NaN or repeated genes. Fix: one number per gene.")
        place = genes.get_indexer(signature.index.astype(str))
        if not (place >= 0).any():
            raise InputError(
                f"rank_perturbations: none of the {len(place)} genes of the goal is among the {len(genes)} of "
                f"'{modality}' ({', '.join(genes[:3])}, ...). Fix: name genes as in var_names."
            )
        weight, named = np.zeros(len(genes)), np.zeros(len(genes), dtype=bool)
        weight[place[place >= 0]], named[place[place >= 0]] = signature.to_numpy()[place >= 0], True
        share, noise = np.zeros(mdata.n_obs), np.zeros(len(genes))
    if not np.any(weight):
        raise InputError("rank_perturbations: the goal is zero in every gene. Fix: give two states that differ.")
    return Goal(weight, named, share, noise)


def _cells(state: Any, mdata: MuData, rows: np.ndarray, key: str) -> np.ndarray:
    """Give 1.0 for the cells of a state that are among `rows`, (n_obs,)."""
    if isinstance(state, str):
        control = contract.perturbations(mdata)["is_control"]
        labels = contract.labels(mdata)
        found = ((labels == state) & control).to_numpy()
        named = f"control cells labelled '{state}' (labels: {', '.join(sorted(set(labels.dropna()))[:8])})"
    else:
        found = state.reindex(mdata.obs_names).to_numpy() if isinstance(state, pd.Series) else np.asarray(state)
        named = "cells in its mask"
        if found.dtype != bool or found.shape != (mdata.n_obs,):
            raise InputError(
                f"rank_perturbations: '{key}' must be a label or a bool mask of {mdata.n_obs} cells, found "
                f"{found.dtype} {found.shape}. Fix: goal={{'from': 'naive', 'to': (mdata.obs['state'] == 'x')}}."
            )
    out = np.zeros(mdata.n_obs)
    out[rows] = found[rows]
    if not out.any():
        raise InputError(f"rank_perturbations: no {named} for '{key}'. Fix: choose a state that has cells.")
    return out
