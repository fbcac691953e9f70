"""modality_value: what each modality adds to each task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData
from sklearn.base import clone

from omicsfm import contract
from omicsfm._errors import InputError
from omicsfm._progress import progress
from omicsfm.metrics._bootstrap import Comparison, paired_bootstrap
from omicsfm.models import Embeds, Imputes
from omicsfm.tl._ablation import Fold, Folds, Mods, make_folds
from omicsfm.tl._model import make, need_mudata

TASKS = ("cell_state", "imputation", "matching")
PLURAL = {"donor": "donors", "batch": "batches", "cell": "cells"}
COLUMNS = (
    *("task", "target", "modality", "with", "without", "alone", "difference", "lower", "upper"),
    *("n", "n_units", "unit", "words"),
)

# Value per cell of a set of modalities in a fold.
Score = Callable[[Fold, Mods], np.ndarray]


def modality_value(
    mdata: MuData,
    *,
    tasks: Sequence[str] | None = None,
    model: Any = "LinearMosaic",
    n_splits: int = 3,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure what each modality adds to each task, on held-out cells, with intervals.

    The model is fitted anew without the modality, so that nothing of it is left in what was learnt. Whole donors (else
    batches) are held out where two or more have cells with several modalities; else cells. Both models answer about the
    same held-out cells, those that have the modality and another; the difference is paired.

    - ``cell_state``: is a cell given its label by the 15 nearest labelled training cells (1 or 0)? Needs labels, which
      the model itself never sees.
    - ``imputation``: share of variance of another modality that is explained, per cell, over the features that make its
      tokens. Without any other modality the prediction is the mean of training cells: 0, or less where held-out cells
      vary more than these.
    - ``matching``: share of other cells that are farther from one half of a cell than its other half is (1 - FOSCTTM),
      for the halves of two other modalities. Undefined for two modalities: nothing is left to match without one.

    Parameters
    ----------
    mdata
        Satisfies the contract, two modalities or more, some cells with several. Not written to.
    tasks
        Of the three; None: all that the data and the model allow.
    model
        Registered name or unfitted estimator; it embeds (cell_state, matching) or imputes.
    n_splits
        Largest number of parts held out in turn; each costs a fit per set of modalities (3 for two, 7 for three).
    level
        Coverage of the intervals, each by itself.
    seed
        Seed of folds, model and resampling.

    Returns
    -------
    DataFrame
        One row per task, target and modality: task, target (column of labels, imputed modality, or pair), modality,
        with, without, alone (means: all modalities, all but this one, this one only), difference (with - without; units
        count the same), lower, upper, n (cells), n_units, unit ("donor", "batch", "cell"), words. From 6 units on the
        interval speaks of new ones; below that of new cells in those at hand, as `words` says.

    Raises
    ------
    InputError
        For one modality, no cell with two, an unknown task, or one that data or model do not allow.

    References
    ----------
    Intervals: :func:`omicsfm.bench.paired_bootstrap`.
    """
    need_mudata(mdata, "modality_value")
    if len(mdata.mod) < 2:
        raise InputError(
            f"modality_value: at least two modalities are needed, found one ('{next(iter(mdata.mod))}'). "
            "Fix: give cells with another modality; the value of the only one has nothing to be compared with."
        )
    has = contract.modality_mask(mdata).to_numpy()
    if n_splits < 2 or (has.sum(axis=1) > 1).sum() < 2 * n_splits:
        raise InputError(
            f"modality_value: two splits or more and two cells with several modalities in each are needed, found "
            f"{n_splits} and {int((has.sum(axis=1) > 1).sum())}. Fix: give more paired cells, or fewer splits."
        )
    estimator = make(model, "fit", seed=seed)
    chosen = _tasks(mdata, estimator, tasks)
    folds = make_folds(mdata, n_splits=n_splits, seed=seed)
    key = contract.keys(mdata).label
    questions = [question for task in chosen for question in _questions(list(mdata.mod), task, key)]
    values = np.full((len(questions), 3, mdata.n_obs), np.nan)
    for i in progress(list(np.unique(folds.fold[folds.fold >= 0])), desc="modality_value"):
        fold = Fold(mdata, folds.fold == i, partial(clone, estimator), seed=seed)
        for question, value_3n in zip(questions, values, strict=True):
            asked = fold.held & fold.has[question.of] if question.of else fold.held
            for mods, value_n in zip(question.sets, value_3n, strict=True):
                if mods:
                    value_n[asked] = question.score(fold, mods)[asked]
    rows = [question.row(value, folds, level, seed) for question, value in zip(questions, values, strict=True)]
    if "matching" in chosen and len(mdata.mod) == 2:
        words = "undefined: of two modalities nothing is left to match without one"
        rows.append(
            {"task": "matching", "target": "", "modality": "", "n": 0, "n_units": 0, "unit": "", "words": words}
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


@dataclass(frozen=True)
class Question:
    """What a modality adds to one answer.

    Attributes
    ----------
    task, target, modality : as in the table.
    score : gives the answer's value per cell, for a fold and a set of modalities.
    sets : all modalities, all but this one, this one alone (empty: undefined).
    of : modality that a cell must have to be counted; empty: any will do.
    """

    task: str
    target: str
    modality: str
    score: Score
    sets: tuple[Mods, Mods, Mods]
    of: str

    def row(self, value_3n: np.ndarray, folds: Folds, level: float, seed: int) -> dict[str, Any]:
        """Compare, over the cells about which both models were asked."""
        asked = ~np.isnan(value_3n[:2]).any(axis=0)
        units = None if folds.unit is None else folds.unit[asked]
        found = paired_bootstrap(
            *value_3n[:2, asked], units=units, level=level, seed=seed, unit_name=PLURAL[folds.name], member_name="cells"
        )
        alone = paired_bootstrap(value_3n[2, asked], value_3n[2, asked], units=units, n_boot=100).mean_a
        return {
            "task": self.task,
            "target": self.target,
            "modality": self.modality,
            "with": found.mean_a,
            "without": found.mean_b,
            "alone": alone,
            "difference": found.difference,
            "lower": found.low,
            "upper": found.high,
            "n": found.n_members,
            "n_units": found.n_units,
            "unit": folds.name,
            "words": in_words(found),
        }


def in_words(found: Comparison) -> str:
    """Say what a comparison of with (a) and without (b) shows; that nothing is added is said as plainly."""
    if np.isnan(found.low):
        return f"not compared: {found.covers}"
    d = 3 if max(abs(found.low), abs(found.high)) >= 0.01 else 4
    size = f"{found.difference:.{d}f} [{found.low:.{d}f}, {found.high:.{d}f}]"
    limits = f" ({found.covers})" if found.few_units else ""
    if found.low > 0:
        return f"adds {size}{limits}"
    if found.high < 0:
        return f"hurts: {size}{limits}"
    return f"no evidence that it helps: {size}{limits}"


def _tasks(mdata: MuData, model: Any, tasks: Sequence[str] | None) -> list[str]:
    """Tasks that data and model allow, or those asked for."""
    lacking = {}
    if not isinstance(model, Embeds):
        lacking = dict.fromkeys(("cell_state", "matching"), f"{type(model).__name__} does not embed")
    if not isinstance(model, Imputes):
        lacking["imputation"] = f"{type(model).__name__} does not impute"
    if contract.keys(mdata).label is None or not contract.labels(mdata).notna().any():
        lacking["cell_state"] = "there are no labels; ofm.setup(mdata, label_key=...)"
    wanted = [task for task in TASKS if task not in lacking] if tasks is None else list(tasks)
    for task in wanted:
        if task not in TASKS or task in lacking:
            why = lacking.get(task, "there is no such task")
            raise InputError(f"modality_value: '{task}' cannot be asked: {why}. Fix: choose of {', '.join(TASKS)}.")
    if not wanted:
        raise InputError(f'modality_value: nothing can be asked: {lacking}. Fix: model="LinearMosaic".')
    return wanted


def _questions(mods: list[str], task: str, label: str | None) -> Iterator[Question]:
    every = tuple(mods)
    for m in mods:
        less = tuple(x for x in mods if x != m)
        if task == "cell_state":
            yield Question(task, str(label), m, Fold.accuracy, (every, less, (m,)), m)
        elif task == "imputation":
            for t in less:
                pair = tuple(x for x in mods if x in (t, m))
                yield Question(task, t, m, partial(_skill, target=t), (every, less, pair), m)
        else:
            for a, b in combinations(less, 2):
                yield Question(task, f"{a}-{b}", m, partial(_matching, pair=(a, b)), (every, less, ()), "")


def _skill(fold: Fold, mods: Mods, *, target: str) -> np.ndarray:
    return fold.skill(mods, target)


def _matching(fold: Fold, mods: Mods, *, pair: tuple[str, str]) -> np.ndarray:
    return fold.matching(mods, pair)
