from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from omicsfm import InputError
from omicsfm.metrics import (
    knn_accuracy,
    knn_accuracy_cross_donor,
    knn_accuracy_within_donor,
    label_transfer,
    label_transfer_accuracy,
    neighbors,
    partner_label_match,
)


@pytest.fixture
def cells() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 120)  # two labels and odd k: no ties, on which scikit-learn has another rule
    return rng.normal(size=(120, 4)) + label[:, None], label, np.array(list("abc"))[rng.integers(0, 3, 120)]


def test_leave_one_out_parity_with_sklearn(cells):
    x, label, _ = cells
    expected = cross_val_predict(KNeighborsClassifier(5), x, label, cv=LeaveOneOut())
    np.testing.assert_array_equal(knn_accuracy(neighbors(x, 5), label), expected == label)


def test_by_donor_parity_with_sklearn(cells):
    x, label, donor = cells
    cross, within = knn_accuracy_cross_donor(x, label, donor, k=5), knn_accuracy_within_donor(x, label, donor, k=5)
    for d in "abc":
        own = donor == d
        rest = KNeighborsClassifier(5).fit(x[~own], label[~own]).predict(x[own])
        np.testing.assert_array_equal(cross[own], rest == label[own])
        alone = cross_val_predict(KNeighborsClassifier(5), x[own], label[own], cv=LeaveOneOut())
        np.testing.assert_array_equal(within[own], alone == label[own])


def test_label_transfer_parity_with_sklearn(cells):
    x, label, _ = cells
    names = np.array(["T", "B"], dtype=object)[label]
    model = KNeighborsClassifier(7).fit(x[:80], names[:80])
    given = label_transfer(x[:80], names[:80], x[80:], k=7)
    np.testing.assert_array_equal(given.labels, model.predict(x[80:]))
    np.testing.assert_allclose(given.confidence, model.predict_proba(x[80:]).max(axis=1))
    right = label_transfer_accuracy(x[:80], names[:80], x[80:], truth=names[80:], k=7)
    np.testing.assert_array_equal(right, model.predict(x[80:]) == names[80:])


def test_a_tied_vote_goes_to_the_nearest_label():
    x = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]])
    given = label_transfer(x[1:], ["z", "a", "a", "z"], x[:1], k=4)
    assert given.labels.tolist() == ["z"]
    assert given.confidence.tolist() == [0.5]
    # ... but no nearness outweighs a vote
    assert label_transfer(x[1:], ["z", "a", "a", "z"], x[:1], k=3).labels.tolist() == ["a"]


def test_a_label_only_one_donor_has_is_wrong_across_and_a_lone_cell_undefined_within():
    x = np.arange(7.0)[:, None]
    donor, label = list("aaabbbc"), list("TTTTTBT")
    np.testing.assert_array_equal(knn_accuracy_cross_donor(x, label, donor, k=3), [1, 1, 1, 1, 1, 0, 1])
    within = knn_accuracy_within_donor(x, label, donor, k=15)
    assert np.isnan(within[6])
    assert not np.isnan(within[:6]).any()


def test_a_truth_the_reference_lacks_is_wrong():
    x = np.zeros((4, 1))
    np.testing.assert_array_equal(label_transfer_accuracy(x, list("aaaa"), x[:2], truth=["a", "new"], k=2), [1, 0])


def test_partner_label_match_averages_both_directions():
    x = np.array([[0.0], [10.0], [20.0]])
    y = np.array([[0.0], [19.0], [11.0]])
    # cells 1 and 2 are swapped: they find each other's label
    np.testing.assert_array_equal(partner_label_match(x, y, ["a", "b", "c"]), [1, 0, 0])
    np.testing.assert_array_equal(partner_label_match(x, y, ["a", "b", "b"]), [1, 1, 1])
    # y[0] finds x[1] and x[1] finds y[0]; x[0] and y[1] find their own partners
    np.testing.assert_array_equal(partner_label_match([[0.0], [4.0]], [[3.0], [9.0]], ["a", "b"]), [0.5, 0.5])


def test_clear_errors():
    x = np.zeros((10, 2))
    with pytest.raises(InputError, match="k must be at least 1, found 0"):
        knn_accuracy_cross_donor(x, list("ab") * 5, list("ab") * 5, k=0)
    with pytest.raises(InputError, match="pass neighbors"):
        knn_accuracy(x, list("ab") * 5)
    with pytest.raises(InputError, match="without `query`"):
        knn_accuracy(neighbors(np.arange(10.0)[:, None], 2, query=[[9.0], [8.0]]), ["a", "b"])
    with pytest.raises(InputError, match="k=15 needs"):
        label_transfer(x, list("ab") * 5, x)
