"""Scores between baseline and replicate, calibration of a metric, and predictions of wrong targets."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from omicsfm import InputError
from omicsfm.metrics._response_anchor import derangement, interpolated_duplicate, rescale, spearman_brown
from omicsfm.metrics._response_calibration import calibrate
from omicsfm.metrics._response_pearson import pearson_delta


def test_rescaled_baseline_is_zero_and_anchor_is_one_in_both_directions():
    assert rescale(0.6, baseline=0.5, anchor=0.9, higher_is_better=True) == pytest.approx(0.25)
    assert rescale(0.8, baseline=1.0, anchor=0.5, higher_is_better=False) == pytest.approx(0.4)
    np.testing.assert_allclose(rescale([1.0, 0.5, 1.5], baseline=1.0, anchor=0.5, higher_is_better=False), [0, 1, -1])


def test_without_an_anchor_above_the_baseline_there_is_no_scale():
    assert np.isnan(rescale(0.6, baseline=0.5, anchor=0.5, higher_is_better=True))
    assert np.isnan(rescale(0.6, baseline=0.9, anchor=0.5, higher_is_better=True))
    assert np.isnan(rescale(0.6, baseline=0.5, anchor=0.9, higher_is_better=False))
    assert np.isnan(rescale(0.6, baseline=np.nan, anchor=0.9, higher_is_better=True))


def test_spearman_brown_foresees_the_correlation_at_full_depth():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(1, 50_000))
    quarter = [truth + rng.normal(size=truth.shape) * 2 for _ in range(4)]
    half = pearson_delta(quarter[0], quarter[1])
    full = pearson_delta(quarter[0] + quarter[1], quarter[2] + quarter[3])
    np.testing.assert_allclose(spearman_brown(half), full, atol=0.02)
    assert spearman_brown(0.078) == pytest.approx(0.1447, abs=1e-4)
    np.testing.assert_array_equal(spearman_brown([-0.3, 0, 1, np.nan]), [0, 0, 1, np.nan])
    with pytest.raises(InputError, match="between -1 and 1"):
        spearman_brown(1.1)


def test_interpolated_duplicate_is_the_duplicate_where_it_is_sure():
    duplicate, mean, weight = np.array([[1.0, 2, 3]]), np.array([0.0, 0, 1]), np.array([[1, 0, 0.25]])
    np.testing.assert_allclose(interpolated_duplicate(duplicate, mean, weight), [[1, 0, 1.5]])
    with pytest.raises(InputError, match="between 0 and 1"):
        interpolated_duplicate(duplicate, mean, weight + 0.1)


def test_derangements_have_no_fixed_point_and_are_equally_likely():
    drawn = [tuple(derangement(4, seed)) for seed in range(3000)]
    assert all(i != j for order in drawn for i, j in enumerate(order))
    counts = Counter(drawn)
    assert len(counts) == 9
    assert max(abs(count / 3000 - 1 / 9) for count in counts.values()) < 0.03
    np.testing.assert_array_equal(derangement(30, 5), derangement(30, 5))
    np.testing.assert_array_equal(np.sort(derangement(30, 5)), np.arange(30))
    assert tuple(derangement(2, 0)) == (1, 0)
    with pytest.raises(InputError, match="at least 2, found 1"):
        derangement(1, 0)


def test_calibration_by_hand():
    values = {"positive": [0.8, 0.6, 0.1], "negative": [0.4, 0.2, 0.3], "perfect": 1.0}
    found = calibrate(values, higher_is_better=True)
    assert found.drf == pytest.approx((0.5 - 0.3) / (1 - 0.3))
    assert found.bds == pytest.approx(2 / 3)
    assert found.n == 3
    assert not found.informative
    turned = calibrate({name: -np.asarray(v) for name, v in values.items()}, higher_is_better=False)
    assert (turned.drf, turned.bds) == (pytest.approx(found.drf), pytest.approx(found.bds))


@pytest.mark.parametrize(
    ("positive", "informative"),
    [([0.2] * 10, True), ([0.19] * 10, False), ([0.6] * 8 + [0.0] * 2, True), ([0.6] * 7 + [0.0] * 3, False)],
)
def test_a_metric_is_informative_with_both_range_and_wins(positive, informative):
    found = calibrate({"positive": positive, "negative": np.zeros(10), "perfect": 1.0}, higher_is_better=True)
    assert found.informative is informative


def test_no_range_or_no_values_is_not_informative():
    none = calibrate({"positive": [1.0], "negative": [1.0], "perfect": [1.0]}, higher_is_better=True)
    assert np.isnan(none.drf)
    assert not none.informative
    empty = calibrate({"positive": [np.nan], "negative": [0.0], "perfect": [1.0]}, higher_is_better=True)
    assert (empty.n, empty.informative) == (0, False)
    with pytest.raises(InputError, match="must have"):
        calibrate({"positive": [1.0], "negative": [1.0]}, higher_is_better=True)
    with pytest.raises(InputError, match="one value per perturbation"):
        calibrate({"positive": [1.0, 2.0], "negative": [1.0], "perfect": 1.0}, higher_is_better=True)
