"""RidgePrior: effects linear in the priors of the target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omicsfm import hub
from omicsfm.models.responses._targets import PriorRegression

PENALTIES = np.logspace(-3, 5, 33)  # of the mean squared norm; the largest give the mean response


@hub.state
@dataclass(frozen=True)
class DualRidge:
    """Ridge regression by its training rows.

    Attributes
    ----------
    x : (n, n_features) centred on `x_mean` (n_features,).
    dual : (n, n_genes) weights of the training rows.
    y_mean : (n_genes,).
    penalty : as chosen.
    """

    x: np.ndarray
    x_mean: np.ndarray
    dual: np.ndarray
    y_mean: np.ndarray
    penalty: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Predict (m, n_genes)."""
        return ((x - self.x_mean) @ self.x.T) @ self.dual + self.y_mean


def fit_dual_ridge(x: np.ndarray, y: np.ndarray, penalties: np.ndarray = PENALTIES) -> DualRidge:
    """Fit ridge regression with an intercept, the penalty chosen by exact leave-one-out error over all outputs.

    Parameters
    ----------
    x, y
        (n, n_features) and (n, n_outputs), n of 3 or more.
    penalties
        To choose from, as multiples of the mean squared norm of centred features.

    Notes
    -----
    With K = Q E Q' the kernel of centred rows, the residual without row i is r_i / (1 - h_i), r = Q l/(E + l) Q' y and
    h_i = 1/n + sum_j Q_ij^2 E_j/(E_j + l) (Hastie, Tibshirani & Friedman 2009, eq. 7.64). Its square, summed over
    outputs, needs only Q' y y' Q: the cost does not grow with outputs times penalties.
    """
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x, y = x - x_mean, y - y_mean
    value, q = np.linalg.eigh(x @ x.T)
    value = np.maximum(value, 0)
    turned = q.T @ y
    outputs = turned @ turned.T
    scale = float(value.mean()) or 1.0
    errors = []
    for penalty in penalties * scale:
        shrunk = q * (penalty / (value + penalty))
        without = 1 - 1 / len(x) - np.square(q) @ (value / (value + penalty))
        errors.append(float((((shrunk @ outputs) * shrunk).sum(axis=1) / without**2).sum()))
    penalty = float(penalties[int(np.argmin(errors))]) * scale
    return DualRidge(x, x_mean, q @ (turned / (value + penalty)[:, None]), y_mean, penalty)


@hub.saveable
class RidgePrior(PriorRegression):
    """Ridge regression of effects on the priors of the target; the penalty by exact leave-one-out error.

    Priors are concatenated, each at unit norm, so that products are sums of cosines. One fit per context, on its single
    perturbations (on means over contexts where fewer than three of these have priors), with one penalty for all genes.
    A target of which no prior knows anything has the mean of the single perturbations; a combination is the sum of its
    members. Doses are averaged.

    Parameters
    ----------
    seed
        Not used.

    Attributes
    ----------
    features_ : priors of the targets.
    fits_, anywhere_ : regressions per context, and on means over contexts.
    mean_ : mean of single perturbations.
    """

    def _regress(self, x: np.ndarray, y: np.ndarray) -> DualRidge:
        return fit_dual_ridge(x, y)
