"""What each answer is worth for a kind of question: weights and slopes, learnt from rows left out, zero if unearned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from omicsfm import hub

_BELIEF = 2.0  # rows' worth of belief in the expected weights
_STEADY = 10.0  # rows' worth of belief that a slope is 1
_MOST = 1.3
_ENOUGH = 10
_DOUBT = 1.5  # standard errors of a gain that count as none


@hub.state
@dataclass(frozen=True)
class Blend:
    """``base + slope_k * sum_e weight_e (answer_e - base)`` in components k.

    Attributes
    ----------
    names : of the answers beyond the base.
    weights : (n_answers,) not negative.
    slopes : (n_components,).
    gain : share of the base's squared error on rows left out that the answers take away.
    n_rows : rows left out on which this was learnt; 0 = defaults.
    """

    names: tuple[str, ...]
    weights: np.ndarray
    slopes: np.ndarray
    gain: float
    n_rows: int

    def __call__(self, base: np.ndarray, answers: list[np.ndarray]) -> np.ndarray:
        """Blend answers (n, k) with the base."""
        step = sum((w * (a - base) for w, a in zip(self.weights, answers, strict=True)), np.zeros_like(base))
        return base + step * self.slopes


def fit_blend(
    names: tuple[str, ...],
    expected: np.ndarray,
    y: np.ndarray,
    base: np.ndarray,
    answers: list[np.ndarray],
    *,
    rest: float,
) -> Blend:
    """Learn the weights of answers by non-negative least squares, then a slope per component.

    Parameters
    ----------
    names, expected
        Of the answers; their weights before anything is seen.
    y, base
        (n, k) measured, and the simplest answer without the row.
    answers
        Each (n, k), without the row.
    rest
        Sum of squares of the effects outside of the components, which no answer reaches.
    """
    wanted = y - base
    steps = np.stack([a - base for a in answers])
    # A few rows are believed beforehand: with two doubles to learn from, the weights stay where they were expected.
    belief = np.sqrt(_BELIEF / len(y) * np.square(steps).sum(axis=(1, 2)))
    design = np.vstack([steps.reshape(len(steps), -1).T, np.diag(belief)])
    weights = nnls(design, np.concatenate([wanted.ravel(), belief * expected]))[0]
    # The mean of all other rows mirrors the row itself, -y / (n - 1): beyond a full step, a step away from it would be
    # paid for without bound.
    weights = weights / max(1.0, float(weights.sum()))
    step = np.einsum("e,enk->nk", weights, steps)
    square = (step**2).sum(axis=0)
    steady = _STEADY / len(y) * square
    slopes = np.divide(
        (step * wanted).sum(axis=0) + steady, square + steady, out=np.zeros(y.shape[1]), where=square > 1e-12
    )
    slopes = np.clip(slopes, 0, _MOST)
    gains = (wanted**2).sum(axis=1) - ((wanted - step * slopes) ** 2).sum(axis=1)
    earned = _sure(gains)
    if earned == 0:
        return Blend(names, np.zeros(len(names)), np.ones(y.shape[1]), 0.0, len(y))
    left = float(((wanted - earned * step * slopes) ** 2).sum())
    total = float((wanted**2).sum())
    gain = (total - left) / max(total + rest, 1e-300)
    return Blend(names, earned * weights, slopes, gain, len(y))


def _sure(gains: np.ndarray) -> float:
    """Give how much of a gain to take, 0 to 1: the less, the nearer its mean is to its error (James and Stein).

    The kernels were weighed on the same rows, so a gain of one standard error is nothing yet.
    """
    mean = float(gains.mean())
    if mean <= 0:
        return 0.0
    if len(gains) < _ENOUGH:  # an error from a handful of rows says nothing: what was expected stands
        return 1.0
    error = float(gains.std(ddof=1)) / np.sqrt(len(gains))
    return max(0.0, 1 - (_DOUBT * error / mean) ** 2)


def default_blend(names: tuple[str, ...], expected: np.ndarray, k: int) -> Blend:
    """Give what is expected where nothing could be left out."""
    return Blend(names, expected, np.ones(k), float("nan"), 0)
