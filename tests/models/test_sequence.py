from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

import omicsfm as ofm
from omicsfm.models import SequenceModel
from omicsfm.models._sequence import _trainer
from omicsfm.models._sequence._data import Labelled
from omicsfm.models._sequence._kmer import KmerModel, Words, choose_strands
from omicsfm.models.sequence import ENCODERS, LAYERS
from omicsfm.nn import SEQUENCE_LAYERS

MOTIFS = ("", "GATTACAG", "CCGTATCC")


def planted(n: int = 240, *, classes: int = 2, one_strand: bool = False, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Random DNA of 30 to 50 bases with a motif of its class; on either strand unless told otherwise."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    sequences = []
    for label in y:
        bases = rng.choice(list("ACGT"), rng.integers(30, 51))
        motif = MOTIFS[label]
        if one_strand and label == 0:
            motif = ofm.seq.reverse_complement(MOTIFS[1])
        elif motif and not one_strand and rng.random() < 0.5:
            motif = ofm.seq.reverse_complement(motif)
        at = rng.integers(0, len(bases) - 8)
        bases[at : at + len(motif)] = list(motif)
        sequences.append("".join(bases))
    return sequences, y


@pytest.fixture(autouse=True)
def _few_epochs(monkeypatch):
    monkeypatch.setattr(_trainer, "EPOCHS", (1, 1))


def test_every_layer_is_an_encoder():
    assert set(LAYERS) == set(SEQUENCE_LAYERS)
    assert set(ENCODERS) == {*LAYERS, "majority", "composition", "kmer", "stack"}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_contract(encoder, tmp_path: Path):
    sequences, y = planted(48, classes=3)
    labels = np.array(["none", "left", "right"])[y]
    given = [s.lower() if i % 3 else s[:5] + "N" + s[6:] for i, s in enumerate(sequences)]
    before, random = torch.get_rng_state(), np.random.get_state()[1].copy()
    model = SequenceModel(encoder, both_strands=True, seed=1).fit(pd.Series(given), labels)
    assert model.classes_.tolist() == ["left", "none", "right"]
    asked = ["ACGTTGCA", *given[:7], "N" * 20, "A"]
    p = model.predict_proba(asked)
    assert p.shape == (10, 3)
    assert np.isfinite(p).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)
    assert model.predict(asked).tolist() == model.classes_[p.argmax(axis=1)].tolist()
    # an answer belongs to its own sequence
    np.testing.assert_allclose(model.predict_proba(asked[::-1])[::-1], p, atol=1e-5)
    np.testing.assert_allclose(model.predict_proba([s.swapcase() for s in asked]), p, atol=1e-12)
    assert model.embed(asked).shape[0] == 10
    assert sum(model.weights_.values()) == pytest.approx(1)
    assert 0 < model.n_parameters_ <= 2_000_000
    if encoder in ("kmer", "hybrid"):  # k-mers, and a network of all kinds of layers
        assert np.array_equal(clone(model).fit(given, labels).predict_proba(asked), p)
    loaded = ofm.models.load(model.save(tmp_path / "model"))
    assert np.array_equal(loaded.predict_proba(asked), p)
    assert loaded.predict(asked).tolist() == model.predict(asked).tolist()
    assert loaded.get_params() == model.get_params()
    assert json.loads((tmp_path / "model" / "manifest.json").read_text())["seed"] == 1
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], random)


@pytest.mark.parametrize("encoder", ["cnn", "kmer"])
def test_it_finds_a_planted_motif(encoder, monkeypatch):
    monkeypatch.setattr(_trainer, "EPOCHS", (8, 8))
    sequences, y = planted(300)
    new, truth = planted(100, seed=1)
    model = SequenceModel(encoder).fit(sequences, y)
    assert model.both_strands_
    assert ofm.metrics.matthews(truth, model.predict(new)) > 0.3
    other = model.predict_proba(ofm.seq.reverse_complement(new))
    np.testing.assert_allclose(other, model.predict_proba(new), atol=1e-5)


def test_the_strand_counts_where_it_says_something():
    sequences, y = planted(200, one_strand=True)
    model = SequenceModel("kmer").fit(sequences, y)
    assert not model.both_strands_
    assert ofm.metrics.matthews(y, model.predict(ofm.seq.reverse_complement(sequences))) < -0.5
    assert choose_strands(Labelled.of(*planted(200)), seed=0)


def test_kmer_features_and_fit_are_scikit_learns():
    sequences, y = planted(200)
    data = Labelled.of(sequences, y)
    counts = np.hstack([ofm.seq.kmer(sequences, k, canonical=True).toarray() for k in (2, 3)])
    for scaling in ("sqrt", "tfidf"):
        model = KmerModel.fit(data, Words((2, 3), True, scaling), 2.0)
        x = np.sqrt(counts) if scaling == "sqrt" else counts * (np.log(201 / (1 + (counts > 0).sum(axis=0))) + 1)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        np.testing.assert_allclose(model.features(sequences).toarray(), x, atol=1e-5)
        expected = LogisticRegression(C=2.0, tol=1e-8, max_iter=1000).fit(x, y).predict_proba(x)
        np.testing.assert_allclose(model.probability(sequences), expected, atol=5e-3)


def test_copies_stay_together_and_classes_are_spread():
    sequences, y = planted(200)
    sequences[150:175] = [s.lower() for s in sequences[:25]]
    sequences[175:200] = ofm.seq.reverse_complement(sequences[25:50])
    data = Labelled.of(sequences, y)
    fold = data.folds(5, seed=3)
    assert np.array_equal(fold[150:175], fold[:25])
    assert np.array_equal(fold[175:200], fold[25:50])
    assert len(set(data.group)) == 150
    for i in range(5):
        assert 0.4 < y[fold == i].mean() < 0.6
    train, held = data.hold_out(0)
    assert sorted([*train, *held]) == list(range(200))
    assert not set(data.group[train]) & set(data.group[held])
    assert not np.array_equal(fold, data.folds(5, seed=4))


class _Broken:
    """Cross-entropy that turns NaN after some calls."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, logits, y, reduction="mean"):
        self.left -= reduction == "mean"
        return torch.nn.functional.cross_entropy(logits, y, reduction=reduction) * (1 if self.left >= 0 else torch.nan)


def test_a_loss_that_is_not_finite_keeps_the_last_good_state(monkeypatch):
    sequences, y = planted(100)
    monkeypatch.setattr(_trainer, "EPOCHS", (1, 1))
    good = SequenceModel("cnn", both_strands=True).fit(sequences, y)
    monkeypatch.setattr(_trainer, "EPOCHS", (3, 3))
    steps = -(-len(Labelled.of(sequences, y).hold_out(0)[0]) // 16)
    monkeypatch.setattr(_trainer, "cross_entropy", _Broken(steps + 2))
    with pytest.warns(ofm.OmicsfmWarning, match="was not finite in epoch 2; the state of epoch 1 is kept"):
        model = SequenceModel("cnn", both_strands=True).fit(sequences, y)
    assert model.members_["cnn"].stopped == "not finite"
    assert np.array_equal(model.predict_proba(sequences), good.predict_proba(sequences))
    monkeypatch.setattr(_trainer, "cross_entropy", _Broken(2))
    with pytest.raises(ofm.InputError, match="not finite in epoch 1, before there was a good state"):
        SequenceModel("cnn", both_strands=True).fit(sequences, y)


def test_the_budget_ends_training(monkeypatch):
    monkeypatch.setattr(_trainer, "EPOCHS", (50, 50))
    model = SequenceModel("cnn", both_strands=True, max_minutes=1e-6).fit(*planted(100))
    network = model.members_["cnn"]
    assert (network.stopped, len(network.history)) == ("budget", 1)


def test_the_random_twin_has_the_weights_of_the_start():
    sequences, y = planted(100)
    frozen = SequenceModel("cnn", frozen=True, both_strands=True).fit(sequences, y).members_["cnn"]
    other = SequenceModel("cnn", frozen=True, both_strands=True).fit(sequences, 1 - y).members_["cnn"]
    trained = SequenceModel("cnn", both_strands=True).fit(sequences, y).members_["cnn"]
    inside = [name for name in frozen.weights if name.startswith("encoder")]
    assert all(np.array_equal(frozen.weights[name], other.weights[name]) for name in inside)
    assert not all(np.array_equal(frozen.weights[name], trained.weights[name]) for name in inside)
    # its head is the logistic regression on its features
    p = frozen.features(sequences) @ frozen.weights["head.weight"].T + frozen.weights["head.bias"]
    assert ((frozen.probability(sequences)[:, 1] > 0.5) == (p[:, 1] > p[:, 0])).all()


def test_a_stack_is_the_baseline_where_nothing_is_gained():
    rng = np.random.default_rng(0)
    sequences, _ = planted(150)
    y = rng.permutation(np.arange(150) % 2)
    stack = SequenceModel("stack").fit(sequences, y)
    assert stack.weights_ == {"kmer": 1.0, "cnn": 0.0}
    new, _ = planted(50, seed=2)
    assert np.array_equal(stack.predict_proba(new), stack.members_["kmer"].probability(new))


def test_a_stack_is_the_weighted_mean(monkeypatch):
    sequences, y = planted(100)
    stack = SequenceModel("stack").fit(sequences, y)
    stack.weights_ = {"kmer": 0.25, "cnn": 0.75}
    kmer, cnn = (member.probability(sequences) for member in stack.members_.values())
    np.testing.assert_allclose(stack.predict_proba(sequences), 0.25 * kmer + 0.75 * cnn, atol=1e-12)
    assert stack.embed(sequences).shape == (100, 64 * 9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s, y: SequenceModel("gnn").fit(s, y), "no encoder is called 'gnn'.*majority, composition, kmer"),
        (lambda s, y: SequenceModel("kmer", max_minutes=0).fit(s, y), "max_minutes must be above 0, found 0"),
        (lambda s, y: SequenceModel("kmer").fit(s, y[:-1]), "found 40 sequences and labels of shape"),
        (lambda s, y: SequenceModel("kmer").fit(s, [None, *y[1:]]), "labels must not be missing, found 1"),
        (lambda s, y: SequenceModel("kmer").fit(s, y * 0), "at least 2 classes are needed"),
        (lambda s, y: SequenceModel("kmer").fit(s, [*[2] * 4, *y[4:]]), "found 4 of class 2"),
        (lambda s, y: SequenceModel("kmer").fit(["ACGX", *s[1:]], y), "found 'X' at position 3 of sequence 0"),
        (lambda s, y: SequenceModel("kmer").fit(s, y).predict_proba("ACGT"), "SequenceModel.predict_proba"),
    ],
)
def test_errors_say_what_was_found(call, message):
    with pytest.raises(ofm.InputError, match=message):
        call(*planted(40))


def test_before_fit_nothing_is_answered(tmp_path: Path):
    for call in (
        lambda: SequenceModel().predict_proba(["A"]),
        lambda: SequenceModel().embed(["A"]),
        lambda: SequenceModel().save(tmp_path / "x"),
    ):
        with pytest.raises(NotFittedError):
            call()
