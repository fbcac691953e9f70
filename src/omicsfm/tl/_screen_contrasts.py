"""Which groups of cells are compared: every perturbation with the controls of its own context and replicate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from omicsfm import contract
from omicsfm._errors import InputError
from omicsfm.pp import GroupMoments, group_moments, log_normalised

UNIT = ["perturbation", "context", "dose"]
GROUP = [*UNIT, "replicate"]


@dataclass(frozen=True)
class Contrasts:
    """Perturbed against control, as weights of groups of cells (one perturbation, context, dose and replicate each).

    An effect is ``weight @ means of the groups``. Replicates that hold both are compared each within itself and then
    averaged, with weights n1 n2 / (n1 + n2): the number of cells that the comparison of n1 with n2 is worth. Where no
    replicate holds both, all perturbed cells are compared with all controls of the context (n_replicates is 0 then:
    what differs between replicates is part of such an effect).

    Attributes
    ----------
    design : DataFrame (n_units): perturbation, context, dose, n_cells (perturbed, of the groups that are used),
        n_control, n_replicates (that hold both).
    weight : CSR (n_units, n_groups), rows sum to 0.
    pairs : per unit, (n_replicates, 2) positions of the perturbed group and of its control.
    without_control : DataFrame of the units whose context has no control cells: perturbation, context, dose, n_cells.
    """

    design: pd.DataFrame
    weight: sparse.csr_matrix
    pairs: list[np.ndarray]
    without_control: pd.DataFrame


@dataclass(frozen=True)
class Screen:
    """The cells of a screen, their groups, and what is compared.

    Attributes
    ----------
    x : (n_cells, n_genes) log-normalised; cells without perturbation, context or replicate are left out.
    code : (n_cells,) group of each cell.
    rows : (n_cells,) position of each cell in the MuData.
    moments : of the groups.
    contrasts : over the groups.
    """

    x: sparse.csr_matrix | np.ndarray
    code: np.ndarray
    rows: np.ndarray
    moments: GroupMoments
    contrasts: Contrasts

    @cached_property
    def delta(self) -> np.ndarray:
        """Effects (n_units, n_genes)."""
        return np.asarray(self.contrasts.weight @ self.moments.mean)

    def halvable(self) -> Contrasts:
        """Give the contrasts of the groups that can be cut in two; the others have no part in them."""
        design = self.moments.design
        return make_contrasts(design, np.where(self.moments.n > 1, self.moments.n, 0))

    def cells_of(self, unit: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions in `x` of a unit's perturbed cells and of its controls, in the order of the groups."""
        row = self.contrasts.weight[unit]
        return tuple(  # type: ignore[return-value]
            np.flatnonzero(np.isin(self.code, row.indices[row.data * sign > 0])) for sign in (1, -1)
        )


def read_screen(mdata: MuData, *, modality: str, caller: str) -> Screen:
    """Take the cells of a MuData apart into groups and contrasts.

    Raises
    ------
    InputError
        If no perturbed cell has controls in its context.
    """
    moments = moments_of(mdata, modality=modality)
    contrasts = make_contrasts(moments.design, moments.n)
    need_effects(contrasts, caller)
    rows = contract.rows(mdata, modality)
    who = contract.perturbations(mdata).iloc[rows]
    who.loc[who["is_control"], "dose"] = np.nan
    found = who[GROUP].merge(moments.design[GROUP].assign(code=np.arange(len(moments.n))), on=GROUP, how="left")
    used = found["code"].notna().to_numpy()
    x = log_normalised(mdata, modality)[used]
    return Screen(x, found["code"].to_numpy()[used].astype(np.intp), rows[used], moments, contrasts)


def moments_of(mdata: MuData, *, modality: str) -> GroupMoments:
    """Give mean and variance per group; what one cell alone cannot say about its variance, the controls do."""
    found = group_moments(mdata, modality=modality, replicates=True)
    is_control = (found.design["perturbation"] == contract.CONTROL).to_numpy()
    donors = np.flatnonzero((found.n > 1) & (is_control | ~(is_control & (found.n > 1)).any()))
    var = found.var.copy()
    if len(donors):
        typical = np.average(var[donors], axis=0, weights=found.n[donors] - 1)
        var[found.n == 1] = typical
    return replace(found, var=var)


def make_contrasts(design: pd.DataFrame, n: np.ndarray) -> Contrasts:
    """Pair the groups of `design` (perturbation, context, dose, replicate) that have cells, `n` each."""
    is_control, there = (design["perturbation"] == contract.CONTROL).to_numpy(), n > 0
    control: dict[str, dict[str, int]] = {}
    for i in np.flatnonzero(is_control & there):
        control.setdefault(design["context"].iloc[i], {})[design["replicate"].iloc[i]] = int(i)
    rows, weights, pairs, lacking = [], [], [], []
    nothing = sparse.csr_matrix((0, len(n)))
    for key, part in design[~is_control & there].groupby(UNIT, dropna=False, sort=True, observed=True):
        own = part.index.to_numpy()
        against = control.get(key[1], {})
        row = dict(zip(UNIT, key, strict=True))
        if not against:
            lacking.append({**row, "n_cells": int(n[own].sum())})
            continue
        pair = [(i, against[r]) for i, r in zip(own, part["replicate"], strict=True) if r in against]
        matched = np.array(pair, dtype=np.intp).reshape(-1, 2)
        if pair:
            p, c = matched.T
            worth = n[p] * n[c] / (n[p] + n[c])
            plus = minus = worth / worth.sum()
        else:
            p, c = own, np.array(list(against.values()), dtype=np.intp)
            plus, minus = n[p] / n[p].sum(), n[c] / n[c].sum()
        line = np.zeros(len(n))
        line[p], line[c] = plus, -minus
        rows.append({**row, "n_cells": int(n[p].sum()), "n_control": int(n[c].sum()), "n_replicates": len(pair)})
        weights.append(sparse.csr_matrix(line))
        pairs.append(matched)
    missing = pd.DataFrame(lacking, columns=[*UNIT, "n_cells"])
    found = pd.DataFrame(rows, columns=[*UNIT, "n_cells", "n_control", "n_replicates"])
    return Contrasts(found, sparse.csr_matrix(sparse.vstack([nothing, *weights])), pairs, missing)


def need_effects(contrasts: Contrasts, caller: str) -> None:
    """Refuse a screen in which nothing can be compared.

    Raises
    ------
    InputError
        If no perturbed cell has controls in its context.
    """
    if not len(contrasts.design):
        raise InputError(
            f"{caller}: no perturbed cell has controls in its own context, found {len(contrasts.without_control)} "
            "perturbations without. Fix: check control= and context_key= of ofm.setup, or leave the context out."
        )
