"""Canonical CSR and row blocks: the same numbers from any kind of matrix, the input untouched."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import scipy.sparse as sp
import zarr
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st

from omicsfm import InputError, _compat, io


def _matrix(seed: int, shape: tuple[int, int], dtype: type) -> np.ndarray:
    return np.random.default_rng(seed).poisson(0.6, shape).astype(dtype)


def _is_canonical(csr: sp.csr_matrix) -> bool:
    return (
        isinstance(csr, sp.csr_matrix)
        and csr.indices.dtype == csr.indptr.dtype == np.int32
        and bool(csr.has_canonical_format)
        and csr.dtype in (np.float32, np.float64)
    )


@settings(max_examples=80)
@given(
    seed=st.integers(0, 99),
    shape=st.tuples(st.integers(0, 12), st.integers(1, 6)),
    kind=st.sampled_from(["dense", "csr", "csc", "coo", "csr_array", "unsorted"]),
    dtype=st.sampled_from([np.float32, np.float64, np.float16, np.int8, np.int64, np.uint16, bool]),
    n_rows=st.integers(1, 13),
)
def test_blocks_join_to_the_matrix(seed, shape, kind, dtype, n_rows):
    if dtype == np.float16:
        kind = "dense"  # scipy has no sparse float16
    dense = _matrix(seed, shape, dtype)
    if kind == "dense":
        X = dense
    elif kind == "unsorted":
        X = sp.csr_matrix(dense)
        X.indices, X.data = X.indices.copy(), X.data.copy()
        for i in range(shape[0]):
            row = slice(X.indptr[i], X.indptr[i + 1])
            X.indices[row], X.data[row] = X.indices[row][::-1].copy(), X.data[row][::-1].copy()
        X.has_sorted_indices = False
    else:
        X = sp.csr_array(dense) if kind == "csr_array" else getattr(sp, f"{kind}_matrix")(dense)
    before = X.copy() if kind == "dense" else X.data.copy()
    parts = list(io.blocks(X, n_rows))
    assert all(_is_canonical(part) for part in parts)
    assert all(part.shape[0] == n_rows for part in parts[:-1])
    joined = np.concatenate([part.toarray() for part in parts]) if parts else np.empty(shape)
    np.testing.assert_array_equal(joined, dense)
    np.testing.assert_array_equal(io.canonical(X).toarray(), dense)
    assert _is_canonical(io.canonical(X))
    np.testing.assert_array_equal(X if kind == "dense" else X.data, before)


@pytest.mark.parametrize(
    ("dtype", "result"),
    [(np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64), (np.uint16, np.float32),
     (np.int32, np.float64), (np.int64, np.float64), (bool, np.float32)],
)  # fmt: skip
def test_values_stay_exact(dtype, result):
    assert io.canonical(np.ones((2, 2), dtype=dtype)).dtype == result
    big = np.array([[2**24 + 1]])
    assert io.canonical(big)[0, 0] == 2**24 + 1


def test_mixed_index_dtypes_become_one():
    """What anndata reads from large files: scipy indexes rows of it hundreds of times slower."""
    X = sp.csr_matrix(_matrix(0, (5, 4), np.float32))
    X.indptr = X.indptr.astype(np.int64)
    assert X.indices.dtype == np.int32
    out = io.canonical(X)
    assert out.indices.dtype == out.indptr.dtype == np.int32
    assert np.shares_memory(out.data, X.data)
    assert X.indptr.dtype == np.int64
    np.testing.assert_array_equal(out.toarray(), X.toarray())


def test_what_fits_is_shared_and_duplicates_are_summed():
    X = sp.csr_matrix(_matrix(0, (5, 4), np.float32))
    assert np.shares_memory(io.canonical(X).data, X.data)
    twice = sp.csr_matrix((np.array([1.0, 2.0], dtype=np.float32), np.array([1, 1]), np.array([0, 2])), shape=(1, 3))
    np.testing.assert_array_equal(io.canonical(twice).toarray(), [[0, 3, 0]])
    assert twice.nnz == 2


def test_nan_and_explicit_zeros_stay():
    out = io.canonical(np.array([[np.nan, 0.0]]))
    assert out.nnz == 1
    assert np.isnan(out.data).all()
    zero = sp.csr_matrix((np.array([0.0]), np.array([0]), np.array([0, 1])), shape=(1, 1))
    assert io.canonical(zero).nnz == 1


def test_backed_matrices(tmp_path):
    dense = _matrix(3, (11, 4), np.float32)
    for name, X in (("dense", dense), ("csr", sp.csr_matrix(dense)), ("csc", sp.csc_matrix(dense))):
        with _compat.silent():
            AnnData(X).write_h5ad(tmp_path / f"{name}.h5ad")
            adata = _compat.read_h5ad(tmp_path / f"{name}.h5ad", backed=True)
        parts = list(io.blocks(adata.X, 4))
        assert [part.shape[0] for part in parts] == [4, 4, 3]
        np.testing.assert_array_equal(sp.vstack(parts).toarray(), dense)
        np.testing.assert_array_equal(io.canonical(adata.X).toarray(), dense)
        adata.file.close()
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["X"] = dense
        np.testing.assert_array_equal(sp.vstack(list(io.blocks(file["X"], 3))).toarray(), dense)
    array = zarr.create_array(str(tmp_path / "x.zarr"), data=dense)
    np.testing.assert_array_equal(sp.vstack(list(io.blocks(array, 3))).toarray(), dense)


def test_bad_input():
    with pytest.raises(InputError, match="n_rows must be at least 1"):
        next(io.blocks(np.ones((2, 2)), 0))
    with pytest.raises(InputError, match="complex128"):
        io.canonical(np.ones((2, 2)) * 1j)
    with pytest.raises(InputError, match="two axes"):
        io.canonical(np.ones(3))
