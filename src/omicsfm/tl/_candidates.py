"""Perturbations as candidates: effects, measured or predicted, and how far they go along a goal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse, stats
from sklearn.base import clone

from omicsfm import contract
from omicsfm._errors import InputError
from omicsfm._progress import progress
from omicsfm.models._responder import Response
from omicsfm.pp import ResponseData
from omicsfm.tl._goal import Goal
from omicsfm.tl._screen_contrasts import UNIT, Screen

LEVEL, N_FOLDS = 0.9, 5
Z = float(stats.norm.ppf(0.5 + LEVEL / 2))


@dataclass(frozen=True)
class Candidates:
    """Effects to be ranked, their projection on the goal and its standard error.

    Attributes
    ----------
    design : DataFrame (n): perturbation, context, dose, reliability, measured.
    effect : (n, n_genes), 0 at the genes that the perturbation aims at.
    own : (n, n_genes) bool, those genes.
    along : (n,) effect @ goal.
    se : (n,) of `along`.
    """

    design: pd.DataFrame
    effect: np.ndarray
    own: np.ndarray
    along: np.ndarray
    se: np.ndarray


def _aims(design: pd.DataFrame, genes: pd.Index) -> np.ndarray:
    """Mark the genes that are members of each perturbation, (n, n_genes)."""
    own = np.zeros((len(design), len(genes)), dtype=bool)
    for i, name in enumerate(design["perturbation"]):
        place = genes.get_indexer(list(contract.members(name)))
        own[i, place[place >= 0]] = True
    return own


def measured(screen: Screen, goal: Goal) -> Candidates:
    """Project every measured effect, and the cells that it comes from, on the goal."""
    contrasts, moments, delta = screen.contrasts, screen.moments, screen.delta
    own = _aims(contrasts.design, moments.genes)
    effect = np.where(own, 0.0, delta)
    many = len(moments.n)
    shared = np.bincount(screen.code, goal.share[screen.rows], minlength=many) / moments.n
    columns: Any = screen.x
    columns = columns.tocsc() if sparse.issparse(columns) else columns
    projected = np.asarray(columns @ goal.weight).ravel()
    every = _moments(projected, screen.code, many)
    variance, found, df = np.zeros(len(delta)), 0.0, 0
    along = effect @ goal.weight
    for i in progress(list(range(len(delta))), desc="rank_perturbations"):
        row = contrasts.weight[i]
        groups, weight = row.indices, row.data
        aims = np.flatnonzero(own[i] & goal.named)
        mean, square = every
        if len(aims):
            without = projected - np.asarray(columns[:, aims] @ goal.weight[aims]).ravel()
            mean, square = _moments(without, screen.code, many)
        mean, square, n = mean[groups], square[groups], moments.n[groups]
        alone = moments.var[groups] @ np.where(own[i], 0.0, goal.weight) ** 2  # of a group of one cell
        error = np.where(n > 1, square / np.maximum(n - 1, 1), alone / n)
        variance[i] = weight**2 @ error
        along[i] -= (weight * shared[groups]) @ (moments.var[groups] @ (goal.named & ~own[i]))
        pairs = contrasts.pairs[i]
        if len(pairs) > 1:
            p, c = np.searchsorted(groups, pairs.T)  # of a CSR row the positions ascend
            share, apart = weight[p], mean[p] - mean[c]
            expected = (share * (1 - share)) @ (error[p] + error[c])
            if expected > 0:
                found += (len(p) - 1) * float(share @ (apart - share @ apart) ** 2) / expected
                df += len(p) - 1
    disagreement = max(found / df, 1.0) if df else 1.0
    noise = contrasts.weight.power(2) @ (moments.var.sum(axis=1) / moments.n)
    squared = (delta**2).sum(axis=1)
    known = np.clip(1 - np.divide(noise, squared, out=np.ones_like(noise), where=squared > 0), 0, 1)
    design = contrasts.design[UNIT].assign(reliability=known, measured=True)
    return Candidates(design, effect, own, along, np.sqrt(variance * disagreement))


def _moments(value: np.ndarray, code: np.ndarray, n_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Give mean and mean squared deviation of a number per cell in each group, both (n_groups,)."""
    n = np.bincount(code, minlength=n_groups)
    mean = np.bincount(code, value, minlength=n_groups) / n
    return mean, np.bincount(code, (value - mean[code]) ** 2, minlength=n_groups) / n


def predicted(design: pd.DataFrame, model: Any, data: ResponseData, goal: Goal, known: Candidates) -> Candidates:
    """Project predicted effects on the goal.

    Parameters
    ----------
    model
        Fitted; clones of it, fitted without some rows of `data`, tell how wrong it is along the goal.
    """
    genes = data.effects.columns
    response = model.respond(design)
    missing = genes[goal.named].difference(response.mean.columns)
    if len(missing):
        raise InputError(
            f"rank_perturbations: the model does not know {len(missing)} genes of the goal ({', '.join(missing[:3])}). "
            "Fix: fit it on data with the same genes."
        )
    own, effect, along, sd = _project(response, genes, goal)
    # A prediction is made of measured effects and holds what these share with the goal.
    extra = pd.Series(known.effect @ goal.weight - known.along)
    by_context = extra.groupby(known.design["context"].to_numpy()).mean()
    along = along - response.design["context"].map(by_context).fillna(extra.mean()).to_numpy(dtype=np.float64)
    out = response.design[UNIT].assign(reliability=response.reliability.to_numpy(), measured=False)
    return Candidates(out, effect, own, along, sd * _left_out_factor(model, data, goal))


def _project(response: Response, genes: pd.Index, goal: Goal) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Give own genes, effects, projections and the sd these would have if the errors of genes were independent."""
    own = _aims(response.design, genes)
    effect, sd = (
        np.where(own, 0.0, table.reindex(columns=genes, fill_value=0.0)) for table in (response.mean, response.sd)
    )
    return own, effect, effect @ goal.weight, np.sqrt(sd**2 @ goal.weight**2)


def _left_out_factor(model: Any, data: ResponseData, goal: Goal) -> float:
    """Give what the sd of a projection must be multiplied by; NaN where no row can be left out.

    The errors of genes go together, and a goal is often what they have in common. So a fifth of the measured rows is
    predicted from the others, in turn, and the factor is that for which 90 % of the intervals hold the measurement
    (split conformal prediction, Lei et al. 2018, doi:10.1080/01621459.2017.1307116).
    """
    n = len(data.design)
    if n < 2:
        return float("nan")
    fold = np.random.default_rng(0).permutation(n) % N_FOLDS
    errors = []
    for k in progress(sorted(set(fold)), desc="rank_perturbations: left out"):
        learnt = clone(model).fit(_rows(data, np.flatnonzero(fold != k)))
        held = _rows(data, np.flatnonzero(fold == k))
        own, _, along, sd = _project(learnt.respond(held.design), data.effects.columns, goal)
        truth = np.where(own, 0.0, held.effects) @ goal.weight
        errors.append(np.abs(truth - along) / np.maximum(sd, 1e-300))
    level = min(1.0, LEVEL * (1 + 1 / n))
    return float(np.quantile(np.concatenate(errors), level, method="higher")) / Z


def _rows(data: ResponseData, rows: np.ndarray) -> ResponseData:
    effects, design, se = (
        None if table is None else table.iloc[rows].reset_index(drop=True)
        for table in (data.effects, data.design, data.se)
    )
    return replace(data, effects=effects, design=design, se=se)


def take(known: Candidates, rows: np.ndarray) -> Candidates:
    return Candidates(known.design.iloc[rows], known.effect[rows], known.own[rows], known.along[rows], known.se[rows])
