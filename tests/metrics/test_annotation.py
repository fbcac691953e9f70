from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from omicsfm import InputError
from omicsfm.metrics import accuracy, expected_calibration_error, macro_f1, unknown_auroc

labels = st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("abcde")), min_size=1, max_size=40)


@given(labels)
def test_accuracy_and_macro_f1_parity_with_sklearn(pairs):
    truth, predicted = zip(*pairs, strict=True)
    assert accuracy(truth, predicted).mean() == pytest.approx(accuracy_score(truth, predicted))
    expected = f1_score(truth, predicted, average="macro", zero_division=0)
    assert macro_f1(truth, predicted) == pytest.approx(expected)


def test_a_rare_type_counts_as_much_as_a_common_one():
    truth, predicted = ["T"] * 99 + ["rare"], ["T"] * 100
    assert accuracy(truth, predicted).mean() == 0.99
    assert macro_f1(truth, predicted) == pytest.approx(0.5, abs=0.01)


def brute_ece(correct: np.ndarray, confidence: np.ndarray, n_bins: int) -> float:
    total = 0.0
    for b in range(n_bins):
        inside = (confidence > b / n_bins) & (confidence <= (b + 1) / n_bins)
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return total


@given(st.integers(1, 60), st.sampled_from([1, 8, 16]), st.integers(0, 99))
def test_ece_parity_with_brute_force(n, n_bins, seed):
    rng = np.random.default_rng(seed)
    correct, confidence = rng.integers(0, 2, n), rng.random(n)
    ours = expected_calibration_error(correct, confidence, n_bins=n_bins)
    assert ours == pytest.approx(brute_ece(correct, confidence, n_bins), abs=1e-12)


def test_ece_by_hand():
    assert expected_calibration_error([1, 0], [0.5, 0.5]) == pytest.approx(0)
    assert expected_calibration_error([0, 0], [1.0, 1.0]) == 1
    assert expected_calibration_error([1, 1, 0, 0], [0.0, 0.0, 0.0, 0.0]) == 0.5  # 0 falls into the first bin


def test_ece_of_a_calibrated_forecast_is_small():
    rng = np.random.default_rng(0)
    confidence = rng.random(50_000)
    assert expected_calibration_error(rng.random(50_000) < confidence, confidence) < 0.02


@given(st.integers(2, 40), st.integers(0, 99))
def test_unknown_auroc_is_the_share_of_pairs_in_order(n, seed):
    rng = np.random.default_rng(seed)
    unknown = rng.permutation(np.arange(n) < max(1, n // 3))
    score = rng.integers(0, 5, n)
    gap = score[unknown][:, None] - score[~unknown][None, :]
    assert unknown_auroc(unknown, score) == pytest.approx(((gap > 0) + 0.5 * (gap == 0)).mean())


@pytest.mark.parametrize(
    ("metric", "arrays", "options"),
    [
        (expected_calibration_error, ([1, 0], [0.5, 1.5]), {}),
        (expected_calibration_error, ([1, 0], [0.5, 0.5]), {"n_bins": 0}),
        (expected_calibration_error, ([1, 2], [0.5, 0.5]), {}),
        (unknown_auroc, ([0, 2], [0.1, 0.2]), {}),
        (accuracy, ([], []), {}),
        (macro_f1, (np.zeros((2, 2)), np.zeros((2, 2))), {}),
    ],
)
def test_values_out_of_range_are_clear_errors(metric, arrays, options):
    with pytest.raises(InputError, match=rf"^{metric.__name__}: .*Fix: "):
        metric(*arrays, **options)
