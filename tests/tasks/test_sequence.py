from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import matthews_corrcoef

import omicsfm as ofm
from omicsfm.tasks import SequenceClassification, Task, matthews_interval, permuted


def dna(rng: np.random.Generator, n: int, length: int = 60) -> list[str]:
    return ["".join(row) for row in rng.choice(list("ACGT"), (n, length))]


@pytest.fixture
def data() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    train, test = dna(rng, 60), dna(rng, 20)
    train[3], train[7] = test[0].lower(), ofm.seq.reverse_complement(test[1])
    train[10] = test[2][:55] + "AAAAA"  # similar, no copy
    part = ["train"] * 50 + ["dev"] * 10 + ["test"] * 20
    return pd.DataFrame({"sequence": train + test, "label": np.arange(80) % 2, "part": part})


class Oracle:
    classes_ = np.array([0, 1])

    def __init__(self, right: np.ndarray) -> None:
        self.right = right

    def predict_proba(self, sequences: pd.Series) -> np.ndarray:
        assert len(sequences) == len(self.right)
        return np.eye(2)[self.right] * 0.8 + 0.1


def test_copies_leave_training_and_are_counted(data):
    task = SequenceClassification()
    assert isinstance(task, Task)
    (split,) = task.splits(data)
    assert split.truth["removed"] == {"exact": 1, "reverse_complement": 1}
    assert len(split.train) == 58
    assert split.query["sequence"].tolist() == data["sequence"][60:].tolist()
    assert "label" not in split.query
    copies, similar = task.audit(split)
    assert copies.ok
    assert (similar.found, similar.ok) == ("1 of 20", True)
    (leak, _) = task.audit(ofm.tasks.Split("x", data[:60], split.query, split.truth))
    assert (leak.found, leak.ok) == ("2", False)


def test_no_cluster_is_on_both_sides(data):
    task, seen = SequenceClassification("clusters", n_folds=4, seed=1), []
    for split in task.splits(data):
        assert all(finding.ok for finding in task.audit(split))
        assert not np.isin(split.truth["cluster"], split.truth["train_cluster"]).any()
        seen += split.query["sequence"].tolist()
        assert 15 <= len(split.query) <= 25
    assert sorted(seen) == sorted(data["sequence"])
    again = [s.query["sequence"].tolist() for s in SequenceClassification("clusters", n_folds=4, seed=1).splits(data)]
    assert sum(again, []) == seen


def test_scores_of_the_right_and_the_wrong_answer(data):
    task = SequenceClassification()
    (split,) = task.splits(data)
    assert task.can(Oracle(split.truth["label"]))
    assert not task.can(object())
    for answer, value in ((split.truth["label"], 1.0), (1 - split.truth["label"], -1.0)):
        scores = task.score(task.predict(Oracle(answer), split), split)
        assert scores["matthews"] == value
        assert scores["macro_auroc"] == (1 + value) / 2
        assert np.shape(scores["accuracy"]) == (20,)


def test_permuted_labels_are_the_same_labels_elsewhere(data):
    (split,) = SequenceClassification().splits(data)
    control = permuted(split, seed=1)
    assert control.train["sequence"].equals(split.train["sequence"])
    assert sorted(control.train["label"]) == sorted(split.train["label"])
    assert not control.train["label"].equals(split.train["label"])
    assert control.query is split.query


def test_the_interval_is_that_of_resampled_units():
    rng = np.random.default_rng(0)
    truth, units = rng.integers(0, 2, 400), np.repeat(np.arange(80), 5)
    # the units are right or wrong as a whole: an interval of single sequences would be too narrow
    given = np.where((rng.random(80) < 0.8)[units], truth, 1 - truth)
    value, low, high = matthews_interval(truth, given, units=units)
    assert value == pytest.approx(matthews_corrcoef(truth, given))
    drawn = []
    for _ in range(500):
        rows = np.concatenate([np.flatnonzero(units == u) for u in rng.integers(0, 80, 80)])
        drawn.append(matthews_corrcoef(truth[rows], given[rows]))
    np.testing.assert_allclose([low, high], np.quantile(drawn, [0.025, 0.975]), atol=0.03)
    _, narrow_low, narrow_high = matthews_interval(truth, given)
    assert narrow_high - narrow_low < 0.7 * (high - low)
    assert matthews_interval(truth, given, other=given, units=units) == (0.0, 0.0, 0.0)
    assert matthews_interval(truth, given, other=1 - truth, units=units)[0] == pytest.approx(value + 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: SequenceClassification("random"), "no split is called 'random'"),
        (lambda d: SequenceClassification("clusters", n_folds=1), "n_folds must be at least 2"),
        (lambda d: next(SequenceClassification().splits(d.drop(columns="part"))), "found none called part"),
        (lambda d: next(SequenceClassification().splits(d.assign(part="test"))), "leaves 0 sequences to train on"),
    ],
)
def test_errors_say_what_was_found(data, call, message):
    with pytest.raises(ofm.InputError, match=message):
        call(data)
