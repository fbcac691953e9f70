"""SparseSVD against scikit-learn and scanpy: in memory, in blocks, one pass or two, and never dense."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
import scanpy as sc
import scipy.sparse as sp
from anndata import AnnData
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.decomposition import PCA, TruncatedSVD

from omicsfm import InputError
from omicsfm.pp import SparseSVD


def low_rank(n: int = 300, n_vars: int = 120, *, k: int = 6, seed: int = 0) -> np.ndarray:
    """A matrix with `k` strong directions, far means, noise and some zeros."""
    rng = np.random.default_rng(seed)
    z_nk = rng.standard_normal((n, k)) * np.linspace(12, 7, k)
    x_ng = z_nk @ rng.standard_normal((k, n_vars)) / 3 + rng.standard_normal((n, n_vars)) + 3
    x_ng[rng.random(x_ng.shape) < 0.02] = 0
    return x_ng


def gap(a_kg: np.ndarray, b_kg: np.ndarray) -> float:
    """Sine of the largest angle between two row spaces of equal dimension."""
    assert a_kg.shape == b_kg.shape
    return float(np.linalg.norm(a_kg - (a_kg @ b_kg.T) @ b_kg, 2))


def cut(x: np.ndarray, edges: list[int]) -> list[np.ndarray]:
    return [x[i:j] for i, j in pairwise([0, *sorted(edges), len(x)]) if j > i]


@pytest.mark.parametrize("sparse", [True, False])
def test_equals_sklearn_and_scanpy(sparse: bool) -> None:
    x_ng = low_rank()
    k = 6
    found = SparseSVD(k).fit(sp.csr_matrix(x_ng) if sparse else x_ng)
    svd = TruncatedSVD(k, n_iter=20, random_state=1).fit(x_ng - x_ng.mean(axis=0))
    pca = PCA(k, svd_solver="full").fit(x_ng)
    adata = AnnData(sp.csr_matrix(x_ng))
    sc.pp.pca(adata, n_comps=k)
    for peer in (svd.components_, pca.components_, adata.varm["PCs"].T.astype(np.float64)):
        assert gap(found.components_, peer) < 1e-3
    np.testing.assert_allclose(found.variance_, pca.explained_variance_, rtol=1e-3)
    np.testing.assert_allclose(found.mean_, x_ng.mean(axis=0), atol=1e-12)
    # Each component, not only the space: scores agree up to the sign.
    scores, peer = found.transform(sp.csr_matrix(x_ng)), pca.transform(x_ng)
    np.testing.assert_allclose(np.abs(np.sum(scores * peer, axis=0)), np.sum(peer**2, axis=0), rtol=1e-3)
    np.testing.assert_allclose(found.components_ @ found.components_.T, np.eye(k), atol=1e-10)


def test_slow_spectrum_keeps_the_variance_of_sklearn(make_blobs) -> None:
    """Where components are nearly tied a space is not unique: the variance it holds is."""
    x_ng = np.log1p(make_blobs(400, 200, seed=3))
    pca = PCA(30, svd_solver="full").fit(x_ng)
    found = SparseSVD(30).fit(sp.csr_matrix(x_ng))
    held = found.transform(x_ng).var(axis=0, ddof=1).sum()
    np.testing.assert_allclose([held, found.variance_.sum()], pca.explained_variance_.sum(), rtol=1e-3)
    np.testing.assert_allclose(found.variance_, pca.explained_variance_, rtol=1e-2)


@settings(max_examples=15)
@given(edges=st.lists(st.integers(1, 299), max_size=6), n_passes=st.sampled_from([1, 2, 3]), sparse=st.booleans())
@example(edges=[1], n_passes=1, sparse=True)  # a first block of one row: nothing to centre by
@example(edges=[1, 2, 3], n_passes=1, sparse=True)
@example(edges=[299], n_passes=2, sparse=False)
def test_row_blocks_give_the_space_of_the_whole(edges: list[int], n_passes: int, sparse: bool) -> None:
    x_ng = low_rank()
    parts = [sp.csr_matrix(p) if sparse else p for p in cut(x_ng, edges)]
    whole = PCA(6, svd_solver="full").fit(x_ng)
    found = SparseSVD(6).fit_blocks(lambda: parts, n_passes=n_passes)
    assert gap(found.components_, whole.components_) < 1e-3
    np.testing.assert_allclose(found.variance_, whole.explained_variance_, rtol=1e-3)
    np.testing.assert_allclose(found.mean_, x_ng.mean(axis=0), atol=1e-9)
    assert found.n_obs_ == 300


def test_blocks_without_the_signal_come_first() -> None:
    """Constant first rows must not use up the directions that later rows need."""
    x_ng = low_rank(200, 150, k=4)
    x_ng[:, :100] = 0
    x_ng[:20] = 1.0
    parts = [sp.csr_matrix(p) for p in cut(x_ng, [1, 20])]
    found = SparseSVD(5).fit_blocks(lambda: parts, n_passes=1)
    assert gap(found.components_, PCA(5, svd_solver="full").fit(x_ng).components_) < 1e-3


def test_a_far_mean_does_not_drown_the_signal() -> None:
    x_ng = low_rank() + 1e4
    found = SparseSVD(6).fit(x_ng)
    assert gap(found.components_, PCA(6, svd_solver="full").fit(x_ng).components_) < 1e-3


def test_float32_values_are_summed_in_double() -> None:
    """Means of many rows: single precision would be off by more than the smallest component."""
    rng = np.random.default_rng(0)
    x_ng = (rng.standard_normal((60_000, 4)) * [0.3, 0.2, 0.1, 0.05] + 1000).astype(np.float32)
    for x in (x_ng, sp.csr_matrix(x_ng)):
        found = SparseSVD(4).fit(x)
        exact = x_ng.astype(np.float64)
        np.testing.assert_allclose(found.mean_, exact.mean(axis=0), rtol=1e-9)
        np.testing.assert_allclose(found.variance_, PCA(4).fit(exact).explained_variance_, rtol=1e-3)


def test_refitting_in_blocks_forgets_the_first_fit() -> None:
    model = SparseSVD(3)
    model.fit_blocks(lambda: [low_rank(seed=1)[:, :50]])
    model.fit_blocks(lambda: [low_rank(seed=2)])
    fresh = SparseSVD(3).fit_blocks(lambda: [low_rank(seed=2)])
    assert np.array_equal(model.components_, fresh.components_)
    assert model.n_obs_ == 300


def test_never_dense() -> None:
    """20,000 x 30,000 values would be 4.8 GB; a mean-centred copy or a Gram matrix 4.8 GB or 7.2 GB."""
    rng = np.random.default_rng(0)
    n, n_vars, per_row = 20_000, 30_000, 10
    indices = rng.integers(0, n_vars, (n, per_row))
    x_ng = sp.csr_matrix(
        (np.ones(n * per_row), indices.ravel(), np.arange(0, n * per_row + 1, per_row)), shape=(n, n_vars)
    )
    x_ng.sum_duplicates()
    tracemalloc.start()
    try:
        model = SparseSVD(10, n_iter=1).fit(x_ng)
        scores = model.transform(x_ng)
        model.fit_blocks(lambda: (x_ng[i : i + 10_000] for i in (0, 10_000)), n_passes=2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert scores.shape == (n, 10)
    assert peak < 400e6, f"{peak / 1e6:.0f} MB"


def test_rank_below_the_components_asked_for() -> None:
    rng = np.random.default_rng(0)
    x_ng = rng.standard_normal((50, 3)) @ rng.standard_normal((3, 40)) + 5
    for model in (SparseSVD(10).fit(x_ng), SparseSVD(10).fit_blocks(lambda: [x_ng[:7], x_ng[7:]])):
        assert model.components_.shape == (3, 40)
        np.testing.assert_allclose(model.transform(x_ng) @ model.components_ + model.mean_, x_ng, atol=1e-6)


def test_constant_columns_carry_no_weight() -> None:
    x_ng = low_rank(80, 30)
    x_ng[:, [0, 7]] = [2.0, 0.0]
    found = SparseSVD(4).fit(sp.csr_matrix(x_ng))
    assert np.abs(found.components_[:, [0, 7]]).max() < 1e-8


def test_zero_rows_are_rows() -> None:
    x_ng = low_rank(80, 30)
    x_ng[[3, 40]] = 0
    found = SparseSVD(6).fit(sp.csr_matrix(x_ng))
    assert gap(found.components_, PCA(6, svd_solver="full").fit(x_ng).components_) < 1e-3
    np.testing.assert_allclose(found.transform(sp.csr_matrix((1, 30))), -(found.mean_ @ found.components_.T)[None])


@pytest.mark.parametrize(("n", "n_vars"), [(2, 50), (4, 50), (50, 2), (3, 3)])
def test_fewer_rows_or_columns_than_components(n: int, n_vars: int) -> None:
    x_ng = low_rank(n, n_vars, k=2)
    model = SparseSVD(30).fit(sp.csr_matrix(x_ng))
    assert len(model.components_) == min(n - 1, n_vars)
    np.testing.assert_allclose(model.transform(x_ng) @ model.components_ + model.mean_, x_ng, atol=1e-6)


def test_one_row_or_all_equal_gives_one_finite_component() -> None:
    for x_ng in (np.ones((1, 5)), np.full((9, 5), 0.1), np.zeros((4, 5))):
        for model in (SparseSVD(3).fit(sp.csr_matrix(x_ng)), SparseSVD(3).fit_blocks(lambda x=x_ng: [x])):
            assert np.isfinite(model.components_).all()
            assert np.abs(model.variance_).max() < 1e-12
            np.testing.assert_allclose(model.transform(x_ng), 0, atol=1e-12)


def test_same_seed_same_bits_and_clone() -> None:
    x_ng = sp.csr_matrix(low_rank())
    a, b = SparseSVD(5, seed=3).fit(x_ng), clone(SparseSVD(5, seed=3)).fit(x_ng)
    assert np.array_equal(a.components_, b.components_)
    assert np.array_equal(a.transform(x_ng), b.transform(x_ng))
    # The largest loading of a component is positive, so that two seeds agree in sign as well.
    other = SparseSVD(5, seed=4).fit(x_ng)
    np.testing.assert_allclose(a.components_, other.components_, atol=1e-3)


def test_other_features_are_refused() -> None:
    model = SparseSVD(2).partial_fit(low_rank(20, 8))
    with pytest.raises(InputError, match="8 then 9"):
        model.partial_fit(low_rank(20, 9))
    with pytest.raises(InputError, match="fitted on 8 features, found 9"):
        model.transform(low_rank(20, 9))
