from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn.metrics import root_mean_squared_error

from omicsfm import InputError
from omicsfm.metrics import (
    coverage_error,
    interval_coverage,
    interval_coverage_by_group,
    interval_coverage_overall,
    interval_width,
    pearson_per_cell,
    pearson_per_feature,
    rmse_per_feature,
)


@pytest.fixture
def imputed() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(60, 8)) * np.logspace(-6, 6, 8) + 1e3
    predicted = truth + rng.normal(size=truth.shape) * np.logspace(-6, 6, 8)
    truth[rng.random(truth.shape) < 0.3] = np.nan
    return truth, predicted


def test_parity_with_scipy_and_sklearn_where_measured(imputed):
    truth, predicted = imputed
    seen = ~np.isnan(truth)
    for j in range(truth.shape[1]):
        t, p = truth[seen[:, j], j], predicted[seen[:, j], j]
        assert pearson_per_feature(truth, predicted)[j] == pytest.approx(pearsonr(t, p)[0], abs=1e-6)
        assert rmse_per_feature(truth, predicted)[j] == pytest.approx(root_mean_squared_error(t, p))
    for i in np.flatnonzero(seen.sum(axis=1) > 2):
        expected = pearsonr(truth[i, seen[i]], predicted[i, seen[i]])[0]
        assert pearson_per_cell(truth, predicted)[i] == pytest.approx(expected)


def test_unmeasured_predictions_are_never_read(imputed):
    truth, predicted = imputed
    other = np.where(np.isnan(truth), np.nan, predicted)
    for metric in (pearson_per_feature, pearson_per_cell, rmse_per_feature):
        np.testing.assert_array_equal(metric(truth, other), metric(truth, predicted))


def test_constants_are_nan_also_when_rounding_hides_them():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(50, 4))
    truth[:, 1] = 0.1
    truth[:, 2] = np.nan
    truth[1:, 3] = np.nan
    predicted = rng.normal(size=(50, 4))
    predicted[:, 0] = (0.1 + 0.2) * 3 + rng.choice([0, 1e-16], 50)
    np.testing.assert_array_equal(pearson_per_feature(truth, predicted), np.full(4, np.nan))
    # A prediction that explains nothing may be counted as such; an undefined truth stays undefined.
    scored = pearson_per_feature(truth, predicted, constant_prediction=0)
    np.testing.assert_array_equal(scored, [0, np.nan, np.nan, np.nan])
    assert np.isnan(rmse_per_feature(truth, predicted)[2])


@given(st.integers(2, 30), st.integers(1, 5), st.integers(0, 99), st.floats(0.01, 100), st.floats(-100, 100))
def test_pearson_is_bounded_and_blind_to_scale_and_shift(n, d, seed, scale, shift):
    rng = np.random.default_rng(seed)
    truth, predicted = rng.normal(size=(2, n, d))
    r = pearson_per_feature(truth, predicted)
    assert (np.abs(r) <= 1).all()
    np.testing.assert_allclose(pearson_per_feature(truth, scale * predicted + shift), r, atol=1e-6)
    np.testing.assert_allclose(pearson_per_feature(truth, -predicted), -r, atol=1e-12)


def test_coverage_and_width_by_hand():
    truth = np.array([[0.0, 1.0], [0.5, 9.0], [2.0, np.nan]])
    lower, upper = np.zeros((3, 2)), np.array([[1.0, 1.0], [1.0, 2.0], [1.0, np.nan]])
    np.testing.assert_allclose(interval_coverage(truth, lower, upper), [2 / 3, 1 / 2])  # ends count as inside
    assert interval_coverage_overall(truth, lower, upper) == pytest.approx(3 / 5)
    by_group = interval_coverage_by_group(truth, lower, upper, groups=["b", "b", "a"])
    assert by_group == {"a": 0.0, "b": 0.75}
    np.testing.assert_allclose(interval_width(truth, lower, upper), [1, 1.5])
    np.testing.assert_allclose(coverage_error(truth, lower, upper, level=0.6), [2 / 3 - 0.6, 0.1])


def test_coverage_of_a_normal_interval_is_its_level():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(20_000, 2))
    end = np.full(truth.shape, 1.6448536)
    np.testing.assert_allclose(interval_coverage(truth, -end, end), 0.9, atol=0.01)


def test_infinite_intervals_hold_everything_and_nothing_measured_is_nan():
    truth = np.array([[1.0, np.nan]])
    end = np.full((1, 2), np.inf)
    np.testing.assert_array_equal(interval_coverage(truth, -end, end), [1, np.nan])
    np.testing.assert_array_equal(interval_width(truth, -end, end), [np.inf, np.nan])
    assert np.isnan(interval_coverage_overall(truth[:, 1:], -end[:, 1:], end[:, 1:]))


@pytest.mark.parametrize("call", [interval_coverage, interval_coverage_overall, interval_width])
def test_crossed_ends_are_an_error(call):
    with pytest.raises(InputError, match="found 1 entries where it does not"):
        call(np.zeros((2, 2)), np.array([[0.0, 0.0], [0.0, 1.0]]), np.full((2, 2), 0.5))


def test_infinite_prediction_and_bad_level_are_errors():
    with pytest.raises(InputError, match="found 1 entries NaN or infinite"):
        rmse_per_feature(np.zeros((2, 2)), np.array([[0.0, 0.0], [0.0, np.inf]]))
    with pytest.raises(InputError, match="`level` must lie between 0 and 1, found 90"):
        coverage_error(np.zeros((2, 2)), np.zeros((2, 2)), np.zeros((2, 2)), level=90)


def test_text_and_sparse_input_are_errors():
    from scipy.sparse import csr_matrix

    with pytest.raises(InputError, match="dense array, found csr_matrix"):
        rmse_per_feature(csr_matrix((2, 2)), np.zeros((2, 2)))
    with pytest.raises(InputError, match="must hold numbers"):
        rmse_per_feature(np.array([["a", "b"]]), np.zeros((1, 2)))
    with pytest.raises(InputError, match=r"none of them empty, found shape \(0, 2\)"):
        rmse_per_feature(np.zeros((0, 2)), np.zeros((0, 2)))
