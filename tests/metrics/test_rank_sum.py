"""Rank-sum test, against scanpy and scipy."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import mannwhitneyu

from omicsfm import InputError
from omicsfm.metrics._rank_sum import rank_sum

GENES = 300  # more than are handled at once


@pytest.fixture(scope="module")
def cells() -> tuple[np.ndarray, np.ndarray]:
    """Counts with many ties, logs with few, scaled values of both signs, genes of one value or of one cell."""
    rng = np.random.default_rng(0)
    groups = np.repeat(["a", "b", "control", "d"], [40, 35, 90, 30])
    x = rng.poisson(rng.gamma(0.7, 1.5, GENES), size=(len(groups), GENES)).astype(np.float64)
    x[groups == "a", :20] += 1
    x[:, 50:100] = np.log1p(x[:, 50:100] * rng.uniform(0.5, 2, (len(groups), 1)))
    x[:, 100:150] -= x[:, 100:150].mean(axis=0)
    x[:, 150:200] = rng.integers(-2, 3, size=(len(groups), 50))
    x[:, 200], x[:, 201], x[:, 202], x[:, 203] = 0, 5, -5, 0
    x[3, 203] = 1
    x[:, 204] = rng.normal(size=len(groups)) * 1e-30  # spans many exponents with the next
    x[:, 205] = rng.normal(size=len(groups)) * 10.0 ** rng.integers(-30, 30, len(groups))
    order = rng.permutation(len(groups))
    return x[order], groups[order]


@pytest.mark.parametrize("tie_correct", [True, False])
def test_parity_with_scanpy(cells, tie_correct):
    import scanpy as sc

    x, groups = cells
    adata = ad.AnnData(x, obs=pd.DataFrame({"g": pd.Categorical(groups)}, index=np.arange(len(x)).astype(str)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scanpy's own, about logarithms of the negative values
        sc.tl.rank_genes_groups(adata, "g", method="wilcoxon", reference="control", tie_correct=tie_correct)
    found = rank_sum(x, groups, reference="control", tie_correct=tie_correct)
    assert found.groups.tolist() == ["a", "b", "d"] and found.n.tolist() == [40, 35, 30] and found.n_reference == 90
    for i, group in enumerate(found.groups):
        theirs = sc.get.rank_genes_groups_df(adata, group).set_index("names").loc[adata.var_names]
        np.testing.assert_allclose(found.statistic[i], theirs["scores"], rtol=1e-6, atol=1e-6)  # theirs are float32
        np.testing.assert_allclose(found.p_value[i], theirs["pvals"], rtol=1e-6, atol=1e-12)


def test_parity_with_scipy(cells):
    x, groups = cells
    found = rank_sum(x, groups, reference="control")
    varied = np.ptp(x, axis=0) > 0
    for i, group in enumerate(found.groups):
        u, p = mannwhitneyu(
            x[groups == group], x[groups == "control"], use_continuity=False, method="asymptotic", nan_policy="omit"
        )
        np.testing.assert_allclose(found.auc[i] * found.n[i] * 90, u, rtol=1e-12)
        both = varied & (np.ptp(x[np.isin(groups, [group, "control"])], axis=0) > 0)
        np.testing.assert_allclose(found.p_value[i, both], p[both], rtol=1e-10)


def test_one_value_in_all_cells_says_nothing(cells):
    found = rank_sum(*cells, reference="control")
    assert (found.statistic[:, 200:203] == 0).all() and (found.p_value[:, 200:203] == 1).all()
    assert (found.auc[:, 200:203] == 0.5).all()


def same(a, b) -> None:
    for name in ("statistic", "p_value", "auc"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize(
    "kind", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.coo_array, np.asfortranarray]
)
def test_storage_does_not_matter(cells, kind):
    x, groups = cells
    same(rank_sum(kind(x), groups, reference="control"), rank_sum(x, groups, reference="control"))


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.int64])
def test_numbers_of_any_kind_are_ranked_as_they_are(cells, dtype):
    x = cells[0][:, :200].round().astype(dtype)
    same(rank_sum(x, cells[1], reference="a"), rank_sum(x.astype(np.float64), cells[1], reference="a"))


def test_float32_keeps_its_order():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(400, 8)) * 10.0 ** rng.integers(-20, 20, (400, 8))).astype(np.float32)
    groups = np.arange(400) % 3
    same(rank_sum(x, groups, reference=0), rank_sum(x.astype(np.float64), groups, reference=0))


def test_zeros_that_are_written_down_are_zeros(cells):
    x = sparse.csr_matrix(cells[0])
    full = sparse.csr_matrix(np.ones_like(cells[0]))
    full.data[:] = cells[0].ravel()
    full.data[full.data == 0] = np.tile([0.0, -0.0], (full.data == 0).sum())[: (full.data == 0).sum()]
    assert full.nnz > x.nnz
    same(rank_sum(full, cells[1], reference="control"), rank_sum(x, cells[1], reference="control"))


def test_entries_written_twice_are_added_and_the_input_stays():
    x = sparse.csc_matrix((np.ones(4), np.array([0, 0, 1, 2]), np.array([0, 4])), shape=(6, 1))
    found = rank_sum(x, list("ababab"), reference="b")
    same(found, rank_sum(x.toarray(), list("ababab"), reference="b"))
    assert x.nnz == 4


def test_order_of_cells_and_other_groups_do_not_matter(cells):
    x, groups = cells
    pair = np.isin(groups, ["b", "control"])
    alone, among = (rank_sum(x[k], groups[k], reference="control") for k in (pair, slice(None)))
    for name in ("statistic", "p_value", "auc"):
        np.testing.assert_array_equal(getattr(alone, name)[0], getattr(among, name)[1])


def test_errors_name_what_was_found(cells):
    x, groups = cells
    broken = x.copy()
    broken[5, 280] = np.nan
    for kind in (np.asarray, sparse.csr_matrix):
        with pytest.raises(InputError, match="rank_sum: `x` must hold no NaN, found 1 in features 256 to 299"):
            rank_sum(kind(broken), groups, reference="control")
    with pytest.raises(InputError, match="reference 'nobody'"):
        rank_sum(x, groups, reference="nobody")
    with pytest.raises(InputError, match=r"found 1 group\(s\)"):
        rank_sum(x, ["a"] * len(x), reference="a")
    with pytest.raises(InputError, match="rows must agree"):
        rank_sum(x, groups[1:], reference="control")
