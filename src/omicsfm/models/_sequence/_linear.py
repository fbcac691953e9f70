"""Logistic regression as numbers: fitted by scikit-learn, kept as arrays."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from omicsfm import hub


@hub.state
@dataclass(frozen=True)
class Linear:
    """Logits ``x coef + intercept`` of every class.

    Attributes
    ----------
    coef : (n_features, n_classes).
    intercept : (n_classes,).
    """

    coef: np.ndarray
    intercept: np.ndarray

    def probability(self, x: Any) -> np.ndarray:
        """Give (n, n_classes) from dense or sparse features."""
        return softmax(np.asarray(x @ self.coef, dtype=np.float64) + self.intercept, axis=1)


def fit_linear(x: Any, y: np.ndarray, c: float) -> Linear:
    """Fit a multinomial logistic regression with an L2 penalty of ``1 / c``; classes are 0, 1, ..., all in `y`."""
    with warnings.catch_warnings():
        # The last digits of the coefficients change no prediction.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=c, max_iter=300).fit(x, y)
    coef, intercept = model.coef_.T, model.intercept_
    if coef.shape[1] == 1:  # two classes: scikit-learn keeps the difference of their logits
        coef, intercept = np.hstack([-coef / 2, coef / 2]), np.concatenate([-intercept / 2, intercept / 2])
    return Linear(np.ascontiguousarray(coef, dtype=np.float32), intercept.astype(np.float64))


def log_loss(probability_nc: np.ndarray, y: np.ndarray) -> float:
    """Mean negative log-probability of the true class."""
    return float(-np.log(np.maximum(probability_nc[np.arange(len(y)), y], 1e-12)).mean())
