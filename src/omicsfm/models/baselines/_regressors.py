"""Regression of many features at once on few tokens: arrays only, no missing values, sparse targets stay sparse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy import sparse

from omicsfm import hub
from omicsfm.metrics import neighbors
from omicsfm.models._landmarks import squared_distance

STRENGTHS = np.logspace(-3, 2, 11)  # penalties, as multiples of the mean squared singular value of the inputs
MIN_EIGENVALUE = 1e-10  # relative to the largest: below it is rounding


class Regressor(Protocol):
    """Predicts features (m, n_vars) from inputs (m, d)."""

    def __call__(self, x_md: np.ndarray) -> np.ndarray:
        """Predict."""


@hub.state
@dataclass(frozen=True)
class Mean:
    """The mean of every feature, whatever the input."""

    mean: np.ndarray

    @classmethod
    def fit(cls, y_ng: Any) -> Mean:
        """Take the mean of the targets (n, n_vars)."""
        return cls(column_mean(y_ng))

    def __call__(self, x_md: np.ndarray) -> np.ndarray:
        """Predict (m, n_vars)."""
        return np.tile(self.mean, (len(x_md), 1))


@hub.state
@dataclass(frozen=True)
class Ridge:
    """Ridge regression with an intercept and one penalty for all features.

    Attributes
    ----------
    coefficient_dg, intercept_g : (d, n_vars), (n_vars,).
    strength : the penalty, as a multiple of the mean squared singular value of the inputs.
    """

    coefficient_dg: np.ndarray
    intercept_g: np.ndarray
    strength: float

    @classmethod
    def fit(cls, x_nd: np.ndarray, y_ng: Any, *, strength: float | None = None) -> Ridge:
        """Fit; without a `strength`, the one of least leave-one-out squared error, which has a closed form.

        References
        ----------
        Golub, Heath & Wahba (1979), Technometrics 21:215, equation 1.3 (the leave-one-out form).
        """
        mean_d, mean_g = x_nd.mean(axis=0), column_mean(y_ng)
        value, vector = np.linalg.eigh((x_nd - mean_d).T @ (x_nd - mean_d))
        keep = value > max(value[-1], 1e-12) * MIN_EIGENVALUE
        value, vector = value[keep], vector[:, keep]
        if not len(value):
            return cls(np.zeros((x_nd.shape[1], len(mean_g))), mean_g, 0.0)
        u_nd = (x_nd - mean_d) @ (vector / np.sqrt(value))
        # The targets enter only through products with u, so sparse ones never become dense; u sums to 0 over cells.
        target_dg = np.asarray(y_ng.T @ u_nd).T
        if strength is None:
            strength = _least_loss(u_nd, value, target_dg, y_ng, mean_g)
        penalty = strength * value.mean()
        coefficient_dg = vector @ ((np.sqrt(value) / (value + penalty))[:, None] * target_dg)
        return cls(coefficient_dg, mean_g - mean_d @ coefficient_dg, strength)

    def __call__(self, x_md: np.ndarray) -> np.ndarray:
        """Predict (m, n_vars)."""
        return x_md @ self.coefficient_dg + self.intercept_g


@hub.state
@dataclass(frozen=True)
class KernelRidge:
    """Ridge regression on the features of a Gaussian kernel, exact or by the Nystroem method.

    Attributes
    ----------
    centre_ld : the cells whose kernel values are the inputs.
    map_lk : from kernel values to features.
    width : squared distance at which the kernel falls to 1/e, the median between cells.
    ridge : regression on these features.
    """

    centre_ld: np.ndarray
    map_lk: np.ndarray
    width: float
    ridge: Ridge

    @classmethod
    def fit(
        cls, x_nd: np.ndarray, y_ng: Any, *, n_landmarks: int, seed: int, strength: float | None = None
    ) -> KernelRidge:
        """Fit; exact up to `n_landmarks` cells, from as many random ones beyond.

        References
        ----------
        Saunders, Gammerman & Vovk (1998), ICML; Williams & Seeger (2001), NIPS (Nystroem).
        """
        chosen = np.sort(np.random.default_rng(seed).permutation(len(x_nd))[:n_landmarks])
        centre_ld = x_nd[chosen]
        squared = squared_distance(centre_ld, centre_ld)
        width = float(np.median(squared[np.triu_indices(len(squared), 1)])) or 1.0
        value, vector = np.linalg.eigh(np.exp(-squared / width))
        keep = value > value[-1] * MIN_EIGENVALUE
        draft = cls(centre_ld, vector[:, keep] / np.sqrt(value[keep]), width, Ridge(np.empty(0), np.empty(0), 0.0))
        return cls(centre_ld, draft.map_lk, width, Ridge.fit(draft.features(x_nd), y_ng, strength=strength))

    def features(self, x_md: np.ndarray) -> np.ndarray:
        """Lift inputs (m, d) to kernel features (m, k)."""
        return np.exp(-squared_distance(x_md, self.centre_ld) / self.width) @ self.map_lk

    def __call__(self, x_md: np.ndarray) -> np.ndarray:
        """Predict (m, n_vars)."""
        return self.ridge(self.features(x_md))


@hub.state
@dataclass(frozen=True)
class Sparse:
    """A CSR matrix in parts that can be saved."""

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    n_vars: int

    def matrix(self) -> sparse.csr_array:
        """Put it together, without a copy."""
        return sparse.csr_array((self.data, self.indices, self.indptr), shape=(len(self.indptr) - 1, self.n_vars))


@hub.state
@dataclass(frozen=True)
class KNN:
    """Mean of the features of the nearest cells.

    Attributes
    ----------
    x_nd, y : inputs and targets of training cells.
    k : number of neighbours.
    """

    x_nd: np.ndarray
    y: np.ndarray | Sparse
    k: int

    @classmethod
    def fit(cls, x_nd: np.ndarray, y_ng: Any, *, k: int) -> KNN:
        """Keep the training cells; with fewer than `k` all of them are neighbours."""
        y = Sparse(y_ng.data, y_ng.indices, y_ng.indptr, y_ng.shape[1]) if sparse.issparse(y_ng) else y_ng
        return cls(x_nd, y, min(k, len(x_nd)))

    def __call__(self, x_md: np.ndarray) -> np.ndarray:
        """Predict (m, n_vars)."""
        index = neighbors(self.x_nd, self.k, query=x_md).indices.ravel()
        m = len(x_md)
        mean_mn = sparse.csr_array(
            (np.full(len(index), 1 / self.k), index, np.arange(0, len(index) + 1, self.k)), shape=(m, len(self.x_nd))
        )
        out = mean_mn @ (self.y.matrix() if isinstance(self.y, Sparse) else self.y)
        return out.toarray() if sparse.issparse(out) else out


@hub.state
@dataclass(frozen=True)
class Average:
    """Mean of the predictions of several regressors."""

    parts: list[Any]

    def __call__(self, x_md: np.ndarray) -> np.ndarray:
        """Predict (m, n_vars)."""
        return np.mean([part(x_md) for part in self.parts], axis=0)


def _least_loss(u_nd: np.ndarray, value_d: np.ndarray, target_dg: np.ndarray, y_ng: Any, mean_g: np.ndarray) -> float:
    """Give the strength whose leave-one-out squared error, summed over cells and features, is least."""
    gram_dd = target_dg @ target_dg.T
    cross_nd = np.asarray(y_ng @ target_dg.T) - target_dg @ mean_g
    square_n = row_square(y_ng) - 2 * np.asarray(y_ng @ mean_g) + mean_g @ mean_g
    loss = []
    for strength in STRENGTHS:
        shrunk_nd = u_nd * (value_d / (value_d + strength * value_d.mean()))
        residual_n = square_n - 2 * (cross_nd * shrunk_nd).sum(axis=1) + (shrunk_nd @ gram_dd * shrunk_nd).sum(axis=1)
        left_n = 1 - 1 / len(u_nd) - (shrunk_nd * u_nd).sum(axis=1)
        loss.append((residual_n / np.maximum(left_n, 1e-6) ** 2).sum())
    return float(STRENGTHS[int(np.argmin(loss))])


def column_mean(y_ng: Any) -> np.ndarray:
    """Mean of every feature, float64 (n_vars,)."""
    return np.asarray(y_ng.mean(axis=0), dtype=np.float64).ravel()


def row_square(y_ng: Any) -> np.ndarray:
    """Sum of squares of every row, float64 (n,)."""
    square = y_ng.multiply(y_ng) if sparse.issparse(y_ng) else y_ng * y_ng
    return np.asarray(square.sum(axis=1), dtype=np.float64).ravel()
