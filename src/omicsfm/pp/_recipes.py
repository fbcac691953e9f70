"""From raw values to the scale on which a modality is modelled: one small class per recipe.

``update(block)`` takes what a recipe learns from training cells (most learn nothing); ``scale(block)`` works on any
cells. Missing entries (NaN, or features outside a cell's panel) enter no sum and come out as NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator

from omicsfm import hub
from omicsfm._errors import InputError
from omicsfm.pp._svd import dense_nan

Matrix = Any
Mask = np.ndarray | None


def _csr(x_ng: Matrix) -> sparse.csr_matrix:
    return sparse.csr_matrix(x_ng, dtype=np.float64, copy=True)


def _row_scaled(x_ng: sparse.csr_matrix, factor_n: np.ndarray) -> sparse.csr_matrix:
    x_ng.data *= np.repeat(factor_n, np.diff(x_ng.indptr))
    return x_ng


def _inverse(total_n: np.ndarray) -> np.ndarray:
    """1 / total, and 0 for an empty cell: it was measured and holds nothing, so it stays all zero, not NaN."""
    return np.divide(1.0, total_n, out=np.zeros_like(total_n), where=total_n > 0)


class Recipe(BaseEstimator):
    """What all recipes share.

    Attributes
    ----------
    max_features : how many features make tokens (None: all).
    scale_name : name of the scale, for people.
    """

    max_features: int | None = None
    scale_name: str = ""

    def update(self, x_ng: Matrix, measured_ng: Mask = None) -> None:
        """Take one block of training cells."""

    def finish(self) -> None:
        """Turn what was taken into what `scale` needs."""

    def scale(self, x_ng: Matrix, measured_ng: Mask = None) -> Matrix:
        """Give values on the recipe's scale, same shape; sparse where zero stays zero."""
        raise InputError(f"{type(self).__name__}.scale: an abstract recipe has no scale. Fix: use one of its kinds.")


class LogNormalise(Recipe):
    """log(1 + 10,000 x count / total of the cell): RNA, guides.

    The total runs over the features present, so a cell's values do not depend on other cells.
    """

    scale_name = "log1p of counts per 10,000"

    def scale(self, x_ng: Matrix, measured_ng: Mask = None) -> Matrix:
        """Give log1p of counts per 10,000, CSR (n_obs, n_vars); dense with NaN where a panel is given."""
        out = _csr(x_ng)
        if measured_ng is not None:
            out = out.multiply(measured_ng).tocsr()
        out = _row_scaled(out, 1e4 * _inverse(np.asarray(out.sum(axis=1)).ravel()))
        np.log1p(out.data, out=out.data)
        return out if measured_ng is None or measured_ng.all() else dense_nan(out, measured_ng)


@hub.saveable
class RNA(LogNormalise):
    """RNA counts: log-normalised, 2,000 highly variable genes for the tokens."""

    max_features = 2000


@hub.saveable
class Guide(LogNormalise):
    """Guide counts: log-normalised, all guides."""


@hub.saveable
class ATAC(Recipe):
    """Chromatin accessibility counts: log-TF x log-IDF, each cell scaled to unit length.

    References
    ----------
    Stuart et al. (2021), Nat. Methods 18:1333 (Signac), method 3 with row normalisation.
    """

    scale_name = "TF-IDF"
    max_features = 50_000

    def update(self, x_ng: Matrix, measured_ng: Mask = None) -> None:
        """Count the cells in which each region is open."""
        is_open = sparse.csr_matrix(x_ng) > 0
        if measured_ng is not None:
            is_open = is_open.multiply(measured_ng)
        open_g = np.asarray(is_open.sum(axis=0)).ravel().astype(np.float64)
        seen_g = np.full(x_ng.shape[1], float(x_ng.shape[0])) if measured_ng is None else measured_ng.sum(axis=0)
        self._open = getattr(self, "_open", 0.0) + open_g
        self._seen = getattr(self, "_seen", 0.0) + seen_g

    def finish(self) -> None:
        """Compute the inverse document frequency."""
        self.idf_ = np.log1p(self._seen / np.maximum(self._open, 1))
        del self._open, self._seen

    def scale(self, x_ng: Matrix, measured_ng: Mask = None) -> Matrix:
        """Give TF-IDF values, CSR (n_obs, n_vars); dense with NaN where a panel is given."""
        out = _csr(x_ng)
        if measured_ng is not None:
            out = out.multiply(measured_ng).tocsr()
        out = _row_scaled(out, 1e4 * _inverse(np.asarray(out.sum(axis=1)).ravel()))
        np.log1p(out.data, out=out.data)
        out.data *= self.idf_[out.indices]
        out = _row_scaled(out, _inverse(np.sqrt(np.asarray(out.multiply(out).sum(axis=1)).ravel())))
        return out if measured_ng is None or measured_ng.all() else dense_nan(out, measured_ng)


@hub.saveable
class Protein(Recipe):
    """Antibody counts: centred log-ratio of each cell over the proteins of its panel.

    References
    ----------
    Stoeckius et al. (2017), Nat. Methods 14:865.
    """

    scale_name = "CLR"

    def scale(self, x_ng: Matrix, measured_ng: Mask = None) -> Matrix:
        """Give log1p(count) minus its mean over the cell's panel, dense (n_obs, n_vars)."""
        log_ng = np.log1p(dense_nan(x_ng, measured_ng))
        if measured_ng is None:
            return log_ng - log_ng.mean(axis=1, keepdims=True)
        n_seen = np.maximum(measured_ng.sum(axis=1, keepdims=True), 1)
        return log_ng - np.where(measured_ng, log_ng, 0).sum(axis=1, keepdims=True) / n_seen


@hub.saveable
class Methylation(Recipe):
    """Methylated fractions: M-values, log2 of the odds with 0.01 added on both sides (Du et al. 2010)."""

    scale_name = "M-value"
    max_features = 5000

    def scale(self, x_ng: Matrix, measured_ng: Mask = None) -> Matrix:
        """Give M-values, dense (n_obs, n_vars), NaN where not measured."""
        x_ng = dense_nan(x_ng, measured_ng)
        return np.log2((x_ng + 0.01) / (1.01 - x_ng))


@hub.saveable
class Continuous(Recipe):
    """Any real values: each feature centred and scaled to unit variance over the training cells that have it."""

    scale_name = "z-score"
    max_features = 5000

    def update(self, x_ng: Matrix, measured_ng: Mask = None) -> None:
        """Take sums and squares of what was measured."""
        x_ng = dense_nan(x_ng, measured_ng)
        seen = ~np.isnan(x_ng)
        x_ng = np.where(seen, x_ng, 0.0)
        n_g = seen.sum(axis=0).astype(np.float64)
        mean_g = x_ng.sum(axis=0) / np.maximum(n_g, 1)
        m2_g = (np.where(seen, x_ng - mean_g, 0.0) ** 2).sum(axis=0)
        if not hasattr(self, "_moments"):
            self._moments = (n_g, mean_g, m2_g)
            return
        # Chan, Golub & LeVeque (1979): merging by means keeps what sums of squares would cancel away.
        n0_g, mean0_g, m20_g = self._moments
        total_g = np.maximum(n0_g + n_g, 1)
        delta_g = mean_g - mean0_g
        self._moments = (
            n0_g + n_g,
            mean0_g + delta_g * n_g / total_g,
            m20_g + m2_g + delta_g**2 * n0_g * n_g / total_g,
        )

    def finish(self) -> None:
        """Compute mean and standard deviation of each feature."""
        n_g, self.mean_, m2_g = self._moments
        sd_g = np.sqrt(m2_g / np.maximum(n_g - 1, 1))
        # A constant feature says nothing: it is centred and left, instead of divided by zero.
        self.sd_ = np.where(sd_g > 1e-8 * np.maximum(np.abs(self.mean_), 1e-8), sd_g, 1.0)
        del self._moments

    def scale(self, x_ng: Matrix, measured_ng: Mask = None) -> Matrix:
        """Give z-scores by training mean and sd, dense (n_obs, n_vars), NaN where not measured."""
        return (dense_nan(x_ng, measured_ng) - self.mean_) / self.sd_


RECIPES: dict[str, type[Recipe]] = {
    "rna": RNA,
    "atac": ATAC,
    "protein": Protein,
    "guide": Guide,
    "methylation": Methylation,
    "continuous": Continuous,
}
