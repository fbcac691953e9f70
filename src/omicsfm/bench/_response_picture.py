"""Data of the report's pictures of predicted responses, small enough to travel with the results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from omicsfm._errors import InputError
from omicsfm.bench._compare import Values, base_metric, compare, verdicts
from omicsfm.bench._suites import Question
from omicsfm.metrics import METRICS
from omicsfm.models._responder import Response
from omicsfm.tasks import Split
from omicsfm.tasks._perturbation_calibration import ScreenCalibration

MAX_GENES, MAX_ROWS = 25, 10
_COMPARED = ["metric", "method", "baseline", "difference", "lower", "upper", "favours"]
_GATE = ["perturbation", "context", "n_cells", "reliability", "measurable"]


def picture_of(
    question: Question,
    answers: Sequence[tuple[Split, Response]],
    values: Values,
    cost: Mapping[str, float],
    *,
    calibration: ScreenCalibration | None,
    screen: pd.DataFrame | None,
    seed: int,
) -> dict[str, Any]:
    """Gather the picture of a question from what the method on trial answered to its splits, with the first seed.

    Parameters
    ----------
    answers
        Each split, and the answer.
    values, cost
        As for :func:`omicsfm.bench._compare.compare`.
    calibration, screen
        As for :func:`response_picture`.
    seed
        Of the bootstrap.
    """
    judged = {key: v for key, v in values.items() if calibration is None or not calibration.refusal(key[0])}
    against = [replace(question, baselines=(name,)) for name in question.baselines]
    rows = [row for one in against for row in compare(one, judged, cost, seed=seed)]
    metric = next(m for m in question.task.primary if (m, question.method) in values)
    baseline = _best(question.baselines, metric, values)

    def scores(name: str, of: str) -> np.ndarray:
        return np.concatenate([values[of, name][split.unit][0] for split, _ in answers])

    parts = [answer for _, answer in answers]
    tables = {
        name: pd.concat([getattr(part, name) for part in parts], ignore_index=True)
        for name in ("design", "mean", "sd", "lower", "upper", "reliability")
    }
    observed = [pd.DataFrame(split.truth["effect"], columns=split.truth["genes"]) for split, _ in answers]
    return response_picture(
        question.task.name,
        question.dataset,
        Response(**tables, level=parts[0].level),
        pd.concat(observed, ignore_index=True),
        metric=metric,
        value=scores(question.method, metric),
        baseline=baseline,
        baseline_value=scores(baseline, metric),
        error=scores(question.method, "nmse"),
        comparisons=verdicts(rows),
        calibration=calibration,
        screen=screen,
    )


def _best(names: Sequence[str], metric: str, values: Values) -> str:
    mean = {n: np.mean([np.nanmean(v[0]) for v in values[metric, n].values()]) for n in names if (metric, n) in values}
    return (max if METRICS[base_metric(metric)].higher_is_better else min)(mean, key=lambda n: mean[n])


def response_picture(
    task: str,
    dataset: str,
    answer: Response,
    observed: pd.DataFrame,
    *,
    metric: str,
    value: Sequence[float] | np.ndarray,
    baseline: str,
    baseline_value: Sequence[float] | np.ndarray,
    error: Sequence[float] | np.ndarray,
    error_metric: str = "nmse",
    comparisons: pd.DataFrame | None = None,
    calibration: ScreenCalibration | None = None,
    screen: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Gather what the report shows of held-out predictions. Entry of the list ``Results.pictures["response"]``.

    Parameters
    ----------
    task, dataset
        As in ``Results.table``; the picture stands in that section.
    answer
        Predictions for the held-out rows of all splits, one below the other.
    observed
        (n, n_genes) measured effects of the same rows, on the genes that are scored; NaN where not measured.
    metric, value, baseline, baseline_value
        A registered metric, its values per row (n,) for the method, the name of the baseline and its values.
    error, error_metric
        (n,) error of each prediction, for the calibration of reliability; lower is better.
    comparisons
        The method against *each* baseline: columns as in ``Results.verdicts``.
    calibration
        Of the task (``task.calibration(data)``): where it allows no verdict, the report gives none.
    screen
        ``omicsfm.tl.screen_report(mdata).perturbations``.

    Returns
    -------
    dict that JSON holds: numbers, text, None for what is not a number. Of the effects only the 25 genes and 10 rows
    with the largest predicted effect.

    Raises
    ------
    InputError
        If rows differ in number, or genes of `observed` were not predicted.
    """
    n = len(answer.mean)
    found = {"observed": observed, "value": value, "baseline_value": baseline_value, "error": error}
    wrong = {name: len(table) for name, table in found.items() if len(table) != n}
    missing = observed.columns.difference(answer.mean.columns)
    if wrong or len(missing):
        raise InputError(
            f"response_picture: {n} rows and the genes predicted are needed, found {wrong or list(missing[:3])}. "
            "Fix: pass the same rows everywhere, and observed genes that were predicted."
        )
    several = answer.design["context"].nunique() > 1
    names = [
        f"{row.perturbation}, {row.context}" if several else str(row.perturbation)
        for row in answer.design.itertuples(index=False)
    ]
    predicted = answer.mean[observed.columns].to_numpy(dtype=np.float64)
    square = np.square(predicted)
    rows = np.sort(np.argsort(-square.sum(axis=1), kind="stable")[:MAX_ROWS])
    genes = np.sort(np.argsort(-square[rows].mean(axis=0), kind="stable")[:MAX_GENES])
    shown = observed.to_numpy(dtype=np.float64)[np.ix_(rows, genes)]
    return {
        "task": task,
        "dataset": dataset,
        "ranking": {
            "metric": metric,
            "baseline": baseline,
            "names": names,
            "value": _plain(value),
            "baseline_value": _plain(baseline_value),
        },
        "reliability": {"metric": error_metric, "value": _plain(answer.reliability), "error": _plain(error)},
        "heatmap": {
            "names": [names[i] for i in rows],
            "genes": [str(gene) for gene in observed.columns[genes]],
            "predicted": [_plain(row) for row in predicted[np.ix_(rows, genes)]],
            "observed": [_plain(row) for row in shown],
        },
        "comparisons": _records(comparisons, _COMPARED),
        "gate": _records(screen, _GATE),
        "calibration": None if calibration is None else _calibration(calibration),
    }


def _calibration(found: ScreenCalibration) -> dict[str, Any]:
    refused = {str(metric): found.refusal(metric) for metric in found.table.index}
    return {
        "allowed": bool(found.verdict_allowed),
        "reason": found.reason,
        "judged": bool(len(found.table)),
        "refused": {metric: words for metric, words in refused.items() if words},
    }


def _records(table: pd.DataFrame | None, columns: list[str]) -> list[dict[str, Any]]:
    if table is None or table.empty:
        return []
    out: list[dict[str, Any]] = json.loads(table[columns].to_json(orient="records", double_precision=10))
    return out


def _plain(values: Any) -> list[float | None]:
    numbers = np.asarray(values, dtype=np.float64)
    return [float(f"{v:.5g}") if np.isfinite(v) else None for v in numbers]
