"""rank_perturbations: which perturbations move cells toward a wanted state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse, stats

from omicsfm import contract
from omicsfm._errors import InputError
from omicsfm._progress import progress
from omicsfm.models._responder import as_design
from omicsfm.tl._goal import Goal, read_goal
from omicsfm.tl._model import is_fitted
from omicsfm.tl._respond import maker, unmeasured
from omicsfm.tl._screen_contrasts import UNIT, Screen, read_screen

LEVEL = 0.9
_Z = float(stats.norm.ppf(0.5 + LEVEL / 2))
_BIN, _AT_ONCE = 25, 100  # genes of like expression that change places; permuted goals per product
COLUMNS = [
    *("rank", "perturbation", "context", "dose", "score", "lower", "upper", "share_of_way"),
    *("null_95", "p_above_mean", "reliability", "measured"),
]


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


def rank_perturbations(
    mdata: MuData,
    *,
    goal: Mapping[str, Any] | pd.Series,
    design: pd.DataFrame | None = None,
    model: Any = "auto",
    modality: str = "rna",
    n_samples: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """Rank perturbations by how well their effect points from one state of cells to another, measured or predicted.

    A perturbation that was measured in a context enters with its measured effect, also if the model would say something
    else; all others enter with the prediction of the model, which is fitted only if there are any. A perturbation earns
    nothing for the genes it aims at, and nothing for control cells that define both its effect and the goal (what they
    add to the product of the two is known from their variance, and taken off).

    Parameters
    ----------
    mdata
        As for :func:`respond`. Not written to.
    goal
        A signature: gene -> wanted change (sign and weight; genes that were not measured are passed over); only its
        genes are looked at. Or two states: ``{"from": ..., "to": ...}``, each a value of the label column (its control
        cells are taken, which no perturbation has moved) or a bool mask over ``mdata.obs`` (cells are taken as they
        are); the goal is then the difference of mean log-normalised expression over all genes.
    design
        What to rank: perturbation, context, dose. None: all that was measured, and all that :func:`respond` would
        predict by default.
    model
        As in :func:`respond`.
    modality
        Whose features.
    n_samples
        Number of permuted goals, for `null_95`.
    seed
        Seed of these, and of a model made here by name.

    Returns
    -------
    DataFrame
        Best first, by `score`: rank, perturbation, context, dose (only where there is one), score (cosine of effect and
        goal, -1 to 1), lower and upper (90 % interval), share_of_way (projection of the effect on the goal, in lengths
        of the goal: 1 arrives), null_95 (95 % of goals whose genes were exchanged for others of like expression score
        less), p_above_mean (probability of going farther along the goal than the mean of the other perturbations
        measured in the context, or anywhere if none was), reliability (measured: share of the squared effect that is
        not noise; predicted: of the model), measured.

    Raises
    ------
    InputError
        If the goal has no genes or cells, or no direction; if there are no controls; if the design cannot be read.

    Notes
    -----
    Intervals are those of the projection, at the length of the effect as it is. Measured: the error of the mean of
    projected cells, which keeps the correlation of genes; times what replicates disagree beyond it, one factor for the
    screen. Predicted: ``sum(weight^2 sd^2)``, which would hold if errors of genes were independent, times how much more
    the measured effects vary along the goal than they would if genes were.
    """
    screen = read_screen(mdata, modality=modality, caller="rank_perturbations")
    wanted = read_goal(goal, mdata, modality)
    all_measured = screen.contrasts.design[UNIT]
    if design is None:
        asked = pd.concat([all_measured, unmeasured(mdata, modality=modality)], ignore_index=True)
    else:
        contexts = all_measured["context"].unique()
        only = str(contexts[0]) if len(contexts) == 1 else None
        control = contract.control_of(mdata) or contract.CONTROL
        asked = as_design(design, "rank_perturbations", context=only, control=control).reset_index(drop=True)
    known = _measured(screen, wanted)
    unit = asked[UNIT].merge(all_measured.assign(unit=np.arange(len(all_measured))), on=UNIT, how="left")["unit"]
    parts = [_take(known, unit.dropna().to_numpy(dtype=np.intp))]
    if unit.isna().any():
        found = maker(model, seed=seed)
        found = found if is_fitted(found) else found.fit(mdata, modality=modality)
        parts.append(_predicted(asked[unit.isna().to_numpy()], found, screen, wanted, known))
    table = pd.concat([part.design for part in parts], ignore_index=True)
    effect, own = (np.concatenate([getattr(part, name) for part in parts]) for name in ("effect", "own"))
    along, se = (np.concatenate([getattr(part, name) for part in parts]) for name in ("along", "se"))

    goal_length = np.sqrt((~own) @ wanted.weight**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit_length = np.sqrt(effect**2 @ wanted.named) * goal_length
        table["score"], half = np.clip(along / unit_length, -1, 1), _Z * se / unit_length
        table["lower"], table["upper"] = np.clip(table["score"] - half, -1, 1), np.clip(table["score"] + half, -1, 1)
        table["share_of_way"] = along / goal_length**2
    table["null_95"] = _null(effect, own, wanted, screen, n_samples, np.random.default_rng(seed))
    table["p_above_mean"] = _above_mean(table, along, se, known)
    table = table.sort_values("score", ascending=False, kind="stable", ignore_index=True)
    table["rank"] = np.arange(1, len(table) + 1)
    table = table[COLUMNS]
    return table.drop(columns="dose") if table["dose"].isna().all() else table


def _aims(design: pd.DataFrame, genes: pd.Index) -> np.ndarray:
    """Mark the genes that are members of each perturbation, (n, n_genes)."""
    own = np.zeros((len(design), len(genes)), dtype=bool)
    for i, name in enumerate(design["perturbation"]):
        place = genes.get_indexer(list(contract.members(name)))
        own[i, place[place >= 0]] = True
    return own


def _measured(screen: Screen, goal: Goal) -> Candidates:
    """Project every measured effect, and the cells that it comes from, on the goal."""
    contrasts, moments, delta = screen.contrasts, screen.moments, screen.delta
    own = _aims(contrasts.design, moments.genes)
    effect = np.where(own, 0.0, delta)
    groups_n = np.maximum(np.bincount(screen.code, minlength=len(moments.n)), 1)
    shared = np.bincount(screen.code, goal.share[screen.rows], minlength=len(moments.n)) / groups_n
    columns = screen.x.tocsc() if sparse.issparse(screen.x) else screen.x
    projected = np.asarray(screen.x @ goal.weight).ravel()
    variance, found, expected, df = np.zeros(len(delta)), 0.0, 0.0, 0
    along = effect @ goal.weight
    for i in progress(list(range(len(delta))), desc="rank_perturbations"):
        row = contrasts.weight[i]
        groups, weight = row.indices, row.data
        aims = np.flatnonzero(own[i] & goal.named)
        value = projected - np.asarray(columns[:, aims] @ goal.weight[aims]).ravel() if len(aims) else projected
        n = moments.n[groups]
        mean = np.bincount(screen.code, value, minlength=len(moments.n))[groups] / n
        square = np.bincount(screen.code, value**2, minlength=len(moments.n))[groups] / n
        alone = moments.var[groups] @ np.where(own[i], 0.0, goal.weight) ** 2  # of a group of one cell
        error = np.where(n > 1, np.maximum(square - mean**2, 0) / np.maximum(n - 1, 1), alone)
        variance[i] = weight**2 @ error
        along[i] -= (weight * shared[groups]) @ (moments.var[groups] @ (goal.named & ~own[i]))
        pairs = contrasts.pairs[i]
        if len(pairs) > 1:
            p, c = np.searchsorted(groups, pairs.T)
            share, apart = weight[p], mean[p] - mean[c]
            found += (
                share @ (apart - share @ apart) ** 2 / ((share * (1 - share)) @ (error[p] + error[c])) * (len(p) - 1)
            )
            df += len(p) - 1
    disagreement = max(found / df, 1.0) if df else 1.0
    noise = contrasts.weight.power(2) @ (moments.var.sum(axis=1) / moments.n)
    squared = (delta**2).sum(axis=1)
    known = np.clip(1 - np.divide(noise, squared, out=np.ones_like(noise), where=squared > 0), 0, 1)
    design = contrasts.design[UNIT].assign(reliability=known, measured=True)
    return Candidates(design, effect, own, along, np.sqrt(variance * disagreement))


def _predicted(design: pd.DataFrame, model: Any, screen: Screen, goal: Goal, known: Candidates) -> Candidates:
    """Project predicted effects on the goal."""
    response = model.respond(design)
    genes = screen.moments.genes
    missing = genes[goal.named].difference(response.mean.columns)
    if len(missing):
        raise InputError(
            f"rank_perturbations: the model does not know {len(missing)} genes of the goal ({', '.join(missing[:3])}). "
            "Fix: fit it on data with the same genes."
        )
    own = _aims(response.design, genes)
    effect, sd = (
        np.where(own, 0.0, table.reindex(columns=genes, fill_value=0.0)) for table in (response.mean, response.sd)
    )
    along = effect @ goal.weight
    apart = float(np.sum(known.effect**2 @ goal.weight**2))
    together = float(np.sum((known.effect @ goal.weight) ** 2)) / apart if apart > 0 else 1.0
    # A prediction is made of measured effects and holds what these share with the goal.
    extra = pd.Series(known.effect @ goal.weight - known.along)
    by_context = extra.groupby(known.design["context"].to_numpy()).mean()
    along -= response.design["context"].map(by_context).fillna(extra.mean()).to_numpy(dtype=np.float64)
    out = response.design[UNIT].assign(reliability=response.reliability.to_numpy(), measured=False)
    return Candidates(out, effect, own, along, np.sqrt(max(together, 1.0) * (sd**2 @ goal.weight**2)))


def _take(known: Candidates, rows: np.ndarray) -> Candidates:
    return Candidates(known.design.iloc[rows], known.effect[rows], known.own[rows], known.along[rows], known.se[rows])


def _null(
    effect: np.ndarray, own: np.ndarray, goal: Goal, screen: Screen, n_samples: int, rng: np.random.Generator
) -> np.ndarray:
    """Give what 95 % of goals score less than, (n,), when genes are exchanged for others of like expression."""
    is_control = (screen.moments.design["perturbation"] == contract.CONTROL).to_numpy()
    level = screen.moments.n[is_control] @ screen.moments.mean[is_control]
    order = np.argsort(level, kind="stable")
    bins = np.array_split(order, max(1, len(order) // _BIN))
    scores = []
    for start in range(0, n_samples, _AT_ONCE):
        size = min(_AT_ONCE, n_samples - start)
        place = np.empty((size, len(order)), dtype=np.intp)
        for one in bins:
            place[:, one] = rng.permuted(np.tile(one, (size, 1)), axis=1)
        weight, named = goal.weight[place].T, goal.named[place].T.astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            scores.append(effect @ weight / np.sqrt((effect**2 @ named) * ((~own) @ weight**2)))
    drawn = np.concatenate(scores, axis=1)
    return np.quantile(np.nan_to_num(drawn), 0.95, axis=1)  # no effect on those genes: no cosine, nothing scored


def _above_mean(table: pd.DataFrame, along: np.ndarray, se: np.ndarray, known: Candidates) -> np.ndarray:
    """Give the probability that a row goes farther than the mean of the others measured in its context, (n,)."""
    out = np.full(len(table), np.nan)
    context, name = (known.design[key].to_numpy() for key in ("context", "perturbation"))
    for i, row in enumerate(table.itertuples(index=False)):
        others = name != row.perturbation
        here = others & (context == row.context)
        others = here if here.any() else others
        if others.any() and np.isfinite(along[i]):
            error = np.hypot(se[i], np.sqrt(np.sum(known.se[others] ** 2)) / others.sum())
            out[i] = stats.norm.cdf((along[i] - known.along[others].mean()) / error) if error > 0 else np.nan
    return out
