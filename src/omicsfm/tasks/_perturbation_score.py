"""Scores of predicted effects against both references, within each context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, norm

from omicsfm import metrics
from omicsfm.metrics._response_reliability import reliability_correlation
from omicsfm.models._responder import Response
from omicsfm.tasks._task import Scores


@dataclass(frozen=True)
class Observed:
    """What a prediction is held against, arrays (n, n_genes).

    Attributes
    ----------
    context : (n,) of each row; rows are ranked and summed within it.
    effect : against controls that no method saw.
    shift : against the controls that the methods saw, where `baseline` is of the same context: only the difference of
        the two is used, in which those controls cancel. Elsewhere `effect`.
    baseline : mean effect of the training perturbations, of the context where it has any.
    exclude : (n_genes,) bool, targets of the screen: the direct effect names a perturbation without any prediction.
    se : standard error of `effect`, or None.
    """

    context: np.ndarray
    effect: np.ndarray
    shift: np.ndarray
    baseline: np.ndarray
    exclude: np.ndarray
    se: np.ndarray | None = None


def point_scores(mean: np.ndarray, seen: Observed) -> dict[str, np.ndarray]:
    """Score predicted effects (n, n_genes), one value per row; ":perturbed" is against the mean of the perturbed.

    ``nmse`` is 1 for the baseline; ``discrimination`` and ``centroid_accuracy`` are left out where every context has
    a single row.
    """
    n = len(mean)
    out = {
        "pearson_delta": metrics.pearson_delta(mean, seen.effect),
        "pearson_delta:perturbed": metrics.pearson_delta(mean, seen.shift, reference=seen.baseline),
        "l2_delta": metrics.l2_delta(mean, seen.effect),
    }
    within: dict[str, np.ndarray] = {
        name: np.full(n, np.nan)
        for name in ("nmse", "discrimination", "discrimination:perturbed", "centroid_accuracy", "noise_corrected_mse")
    }
    for context in np.unique(seen.context):
        at = seen.context == context
        pred, effect, baseline = mean[at], seen.effect[at], seen.baseline[at]
        within["nmse"][at] = metrics.nmse(pred, effect, baseline=baseline)
        if at.sum() > 1:
            exclude = None if seen.exclude.all() else seen.exclude
            within["discrimination"][at] = metrics.discrimination(pred, effect, exclude=exclude)
            within["discrimination:perturbed"][at] = metrics.discrimination(
                pred, seen.shift[at], reference=baseline, exclude=exclude
            )
            within["centroid_accuracy"][at] = metrics.centroid_accuracy(pred, effect)
        if seen.se is not None:
            within["noise_corrected_mse"][at] = metrics.noise_corrected_mse(
                pred, effect, obs_variance=np.square(seen.se[at]), control=0.0, control_variance=0.0
            )
    return out | {name: values for name, values in within.items() if not np.isnan(values).all()}


def weighted_scores(mean: np.ndarray, seen: Observed, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Score with weights from other cells than those that were observed; the reference is the mean of the perturbed."""
    return {"weighted_r2": metrics.weighted_r2(mean, seen.shift, weights=weights, reference=seen.baseline)}


def uncertainty_scores(response: Response, genes: pd.Index, seen: Observed) -> Scores:
    """Score intervals (share of the genes of each row that they hold) and what the reliability is worth."""
    lower, upper, mean = (frame[genes].to_numpy() for frame in (response.lower, response.upper, response.mean))
    held = metrics.interval_coverage(seen.effect.T, lower.T, upper.T)
    worst = np.sort(held)[: max(1, len(held) // 10)]
    out: Scores = {
        "interval_coverage": held,
        "interval_coverage:worst decile": float(worst.mean()),
        "interval_width": metrics.interval_width(seen.effect.T, lower.T, upper.T),
    }
    error, of_mean = (np.square(p - seen.effect).sum(axis=1) for p in (mean, seen.baseline))
    value = reliability_correlation(response.reliability, error / np.maximum(of_mean, np.finfo(float).tiny))
    if not np.isnan(value):
        out["reliability_correlation"] = value
    return out


def gene_weights(truth: Mapping[str, Any]) -> np.ndarray:
    """Give weights (n, n_genes) from the half of the cells that the duplicate is made of, against the baseline."""
    return metrics.response_weights(_t_scores(truth))


def interpolated(truth: Mapping[str, Any]) -> np.ndarray:
    """Give the duplicate where its genes differ surely from the baseline, the baseline elsewhere (n, n_genes)."""
    p = 2 * norm.sf(np.abs(_t_scores(truth)))
    return metrics.interpolated_duplicate(truth["duplicate"], truth["baseline"], 1 - false_discovery_control(p, axis=1))


def _t_scores(truth: Mapping[str, Any]) -> np.ndarray:
    difference, se = truth["duplicate"] - truth["baseline"], truth["duplicate_se"]
    return np.divide(difference, se, out=np.zeros_like(difference), where=se > 0)
