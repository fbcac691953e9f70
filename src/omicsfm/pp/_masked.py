"""Principal components where entries are missing: probabilistic PCA on what was measured."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator

from omicsfm import hub


@hub.saveable
class MaskedSVD(BaseEstimator):
    """Probabilistic PCA of a dense matrix with NaN, each cell projected on the features it has.

    For panels that differ between batches and for assays with gaps (bulk drug screens, methylation): at most a few
    thousand features, since the matrix is dense.

    Parameters
    ----------
    n_components
        Number of components; fewer are kept where the matrix has a smaller rank.
    max_iter, tol
        Iterations of filling in, and the relative change of the filled-in entries at which they stop.

    Attributes
    ----------
    components_, mean_, variance_, n_obs_ : as :class:`omicsfm.pp.SparseSVD`.
    noise_ : variance per feature left over by the components.

    References
    ----------
    Tipping & Bishop (1999), J. R. Stat. Soc. B 61:611; iterative filling in as Ilin & Raiko (2010), JMLR 11:1957.
    """

    def __init__(self, n_components: int = 30, *, max_iter: int = 50, tol: float = 1e-4) -> None:
        self.n_components = n_components
        self.max_iter = max_iter
        self.tol = tol

    def fit(self, x_ng: np.ndarray) -> MaskedSVD:
        """Fit a dense matrix (n_obs, n_vars) in which NaN means not measured."""
        missing = np.isnan(x_ng)
        n, n_vars = x_ng.shape
        seen_g = (~missing).sum(axis=0)
        self.mean_ = np.where(missing, 0, x_ng).sum(axis=0) / np.maximum(seen_g, 1)
        filled = np.where(missing, self.mean_, x_ng)
        k = max(1, min(self.n_components, n - 1, n_vars - 1))
        for _ in range(self.max_iter):
            self.mean_ = filled.mean(axis=0)
            _, s, vt = np.linalg.svd(filled - self.mean_, full_matrices=False)
            variance = s**2 / max(n - 1, 1)
            rank = max(1, int((variance[:k] > variance[0] * 1e-10).sum()))
            self.components_, self.variance_, self.n_obs_ = vt[:rank], variance[:rank], n
            # With as many components as cells nothing is left over; a cell with few features still needs some noise.
            self.noise_ = max(float(variance[rank:].sum() / max(n_vars - rank, 1)), 1e-8 * float(variance[0])) or 1e-8
            if not missing.any():
                break
            new = np.where(missing, self.transform(x_ng) @ self.components_ + self.mean_, x_ng)
            change = np.linalg.norm(new - filled) / max(float(np.linalg.norm(filled - self.mean_)), 1e-12)
            filled = new
            if change < self.tol:
                break
        sign = np.sign(self.components_[np.arange(rank), np.abs(self.components_).argmax(axis=1)])
        self.components_ = self.components_ * np.where(sign == 0, 1, sign)[:, None]
        return self

    def transform(self, x_ng: np.ndarray) -> np.ndarray:
        """Give the posterior mean of the scores. Returns float64 array (n_obs, n_components)."""
        out = np.zeros((len(x_ng), len(self.components_)))
        present = ~np.isnan(x_ng)
        # Cells that share a panel share one small solve; most data have a handful of panels.
        _, first, which = np.unique(np.packbits(present, axis=1), axis=0, return_index=True, return_inverse=True)
        for i, pattern in enumerate(present[first]):
            rows = which.ravel() == i
            v_kg = self.components_[:, pattern]
            gram = v_kg @ v_kg.T + np.diag(self.noise_ / np.maximum(self.variance_, 1e-12 * self.noise_))
            out[rows] = (x_ng[np.ix_(rows, pattern)] - self.mean_[pattern]) @ np.linalg.solve(gram, v_kg).T
        return out
