"""How wrong a prediction will be: a scale per gene and row learnt from rows left out, its multiple, reliability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t
from sklearn.isotonic import isotonic_regression

from omicsfm import hub

_BINS = 12
_ANY = ""
_STEADY = 10.0  # rows' worth of belief that a context errs as all do
_NOTHING = 0.01  # of the size of a typical effect
_ALIKE = 0.1  # predictions whose log size differs by less are of one size: the rest mirrors the row left out
_FLOOR = 0.05  # of the mean variance: no gene is known better than that


@hub.state
@dataclass(frozen=True)
class ErrorModel:
    """Scale ``sqrt(v_cg) * exp(row / 2) * step(|prediction| / sqrt(v_cg))``, and what follows from it.

    Attributes
    ----------
    variance : context -> (n_genes,) mean squared error of each gene; "" is that of a context without rows left out.
    row_coef : coefficients of (1, log size of the prediction, log variance of the process) for the log row factor.
    row_mean, row_sd : of the two features.
    least : size of a prediction below which it is as good as none.
    edges, steps : of the step function over the size of a prediction.
    factor : the conformal multiple of the scale.
    unit : the multiple of the scale that is one standard deviation.
    reliability_coef : coefficients of the same features for the expected share explained.
    n_rows : rows left out.
    """

    variance: dict[str, np.ndarray]
    row_coef: np.ndarray
    row_mean: np.ndarray
    row_sd: np.ndarray
    least: float
    edges: np.ndarray
    steps: np.ndarray
    factor: float
    unit: float
    reliability_coef: np.ndarray
    n_rows: int

    def scale(
        self, contexts: np.ndarray, mean: np.ndarray, departs: np.ndarray, process_variance: np.ndarray
    ) -> np.ndarray:
        """Give the scale of the error, (n, n_genes)."""
        sd = np.sqrt(np.stack([self.variance.get(str(c), self.variance[_ANY]) for c in contexts]))
        features = (_features(departs, process_variance, self.least) - self.row_mean) / self.row_sd
        row = np.clip(self.row_coef[0] + np.clip(features, -2.5, 2.5) @ self.row_coef[1:], -2, 2)
        return sd * np.exp(row / 2)[:, None] * self.steps[np.digitize(np.abs(mean) / sd, self.edges)]

    def reliability(self, departs: np.ndarray, process_variance: np.ndarray) -> np.ndarray:
        """Give the expected share of the departure from the mean response that is explained, 0 to 1."""
        features = (_features(departs, process_variance, self.least) - self.row_mean) / self.row_sd
        return np.clip(self.reliability_coef[0] + np.clip(features, -3, 3) @ self.reliability_coef[1:], 0, 1)


def _features(departs: np.ndarray, process_variance: np.ndarray, least: float) -> np.ndarray:
    size = np.log(np.square(departs).sum(axis=1) + least + 1e-300)
    return np.stack([size, np.log(np.maximum(process_variance, 1e-6))], axis=1)


def fit_errors(
    y: np.ndarray,
    mean: np.ndarray,
    departs: np.ndarray,
    process_variance: np.ndarray,
    *,
    contexts: np.ndarray,
    reference: np.ndarray,
    level: float,
) -> ErrorModel:
    """Learn from rows left out.

    Parameters
    ----------
    y, mean
        (n, n_genes) measured, and predicted without the row.
    departs
        (n, k) prediction less the mean response, in components.
    process_variance
        (n,) of the process, without the row.
    contexts
        (n,) of the rows.
    reference
        (n, n_genes) the mean response without the row.
    level
        Nominal coverage.
    """
    square = np.square(y - mean)
    n = len(y)
    variance = _variances(contexts, square)
    sd = np.sqrt(np.stack([variance[str(c)] for c in contexts]))
    # Smaller departures than this mirror the row itself, through the mean of all others.
    least = _NOTHING * float(np.square(y).sum(axis=1).mean())
    raw = _features(departs, process_variance, least)
    centre, spread = raw.mean(axis=0), np.maximum(raw.std(axis=0), _ALIKE)
    features = (raw - centre) / spread
    row = np.log(np.maximum((square / sd**2).mean(axis=1), 1e-6))
    coef = _ridge(features, row)
    fitted = np.clip(coef[0] + np.clip(features, -2.5, 2.5) @ coef[1:], -2, 2)
    base = sd * np.exp(fitted / 2)[:, None]
    size = np.abs(mean) / sd
    edges = np.unique(np.quantile(size, np.linspace(0, 1, _BINS + 1)[1:-1]))
    bins = np.digitize(size, edges)
    ratio = np.square((y - mean) / base)
    per_bin = np.bincount(bins.ravel(), ratio.ravel(), minlength=len(edges) + 1)
    count = np.bincount(bins.ravel(), minlength=len(edges) + 1)
    average = np.divide(per_bin, count, out=np.ones(len(count)), where=count > 0)
    steps = np.sqrt(np.maximum(isotonic_regression(average, sample_weight=count + 1e-9), 1e-4))
    scale = base * steps[bins]
    scores = np.abs(y - mean) / scale
    factor = _factor(scores, level)
    explained = 1 - square.sum(axis=1) / np.maximum(np.square(y - reference).sum(axis=1), 1e-300)
    reliability = _ridge(features, np.clip(explained, -1, 1))
    return ErrorModel(
        variance=variance,
        row_coef=coef,
        row_mean=centre,
        row_sd=spread,
        least=least,
        edges=edges,
        steps=steps,
        factor=factor,
        unit=float(np.sqrt(np.mean(scores**2))),
        reliability_coef=reliability,
        n_rows=n,
    )


def control_variance(weight: np.ndarray, noise: np.ndarray, own: np.ndarray, *, rehearsed: bool) -> np.ndarray:
    """Give what controls add to the error of a prediction beyond what rows left out show, (n, n_genes).

    All training effects of a context hold the noise of the same controls. A prediction with total weights w on the rows
    of every context holds it w times; a row left out holds that of its own context too, so that all but w - 1 of it
    cancels there, and no other controls come in. Measured against as many other controls, the variance is larger by
    ``1 + w^2 - (w - 1)^2 = 2 w`` times that of the own controls. Where the question could not be rehearsed, errors are
    those of perturbations left out within their context, in which controls cancel: all of their noise comes on top.

    Parameters
    ----------
    weight
        (n, n_contexts) total weight on the training rows of each context.
    noise
        (n_contexts, n_genes) sampling variance of the mean of its controls, 0 where it is not known.
    own
        (n, n_contexts), 1 for the context of the row.
    rehearsed
        Whether rows were left out in the way the question leaves them out.
    """
    if rehearsed:
        return 2 * (np.maximum(weight, 0) * own) @ noise
    return (own + np.square(weight)) @ noise


def _variances(contexts: np.ndarray, square: np.ndarray) -> dict[str, np.ndarray]:
    """Average squared errors per context and gene, drawn to those of all contexts where a context has few rows."""
    overall = square.mean(axis=0)
    floor = _FLOOR * max(float(overall.mean()), 1e-300)
    out = {_ANY: np.maximum(overall, floor)}
    for context in np.unique(contexts):
        own = square[contexts == context]
        level = own.mean() / max(float(overall.mean()), 1e-300)
        shrunk = (own.sum(axis=0) + _STEADY * level * overall) / (len(own) + _STEADY)
        out[str(context)] = np.maximum(shrunk, floor * max(level, 1e-3))
    return out


def _factor(scores: np.ndarray, level: float) -> float:
    """Give the multiple of the scale that covers what it should on average, and not much less where it covers least.

    The tenth of the rows that are covered least may fall short by a little less than half of 1 - level; to hold that,
    the others may be covered more, by a quarter of it. Rows, not genes, are what repeats: few of them widen the
    interval as Student's t is wider than a normal; with half as many degrees of freedom as rows, since the scale was
    learnt from them too.
    """
    n = len(scores)
    factor, most = np.quantile(scores, [level, level + 0.25 * (1 - level)])
    worst = max(1, n // 10)
    chosen = most
    for candidate in np.linspace(factor, most, 9):
        covered = np.sort((scores <= candidate).mean(axis=1))
        if covered[:worst].mean() >= level - 0.45 * (1 - level):
            chosen = candidate
            break
    tail = 0.5 + level / 2
    return float(chosen * t.ppf(tail, n / 2) / norm.ppf(tail))


def _ridge(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Give intercept and coefficients; few rows say little."""
    design = np.column_stack([np.ones(len(x)), x])
    penalty = np.diag([0.0, 5.0, 5.0])
    return np.linalg.solve(design.T @ design + penalty, design.T @ y)
