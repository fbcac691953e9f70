"""Row blocks and canonical CSR: one shape of matrix for everything that computes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp

from omicsfm._errors import InputError

_INT32_MAX = np.iinfo(np.int32).max


def _float_dtype(dtype: np.dtype) -> np.dtype:
    """Smallest of float32 and float64 that holds every value of `dtype` exactly."""
    if dtype.kind not in "bfiu":
        raise InputError(
            f"canonical: needed a matrix of real numbers, found dtype {dtype}. Fix: convert it to float32."
        )
    return np.dtype(np.float32) if np.can_cast(dtype, np.float32, "safe") else np.dtype(np.float64)


def canonical(X: Any) -> sp.csr_matrix:
    """Give a matrix as canonical CSR; the input is never changed.

    Parameters
    ----------
    X
        (n, m) array, scipy sparse matrix or array, or a backed matrix (read whole).

    Returns
    -------
    (n, m) CSR, sorted and without duplicate entries, values float32 where that is exact for the dtype and float64
    elsewhere, index arrays both int32 (both int64 only where the sizes need it). Explicit zeros and NaN stay. Arrays
    are shared with `X` where they already fit.

    Notes
    -----
    anndata hands out ``indptr`` int64 beside ``indices`` int32 from large files, and scipy then casts the whole of
    ``indices`` at every row indexing (measured: 250 times slower).
    """
    if hasattr(X, "to_memory"):
        X = X.to_memory()
    elif not isinstance(X, np.ndarray) and not sp.issparse(X):
        X = X[...]
        X = X.compute() if hasattr(X, "compute") else np.asarray(X)
    if X.ndim != 2:
        raise InputError(f"canonical: needed a matrix with two axes, found shape {X.shape}. Fix: reshape it to (n, m).")
    dtype = _float_dtype(X.dtype)
    if not sp.issparse(X):
        csr = sp.csr_matrix(np.asarray(X, dtype=dtype))
    else:
        csr = sp.csr_matrix(X, dtype=dtype, copy=False)
        if not csr.has_canonical_format:
            csr = csr.copy()
            csr.sum_duplicates()
    index = np.int32 if max(*csr.shape, csr.nnz) <= _INT32_MAX else np.int64
    if csr.indices.dtype == index and csr.indptr.dtype == index:
        return csr
    out = sp.csr_matrix(csr.shape, dtype=dtype)
    # Assigned one by one: the constructor would choose the index dtype again, by its own rule.
    out.data, out.indices, out.indptr = csr.data, csr.indices.astype(index), csr.indptr.astype(index)
    return out


def raw_blocks(X: Any, n_rows: int = 8192) -> Iterator[Any]:
    """Cut a matrix into blocks of rows in memory, as they are: dense stays dense, dtypes stay.

    Parameters
    ----------
    X
        (n, m) array, scipy sparse matrix, or a backed one (HDF5, zarr, anndata's sparse data sets, dask).
    n_rows
        Rows per block; the last may be shorter. A matrix without rows gives no block.

    Yields
    ------
    Consecutive (<= n_rows, m) arrays or sparse matrices.
    """
    if n_rows < 1:
        raise InputError(f"blocks: n_rows must be at least 1, found {n_rows}. Fix: leave it at its default, 8192.")
    column_major = sp.issparse(X) and X.format != "csr" or getattr(X, "format", None) == "csc"
    if column_major:  # rows of a CSC matrix cost a pass over all of it: convert once
        X = sp.csr_matrix(X.to_memory() if hasattr(X, "to_memory") else X)
    for start in range(0, X.shape[0], n_rows):
        block = X[start : min(start + n_rows, X.shape[0])]
        if hasattr(block, "compute"):
            block = block.compute()
        yield block if sp.issparse(block) else np.asarray(block)


def blocks(X: Any, n_rows: int = 8192) -> Iterator[sp.csr_matrix]:
    """Cut a matrix, in memory or backed, into canonical CSR blocks of rows.

    Parameters
    ----------
    X
        (n, m) array, scipy sparse matrix, or a backed one (HDF5, zarr, anndata's sparse data sets, dask).
    n_rows
        Rows per block; the last may be shorter. A matrix without rows gives no block.

    Yields
    ------
    (<= n_rows, m) CSR as :func:`canonical` makes it, in row order.
    """
    for block in raw_blocks(X, n_rows):
        yield canonical(block)
