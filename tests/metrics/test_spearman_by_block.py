from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from omicsfm import InputError
from omicsfm.metrics import spearman_by_block


def test_each_block_has_scipys_correlation():
    rng = np.random.default_rng(0)
    truth, block = rng.integers(0, 9, 200).astype(float), rng.choice(["b", "a", "c"], 200)
    predicted = truth + rng.normal(0, 3, 200).round()
    found = spearman_by_block(truth, predicted, block)
    expected = [spearmanr(truth[block == b], predicted[block == b])[0] for b in ("a", "b", "c")]
    np.testing.assert_allclose(found, expected)


def test_what_differs_between_blocks_alone_scores_nothing():
    block = np.repeat(["a", "b"], 4)
    truth = np.arange(8.0)
    predicted = np.repeat([0.0, 1.0], 4)
    np.testing.assert_array_equal(spearman_by_block(truth, predicted, block), [0, 0])


def test_a_constant_truth_and_small_blocks_are_not_defined():
    found = spearman_by_block([1, 1, 1, 1, 2], [1, 2, 3, 1, 2], ["a", "a", "a", "b", "b"])
    assert np.isnan(found).all()


@pytest.mark.parametrize(
    ("truth", "predicted", "block"),
    [([1, 2], [1, 2, 3], ["a"] * 2), ([1, np.nan], [1, 2], ["a"] * 2), ([1, 2], [1, 2], ["a", None])],
)
def test_bad_input_is_told(truth, predicted, block):
    with pytest.raises(InputError, match="Fix: "):
        spearman_by_block(truth, predicted, block)
