"""rank_perturbations: which perturbations move cells toward a wanted state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import stats

from omicsfm import contract
from omicsfm.models._responder import as_design
from omicsfm.pp import response_data
from omicsfm.tl._candidates import Candidates, Z, measured, predicted, take
from omicsfm.tl._goal import Goal, read_goal
from omicsfm.tl._model import is_fitted
from omicsfm.tl._respond import maker, unmeasured
from omicsfm.tl._screen_contrasts import UNIT, Screen, read_screen

_BIN, _AT_ONCE = 25, 100  # genes of like expression that change places; permuted goals per product
COLUMNS = [
    *("rank", "perturbation", "context", "dose", "score", "lower", "upper", "share_of_way"),
    *("null_95", "p_above_mean", "reliability", "measured"),
]


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
        Best first, by `lower`: what can be counted on, as a weak effect may point anywhere.

        - rank, perturbation, context, dose (only where there is one)
        - score: cosine of effect and goal, -1 to 1; NaN for an effect of zero, or where the goal is about nothing but
          the genes aimed at
        - lower, upper: its 90 % interval; NaN for predictions from a single measured effect
        - share_of_way: projection of the effect on the goal, in lengths of the goal: 1 arrives; NaN where two states
          differ by no more than noise
        - null_95: 95 % of goals whose genes were exchanged for others of like expression score less
        - p_above_mean: probability of going farther along the goal than the mean of the other perturbations measured
          in the context, or anywhere if none was
        - reliability: measured: share of the squared effect that is not noise; predicted: that of the model
        - measured

    Raises
    ------
    InputError
        If the goal has no genes or cells, or no direction; if there are no controls; if the design cannot be read.

    Notes
    -----
    Intervals are those of the projection, at the length of the effect as it is. Measured: the error of the mean of
    projected cells, which keeps the correlation of genes; times what replicates disagree beyond it, one factor for the
    screen. Predicted: ``sum(weight^2 sd^2)``, which would do if errors of genes were independent, times the factor for
    which the intervals hold 90 % of the measured effects when the model is fitted without them (five more fits).
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
    known = measured(screen, wanted)
    unit = asked[UNIT].merge(all_measured.assign(unit=np.arange(len(all_measured))), on=UNIT, how="left")["unit"]
    parts = [take(known, unit.dropna().to_numpy(dtype=np.intp))]
    if unit.isna().any():
        data = response_data(mdata, modality=modality)
        found = maker(model, seed=seed)
        found = found if is_fitted(found) else found.fit(data)
        parts.append(predicted(asked[unit.isna().to_numpy()], found, data, wanted, known))
    table = pd.concat([part.design for part in parts], ignore_index=True)
    effect, own = (np.concatenate([getattr(part, name) for part in parts]) for name in ("effect", "own"))
    along, se = (np.concatenate([getattr(part, name) for part in parts]) for name in ("along", "se"))

    squared = (~own) @ wanted.weight**2
    way = squared - (~own) @ wanted.noise  # noise makes two states differ, and the way between them longer
    with np.errstate(invalid="ignore", divide="ignore"):
        unit_length = np.sqrt((effect**2 @ wanted.named) * squared)
        table["score"], half = np.clip(along / unit_length, -1, 1), Z * se / unit_length
        table["lower"], table["upper"] = np.clip(table["score"] - half, -1, 1), np.clip(table["score"] + half, -1, 1)
        table["share_of_way"] = np.where(way > 0, along / way, np.nan)
    table["null_95"] = _null(effect, own, wanted, screen, n_samples, np.random.default_rng(seed))
    table["p_above_mean"] = _above_mean(table, along, se, known)
    table = table.sort_values("lower", ascending=False, kind="stable", ignore_index=True)
    table["rank"] = np.arange(1, len(table) + 1)
    table = table[COLUMNS]
    return table.drop(columns="dose") if table["dose"].isna().all() else table


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
