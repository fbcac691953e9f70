"""Truncated SVD of a centred sparse matrix that is never densified, in memory or in row blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy import linalg, sparse
from sklearn.base import BaseEstimator

from omicsfm import hub
from omicsfm._errors import InputError

Matrix = Any  # scipy CSR or numpy array, cells x features
_OVERSAMPLE = 10
_ONE_PASS_EXTRA = 40  # a one-pass fit keeps this many directions beyond those asked for, so that merging forgets little


class _Gram:
    """The centred Gram matrix of all blocks seen, times a thin matrix: ``update(block)``, then ``finish()``."""

    def __init__(self, q_gl: np.ndarray) -> None:
        self.q_gl = q_gl
        self.n = 0
        self.sum_g = np.zeros(len(q_gl))
        self.y_gl = np.zeros_like(q_gl)

    def update(self, x_ng: Matrix) -> None:
        self.n += x_ng.shape[0]
        self.sum_g += _column_sums(x_ng)
        self.y_gl += np.asarray(x_ng.T @ (x_ng @ self.q_gl))

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        mean_g = self.sum_g / self.n
        return self.y_gl - self.n * np.outer(mean_g, mean_g @ self.q_gl), mean_g


def _column_sums(x_ng: Matrix) -> np.ndarray:
    """Column sums in double precision: of float32, SciPy and NumPy add thousands of rows in single precision."""
    if sparse.issparse(x_ng):
        return np.asarray(np.ones(x_ng.shape[0]) @ x_ng).ravel()
    return x_ng.sum(axis=0, dtype=np.float64)


def _orthonormal(a_gl: np.ndarray) -> np.ndarray:
    return np.linalg.qr(a_gl)[0]


def _beyond(y_gl: np.ndarray, basis_gb: np.ndarray) -> np.ndarray:
    """Orthonormal basis of what `y` adds to a basis; twice, since once leaves rounding errors behind."""
    scale = np.linalg.norm(y_gl, axis=0).max(initial=0.0)
    for _ in range(2):
        y_gl = y_gl - basis_gb @ (basis_gb.T @ y_gl)
    q_gl, r_ll, _ = linalg.qr(y_gl, mode="economic", pivoting=True)
    rank = int((np.abs(np.diag(r_ll)) > 1e-10 * scale).sum())
    return q_gl[:, : min(rank, basis_gb.shape[0] - basis_gb.shape[1])]


def _eigen(q_gl: np.ndarray, y_gl: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Top eigenpairs of a positive semi-definite G from ``y = G q`` (Nystroem: one power better than Rayleigh-Ritz)."""
    s_ll = q_gl.T @ y_gl
    value_l, vector_ll = np.linalg.eigh((s_ll + s_ll.T) / 2)
    keep = value_l > max(value_l[-1], 0.0) * 1e-12
    if not keep.any():
        return q_gl[:, :k].T, np.zeros(k)
    b_gl = y_gl @ (vector_ll[:, keep] / np.sqrt(value_l[keep]))
    u_gl, s_l, _ = np.linalg.svd(b_gl, full_matrices=False)
    u_gl, s_l = u_gl[:, :k], s_l[:k]
    # The sign of a singular vector is free: the largest loading is made positive, so that two runs agree.
    sign = np.sign(u_gl[np.abs(u_gl).argmax(axis=0), np.arange(u_gl.shape[1])])
    return (u_gl * np.where(sign == 0, 1, sign)).T, s_l**2


@hub.saveable
class SparseSVD(BaseEstimator):
    """Principal components of a sparse matrix by randomised block Krylov iteration, centred implicitly.

    Parameters
    ----------
    n_components
        Number of components; fewer are kept where the matrix has a smaller rank.
    n_iter
        Krylov blocks of `fit` in memory (each is one pass over the matrix).
    seed
        Seed of the random start.

    Attributes
    ----------
    components_ : float64 array (n_components, n_vars), orthonormal rows.
    mean_ : float64 array (n_vars,).
    variance_ : float64 array (n_components,), variance of each score, descending.
    n_obs_ : number of rows seen.

    References
    ----------
    Halko, Martinsson & Tropp (2011), SIAM Review 53:217, section 5.5 (Nystroem form); Musco & Musco (2015), NIPS 28,
    Algorithm 2 (block Krylov iteration, which needs far fewer passes where the spectrum is flat).
    """

    components_: np.ndarray
    mean_: np.ndarray
    variance_: np.ndarray
    n_obs_: int
    _merged: tuple[np.ndarray, np.ndarray]

    def __init__(self, n_components: int = 30, *, n_iter: int = 10, seed: int = 0) -> None:
        self.n_components = n_components
        self.n_iter = n_iter
        self.seed = seed

    def fit(self, x_ng: Matrix) -> SparseSVD:
        """Fit a matrix in memory, CSR or array, shape (n_obs, n_vars)."""
        q_gl = self._start(x_ng.shape[1], _OVERSAMPLE)
        return self._passes(lambda: [x_ng], q_gl, self.n_iter)

    def fit_blocks(self, blocks: Callable[[], Iterable[Matrix]], *, n_passes: int = 2) -> SparseSVD:
        """Fit row blocks that are read again for every pass.

        Parameters
        ----------
        blocks
            Called once a pass; gives row blocks, each (n_rows, n_vars).
        n_passes
            1: blocks are merged as they come. Each further pass is a power iteration from there.
        """
        for attribute in ("components_", "mean_", "variance_", "n_obs_", "_merged"):
            if hasattr(self, attribute):
                delattr(self, attribute)
        for block in blocks():
            self.partial_fit(block)
        if n_passes > 1:
            self._passes(blocks, _orthonormal(self._merged[0].T), n_passes - 1)
        del self._merged
        return self

    def partial_fit(self, x_ng: Matrix) -> SparseSVD:
        """Merge one more row block into the fit (one pass; Ross et al. 2008, with a randomised inner step)."""
        n_new, n_vars = x_ng.shape
        mean_new = _column_sums(x_ng) / n_new
        q_gl = self._start(n_vars, _ONE_PASS_EXTRA)
        if hasattr(self, "_merged"):
            basis_lg, value_l = self._merged
            if n_vars != basis_lg.shape[1]:
                raise InputError(
                    f"SparseSVD.partial_fit: blocks must share their features, found {basis_lg.shape[1]} then {n_vars}."
                )
            q_gl = _orthonormal(np.hstack([basis_lg.T, q_gl])[:, : q_gl.shape[1] + 10])
            n_old, mean_old = self.n_obs_, self.mean_
        else:
            basis_lg, value_l, n_old, mean_old = np.zeros((0, n_vars)), np.zeros(0), 0, np.zeros(n_vars)
        shift_g = np.sqrt(n_old * n_new / (n_old + n_new)) * (mean_new - mean_old)

        def gram(v_gl: np.ndarray) -> np.ndarray:
            inside = np.asarray(x_ng.T @ (x_ng @ v_gl)) - n_new * np.outer(mean_new, mean_new @ v_gl)
            return inside + basis_lg.T @ (value_l[:, None] * (basis_lg @ v_gl)) + np.outer(shift_g, shift_g @ v_gl)

        for _ in range(self.n_iter):
            q_gl = _orthonormal(gram(q_gl))
        self.n_obs_ = n_old + n_new
        self.mean_ = (n_old * mean_old + n_new * mean_new) / self.n_obs_
        rank = min(self.n_components + _ONE_PASS_EXTRA, q_gl.shape[1])
        self._merged = _eigen(q_gl, gram(q_gl), rank)
        self._keep(*self._merged)
        return self

    def transform(self, x_ng: Matrix) -> np.ndarray:
        """Project rows. Returns float64 array (n_obs, n_components)."""
        if x_ng.shape[1] != self.components_.shape[1]:
            raise InputError(
                f"SparseSVD.transform: fitted on {self.components_.shape[1]} features, found {x_ng.shape[1]}."
            )
        return np.asarray(x_ng @ self.components_.T) - self.mean_ @ self.components_.T

    def _start(self, n_vars: int, oversample: int) -> np.ndarray:
        rng = np.random.default_rng(self.seed)
        return _orthonormal(rng.standard_normal((n_vars, min(self.n_components + oversample, n_vars))))

    def _passes(self, blocks: Callable[[], Iterable[Matrix]], q_gl: np.ndarray, n_passes: int) -> SparseSVD:
        basis, images = [q_gl], []
        for i in range(n_passes):
            gram = _Gram(basis[-1])
            for block in blocks():
                gram.update(block)
            y_gl, mean_g = gram.finish()
            images.append(y_gl)
            if i < n_passes - 1:
                new_gl = _beyond(y_gl, np.hstack(basis))
                if new_gl.shape[1] == 0:  # the basis spans all there is
                    break
                basis.append(new_gl)
        self.n_obs_, self.mean_ = gram.n, mean_g
        k_gb, y_gb = np.hstack(basis[: len(images)]), np.hstack(images)
        s_bb = k_gb.T @ y_gb
        _, vector_bb = np.linalg.eigh((s_bb + s_bb.T) / 2)
        top_bl = vector_bb[:, ::-1][:, : self.n_components + _OVERSAMPLE]
        self._keep(*_eigen(k_gb @ top_bl, y_gb @ top_bl, self.n_components))
        return self

    def _keep(self, basis_lg: np.ndarray, value_l: np.ndarray) -> None:
        # Components past the rank are noise of the arithmetic, not of the data.
        rank = max(1, int((value_l[: self.n_components] > value_l[0] * 1e-10).sum()))
        self.components_ = basis_lg[:rank]
        self.variance_ = value_l[:rank] / max(self.n_obs_ - 1, 1)


def dense_nan(x_ng: Matrix, measured_ng: np.ndarray | None) -> np.ndarray:
    """Give a dense float64 copy with NaN where a feature was not measured."""
    # In double precision and by rows, whatever the storage: the same values then give the same bits.
    out = np.array(x_ng.toarray() if sparse.issparse(x_ng) else x_ng, dtype=np.float64, order="C")
    if measured_ng is not None:
        out[~measured_ng] = np.nan
    return out
