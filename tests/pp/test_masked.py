"""MaskedSVD: equal to SparseSVD where nothing is missing, and right about what is."""

from __future__ import annotations

import numpy as np
import pytest

from omicsfm.pp import MaskedSVD, SparseSVD


def low_rank(n: int = 150, n_vars: int = 60, *, k: int = 4, noise: float = 0.1, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    z_nk = rng.standard_normal((n, k)) * np.linspace(4, 2, k)
    return z_nk @ rng.standard_normal((k, n_vars)) + noise * rng.standard_normal((n, n_vars)) + rng.normal(0, 3, n_vars)


def test_equals_sparse_svd_where_nothing_is_missing() -> None:
    x_ng = low_rank()
    found, peer = MaskedSVD(4).fit(x_ng), SparseSVD(4).fit(x_ng)
    np.testing.assert_allclose(found.components_, peer.components_, atol=1e-6)
    np.testing.assert_allclose(found.variance_, peer.variance_, rtol=1e-6)
    # A posterior mean is the projection, shrunk by the noise of the cell's features.
    shrunk = peer.transform(x_ng) / (1 + found.noise_ / found.variance_)
    np.testing.assert_allclose(found.transform(x_ng), shrunk, atol=1e-6)


@pytest.mark.parametrize("how", ["at random", "by panel"])
def test_recovers_a_low_rank_matrix_with_30_percent_missing(how: str) -> None:
    x_ng = low_rank(noise=0.05)
    rng = np.random.default_rng(1)
    if how == "at random":
        missing = rng.random(x_ng.shape) < 0.3
    else:
        missing = np.zeros(x_ng.shape, dtype=bool)
        missing[:75, :36] = True  # half of the cells, 60 % of the panel
    seen = np.where(missing, np.nan, x_ng)
    model = MaskedSVD(4).fit(seen)
    filled = model.transform(seen) @ model.components_ + model.mean_
    error = np.sqrt(np.mean((filled - x_ng)[missing] ** 2)) / x_ng[missing].std()
    by_mean = np.sqrt(np.mean((np.nanmean(seen, axis=0) - x_ng)[missing] ** 2 if how else 0)) / x_ng[missing].std()
    assert error < 0.05 < by_mean


def test_hidden_values_do_not_enter() -> None:
    x_ng = low_rank()
    x_ng[np.random.default_rng(2).random(x_ng.shape) < 0.2] = np.nan
    model = MaskedSVD(3).fit(x_ng)
    alone = np.vstack([model.transform(x_ng[i : i + 1]) for i in range(len(x_ng))])
    np.testing.assert_allclose(model.transform(x_ng), alone, atol=1e-12)


def test_a_cell_with_nothing_measured_sits_at_the_mean() -> None:
    x_ng = low_rank()
    x_ng[5] = np.nan
    model = MaskedSVD(3).fit(x_ng)
    np.testing.assert_array_equal(model.transform(x_ng)[5], 0)


def test_degenerate_shapes_stay_finite() -> None:
    rng = np.random.default_rng(0)
    one_feature_once = rng.standard_normal((6, 4))
    one_feature_once[1:, 0] = np.nan
    never = rng.standard_normal((6, 4))
    never[:, 2] = np.nan
    constant = np.full((6, 4), 0.3)
    for x_ng in (rng.standard_normal((2, 9)), rng.standard_normal((9, 2)), one_feature_once, never, constant):
        model = MaskedSVD(10).fit(x_ng)
        assert np.isfinite(model.transform(x_ng)).all()
        assert np.isfinite(model.components_).all()


def test_a_cell_with_few_features_where_components_fit_everything() -> None:
    """With as many components as cells no noise is left; a cell with two features must not be blown up."""
    x_ng = low_rank(8, 50, k=4)
    x_ng[0, 0] = np.nan
    model = MaskedSVD(30).fit(x_ng)
    query = np.full((1, 50), np.nan)
    query[0, :2] = x_ng[1, :2]
    size = np.linalg.norm(model.transform(query) / np.sqrt(model.variance_))
    assert size < 5, "scores of a cell with two features are no larger than those of whole cells"


def test_same_bits() -> None:
    x_ng = low_rank()
    x_ng[0, 0] = np.nan
    assert np.array_equal(MaskedSVD(3).fit(x_ng).components_, MaskedSVD(3).fit(x_ng).components_)
