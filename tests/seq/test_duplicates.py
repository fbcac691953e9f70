from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import omicsfm as ofm


def test_duplicates_of_both_kinds():
    a = ["ACGTT", "ggga", "ACGTT", "TTTA", "ACGT"]
    b = pd.Series(["acgtt", "CCCC", "AACGT", "TCCC", "TAAA", "ACGT", "TTTA"])
    found = ofm.seq.duplicates(a, b)
    assert found.to_numpy().tolist() == [
        [0, 0, "exact"],
        [2, 0, "reverse_complement"],
        [3, 1, "reverse_complement"],
        [4, 3, "reverse_complement"],
        [5, 4, "exact"],  # its own reverse complement
        [6, 3, "exact"],
    ]
    assert found["b"].dtype == found["a"].dtype == np.int64
    both = ofm.seq.duplicates(["AACGT", "ACGTT"], ["ACGTT"])
    assert both.to_numpy().tolist() == [[0, 1, "exact"]]  # rather than the reverse complement before it


def test_no_duplicates():
    for a, b in (([], ["ACG"]), (["ACG"], []), (["ACG"], ["ACGT"])):
        assert ofm.seq.duplicates(a, b).shape == (0, 3)
    with pytest.raises(ofm.InputError, match=r"seq\.duplicates \(b\): .*'X' at position 0 of sequence 1"):
        ofm.seq.duplicates(["A"], ["A", "X"])


def test_duplicates_planted_in_real_splits(omicsfm_data):
    folder = omicsfm_data / "gue_sequences" / "mouse" / "0"
    train, test = (pd.read_csv(folder / f"{split}.csv")["sequence"] for split in ("train", "test"))
    assert len(ofm.seq.duplicates(train, test)) == 0
    planted = pd.concat([test, train[100:103], pd.Series(ofm.seq.reverse_complement(train[200:204]))])
    found = ofm.seq.duplicates(train, planted)
    assert found["b"].tolist() == list(range(len(test), len(test) + 7))
    assert found["a"].tolist() == [100, 101, 102, 200, 201, 202, 203]
    assert found["kind"].tolist() == ["exact"] * 3 + ["reverse_complement"] * 4
