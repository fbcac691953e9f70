from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef, roc_auc_score

from omicsfm import InputError, metrics
from omicsfm.metrics._matthews import label_counts, matthews_of_counts


@pytest.mark.parametrize("n_labels", [2, 5])
def test_matthews_is_scikit_learns(n_labels):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, n_labels, 300)
    given = np.where(rng.random(300) < 0.6, truth, rng.integers(0, n_labels, 300))
    assert metrics.matthews(truth, given) == pytest.approx(matthews_corrcoef(truth, given), abs=1e-12)
    units = rng.integers(0, 40, 300)
    counts = label_counts("x", truth, given, units)
    assert counts.shape == (40, n_labels, n_labels)
    some = units < 10
    assert matthews_of_counts(counts[:10].sum(0)) == pytest.approx(matthews_corrcoef(truth[some], given[some]))


def test_a_constant_answer_has_no_correlation():
    assert metrics.matthews([0, 1, 1], [1, 1, 1]) == 0
    assert metrics.matthews(["a", "b"], ["b", "a"]) == -1


def test_auroc_is_scikit_learns_one_against_the_rest():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 200)
    p = rng.dirichlet(np.ones(3), 200) + np.eye(3)[truth] * 0.3
    p /= p.sum(axis=1, keepdims=True)
    expected = roc_auc_score(truth, p, multi_class="ovr", average="macro")
    assert metrics.macro_auroc(truth, p, [0, 1, 2]) == pytest.approx(expected, abs=1e-12)
    assert metrics.macro_auroc(truth, np.full((200, 3), 1 / 3), [0, 1, 2]) == 0.5
    with pytest.raises(InputError, match=r"one column for each class of \[0, 1\].*found 3 columns"):
        metrics.macro_auroc(truth, p, [0, 1])
