from __future__ import annotations

from importlib.metadata import EntryPoint

import numpy as np
import pandas as pd
import pytest

import omicsfm as ofm
from omicsfm.seq import _embedders

SEQUENCES = ["ACGTTGCANC", "GGGATCCAAT", "ACG", "N"]


@pytest.mark.parametrize("model", ["composition", "kmer", "kmer:2", "kmer:3:canonical", "gapped:4:2", "onehot:6"])
def test_a_row_depends_on_its_own_sequence_and_every_column_has_a_name(model):
    made = ofm.seq.embedder(model)
    values = ofm.seq.embed_sequences(SEQUENCES, made)
    assert values.shape == (4, len(made.names()))
    assert len(set(made.names())) == values.shape[1]
    for i in (1, 3):
        alone = ofm.seq.embed_sequences(SEQUENCES[i : i + 1], made)
        assert abs(alone - values[i : i + 1]).max() == 0
    assert ofm.seq.embedder(made.name).params == made.params
    assert ofm.seq.embed_sequences([], made).shape == (0, values.shape[1])
    assert abs(ofm.seq.embed_sequences(pd.Series(SEQUENCES), model) - values).max() == 0


def test_names_of_embedders():
    assert set(ofm.seq.embedders()) >= {"composition", "gapped", "kmer", "motifs", "onehot"}
    assert ofm.seq.embedder("kmer").name == "kmer:4"
    assert ofm.seq.embedder("gapped").name == "gapped:6:4"


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("kmer:x", "written as kmer:K or kmer:K:canonical"),
        ("kmer:4:strand", "written as kmer:K"),
        ("kmer:0", "from 1 to 8"),
        ("gapped:4", "written as gapped:K:INFORMATIVE"),
        ("gapped:3:4", "at most k"),
        ("onehot", "written as onehot:LENGTH"),
        ("composition:4", "written as composition"),
        ("nothing:4", "there is no embedder 'nothing'.*choose one of composition, "),
    ],
)
def test_a_text_that_means_nothing_is_told(model, words):
    with pytest.raises(ofm.InputError, match=words):
        ofm.seq.embedder(model)


def test_others_can_announce_theirs(monkeypatch):
    monkeypatch.setattr(_embedders, "_REGISTERED", {})
    made = []

    def factory(rest: str) -> ofm.seq.Embedder:
        made.append(rest)
        return ofm.seq.Embedder("length", lambda sequences: np.array([[len(s)] for s in sequences]))

    ofm.seq.register_embedder("length", factory)
    assert ofm.seq.embed_sequences(SEQUENCES, "length:a:b").ravel().tolist() == [10, 10, 3, 1]
    assert made == ["a:b"]
    for name in ("kmer", "a:b", ""):
        with pytest.raises(ofm.InputError, match="register_embedder"):
            ofm.seq.register_embedder(name, factory)


def test_packages_can_announce_theirs(monkeypatch):
    point = EntryPoint("theirs", "omicsfm.seq._composition:composition_embedder", _embedders.GROUP)
    monkeypatch.setattr(_embedders, "entry_points", lambda group: [point] if group == _embedders.GROUP else [])
    assert "theirs" in ofm.seq.embedders()
    assert ofm.seq.embedder("theirs").name == "composition"


def test_a_model_that_gives_another_shape_is_told():
    bad = ofm.seq.Embedder("bad", lambda sequences: np.zeros((1, 3)))
    with pytest.raises(ofm.InputError, match=r"'bad' must give \(4, d\), found shape \(1, 3\)"):
        ofm.seq.embed_sequences(SEQUENCES, bad)


def test_composition_by_hand():
    found = ofm.seq.composition(pd.Series(["ACGCGTNN", "aaaa", "N"], index=["x", "y", "z"]))
    assert list(found.index) == ["x", "y", "z"]
    assert list(found.columns) == ["A", "C", "G", "T", "GC", "CpG_oe", "length"]
    wanted = [[1 / 6, 2 / 6, 2 / 6, 1 / 6, 4 / 6, 2 * 6 / 4, 8], [1, 0, 0, 0, 0, 0, 4], [0, 0, 0, 0, 0, 0, 1]]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert (found.dtypes == np.float32).all()
