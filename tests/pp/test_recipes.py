"""Recipes against scanpy, slow loops and NumPy; what was not measured enters no sum."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scanpy as sc
import scipy.sparse as sp
from anndata import AnnData
from hypothesis import example, given, settings
from hypothesis import strategies as st

from omicsfm import InputError
from omicsfm.pp import ATAC, RECIPES, RNA, Continuous, Guide, Methylation, Protein, Recipe

STORAGE = (np.asarray, sp.csr_matrix, sp.csc_matrix)
COUNTS = ("rna", "atac", "protein", "guide")


def dense(x: object) -> np.ndarray:
    return x.toarray() if sp.issparse(x) else np.asarray(x)


def fitted(kind: str, x: object, measured: np.ndarray | None = None) -> Recipe:
    recipe = RECIPES[kind]()
    recipe.update(x, measured)
    recipe.finish()
    return recipe


@pytest.fixture
def counts() -> np.ndarray:
    rng = np.random.default_rng(0)
    x_ng = rng.poisson(rng.gamma(0.5, 2, 12), (20, 12))
    x_ng[4] = 0  # a measured cell with nothing in it
    return x_ng


@pytest.mark.filterwarnings("ignore:Some cells have zero counts:UserWarning")  # scanpy's; they are the point here
@pytest.mark.parametrize("recipe", [RNA(), Guide()])
@pytest.mark.parametrize("store", STORAGE)
def test_log_normalise_equals_scanpy(recipe: Recipe, store, counts: np.ndarray) -> None:
    adata = AnnData(sp.csr_matrix(counts.astype(np.float64)))
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    found = recipe.scale(store(counts))
    assert sp.issparse(found)
    np.testing.assert_allclose(found.toarray(), adata.X.toarray(), rtol=1e-12)


def test_tf_idf_equals_a_slow_loop(counts: np.ndarray) -> None:
    n, n_vars = counts.shape
    slow = np.zeros(counts.shape)
    for i in range(n):
        for j in range(n_vars):
            if counts[i, j]:
                idf = np.log(1 + n / max(1, sum(counts[r, j] > 0 for r in range(n))))
                slow[i, j] = np.log(1 + 1e4 * counts[i, j] / counts[i].sum()) * idf
        if slow[i].any():
            slow[i] /= np.sqrt((slow[i] ** 2).sum())
    found = fitted("atac", sp.csr_matrix(counts)).scale(sp.csr_matrix(counts))
    np.testing.assert_allclose(found.toarray(), slow, rtol=1e-12)


def test_clr_equals_a_slow_loop(counts: np.ndarray) -> None:
    slow = np.array([[np.log(1 + v) - np.mean([np.log(1 + w) for w in row]) for v in row] for row in counts])
    np.testing.assert_allclose(Protein().scale(counts), slow, atol=1e-12)


def test_m_values_span_the_unit_interval() -> None:
    found = Methylation().scale(np.array([[0.0, 0.5, 1.0, np.nan]]))
    np.testing.assert_allclose(found[0, :3], [np.log2(0.01 / 1.01), 0, np.log2(1.01 / 0.01)], atol=1e-12)
    assert np.isnan(found[0, 3])


def test_zero_depth_cells_stay_zero_and_finite(counts: np.ndarray) -> None:
    for kind in COUNTS:
        found = dense(fitted(kind, counts).scale(counts))
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(found[4], 0)


@pytest.mark.parametrize("kind", RECIPES)
def test_storage_and_dtype_do_not_matter(kind: str, counts: np.ndarray) -> None:
    x_ng = counts if kind in COUNTS else counts / counts.max()
    measured = np.random.default_rng(1).random(counts.shape) < 0.8
    dtypes = (np.int32, np.int64, np.uint16, np.float32, np.float64) if kind in COUNTS else (np.float64,)
    for mask in (None, measured):
        wanted = dense(fitted(kind, x_ng.astype(np.float64), mask).scale(x_ng.astype(np.float64), mask))
        for dtype in dtypes:
            for store in STORAGE:
                x = store(x_ng.astype(dtype))
                before = dense(x).copy()
                found = dense(fitted(kind, x, mask).scale(x, mask))
                assert found.dtype == np.float64
                np.testing.assert_array_equal(found, wanted, err_msg=f"{dtype} {store}")
                np.testing.assert_array_equal(dense(x), before)  # the input is the user's


@pytest.mark.parametrize("kind", RECIPES)
def test_unmeasured_features_enter_no_sum(kind: str, counts: np.ndarray) -> None:
    """Whatever stands in X where nothing was measured: the same bits, and NaN there."""
    x_ng = counts.astype(np.float64) if kind in COUNTS else counts / counts.max()
    measured = np.ones(counts.shape, dtype=bool)
    measured[:8, :5] = False
    measured[8:, 9:] = False
    other = np.where(measured, x_ng, 77.0 if kind in COUNTS else 0.77)
    for store in STORAGE:
        found = dense(fitted(kind, store(x_ng), measured).scale(store(x_ng), measured))
        hidden = dense(fitted(kind, store(other), measured).scale(store(other), measured))
        np.testing.assert_array_equal(found, hidden)
        np.testing.assert_array_equal(np.isnan(found), ~measured)


@pytest.mark.parametrize("kind", COUNTS)
def test_a_panel_equals_the_same_cells_without_the_other_features(kind: str, counts: np.ndarray) -> None:
    """A total, a mean or a length runs over the panel of the cell and nothing else."""
    measured = np.zeros(counts.shape, dtype=bool)
    measured[:, 3:9] = True
    found = dense(fitted(kind, counts, measured).scale(counts, measured))
    alone = dense(fitted(kind, counts[:, 3:9]).scale(counts[:, 3:9]))
    np.testing.assert_allclose(found[:, 3:9], alone, atol=1e-12)


@pytest.mark.parametrize("kind", RECIPES)
def test_a_cell_is_scaled_alone_as_among_others(kind: str, counts: np.ndarray) -> None:
    x_ng = counts.astype(np.float64) if kind in COUNTS else counts / counts.max()
    recipe = fitted(kind, x_ng)
    alone = np.vstack([dense(recipe.scale(x_ng[i : i + 1])) for i in range(len(x_ng))])
    np.testing.assert_array_equal(dense(recipe.scale(x_ng)), alone)


@settings(max_examples=40)
@given(
    edges=st.lists(st.integers(1, 29), max_size=5),
    seed=st.integers(0, 999),
    shift=st.sampled_from([0.0, 1e6, -1e7]),
    hidden=st.sampled_from([0.0, 0.3, 0.9]),
)
@example(edges=[1, 2], seed=0, shift=1e7, hidden=0.0)
def test_continuous_moments_under_any_split(edges: list[int], seed: int, shift: float, hidden: float) -> None:
    rng = np.random.default_rng(seed)
    x_ng = rng.standard_normal((30, 5)) * [1, 2, 3, 4, 5] + shift
    x_ng[rng.random(x_ng.shape) < hidden] = np.nan
    x_ng[:2] = rng.standard_normal((2, 5)) + shift  # at least two values of each feature
    recipe = Continuous()
    for i, j in pairwise([0, *sorted(set(edges)), 30]):
        recipe.update(x_ng[i:j])
    recipe.finish()
    np.testing.assert_allclose(recipe.mean_, np.nanmean(x_ng, axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(recipe.sd_, np.nanstd(x_ng, axis=0, ddof=1), rtol=1e-6)
    scaled = recipe.scale(x_ng)
    np.testing.assert_allclose(np.nanmean(scaled, axis=0), 0, atol=1e-5)


def test_constant_and_never_measured_features_are_left() -> None:
    x_ng = np.array([[3.0, 1e9, np.nan, 0.1], [3.0, 1e9, np.nan, 0.1], [3.0, 1e9, np.nan, 0.1]])
    found = fitted("continuous", x_ng).scale(x_ng)
    np.testing.assert_allclose(found[:, [0, 1, 3]], 0, atol=1e-12)
    assert np.isnan(found[:, 2]).all()


@pytest.mark.parametrize("n_blocks", [1, 4])
def test_atac_counts_cells_over_blocks_and_panels(n_blocks: int, counts: np.ndarray) -> None:
    measured = np.random.default_rng(3).random(counts.shape) < 0.7
    recipe = ATAC()
    for part in np.array_split(np.arange(20), n_blocks):
        recipe.update(sp.csr_matrix(counts[part] * measured[part]), measured[part])
    recipe.finish()
    n_open = ((counts > 0) & measured).sum(axis=0)
    np.testing.assert_allclose(recipe.idf_, np.log1p(measured.sum(axis=0) / np.maximum(n_open, 1)))


def test_the_abstract_recipe_says_so() -> None:
    with pytest.raises(InputError, match="abstract"):
        Recipe().scale(np.zeros((1, 1)))
