from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import omicsfm as ofm
from omicsfm.seq import _sequences

SEQUENCES = ["ACGTN", "ttgca", "RNACG"]


@pytest.mark.parametrize(
    "given",
    [SEQUENCES, tuple(SEQUENCES), np.array(SEQUENCES), np.array(SEQUENCES, dtype=object), pd.Series(SEQUENCES)],
    ids=["list", "tuple", "str", "object", "series"],
)
def test_every_container_of_strings_is_the_same(given):
    assert np.array_equal(ofm.seq.one_hot(given), ofm.seq.one_hot(SEQUENCES))


def test_one_hot_has_a_column_for_each_base():
    found = ofm.seq.one_hot(["ACGTNacgtnR"])
    assert found.shape == (1, 11, 4)
    assert found.dtype == np.uint8
    wanted = np.vstack([np.eye(4), np.zeros(4)])[[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 4]]
    assert np.array_equal(found[0], wanted)


@pytest.mark.parametrize(
    ("sequence", "length", "wanted"),
    [("AACGTT", 4, "ACGT"), ("AACGTTT", 4, "ACGT"), ("CG", 4, "NCGN"), ("CG", 5, "NCGNN"), ("CGT", 4, "CGTN")],
)
def test_length_cuts_and_pads_at_both_ends(sequence, length, wanted):
    found = ofm.seq.one_hot([sequence, "A" * length], length=length)
    assert np.array_equal(found[:1], ofm.seq.one_hot([wanted]))
    assert found[1].sum() == length


def test_reverse_complement_by_hand():
    assert ofm.seq.reverse_complement("AACGn") == "NCGTT"
    assert ofm.seq.reverse_complement(pd.Series(["AC", "ggt"])) == ["GT", "ACC"]
    # Each code against the complements of all bases it stands for (IUPAC 1970).
    stands_for = {"R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC"}
    stands_for |= {"B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT"}
    for code, bases in stands_for.items():
        other = ofm.seq.reverse_complement(code)
        assert set(stands_for[other]) == {"TGCA"["ACGT".index(base)] for base in bases}


def test_reverse_complement_of_strings_and_one_hot_agree():
    rng = np.random.default_rng(0)
    sequences = ["".join(row) for row in rng.choice(list("ACGTN"), size=(20, 33))]
    other = ofm.seq.reverse_complement(sequences)
    one_hot = ofm.seq.one_hot(sequences)
    assert np.array_equal(ofm.seq.reverse_complement(one_hot), ofm.seq.one_hot(other))
    assert ofm.seq.reverse_complement(one_hot.astype(np.float32)).dtype == np.float32
    assert ofm.seq.reverse_complement(other) == sequences


def test_blocks_say_the_same_as_one(monkeypatch):
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(list("ACGTN"), size=n)) for n in rng.integers(1, 30, size=40)]
    whole = ofm.seq.kmer(sequences, k=3), ofm.seq.one_hot(sequences, length=12)
    monkeypatch.setattr(_sequences, "_BLOCK", 25)
    assert sum(1 for _ in _sequences.code_blocks("test", sequences)) > 10
    assert (ofm.seq.kmer(sequences, k=3) != whole[0]).nnz == 0
    assert np.array_equal(ofm.seq.one_hot(sequences, length=12), whole[1])
    coded = _sequences.coded("test", sequences)
    assert list(coded.lengths) == list(map(len, sequences))
    with pytest.raises(ofm.InputError, match=r"'X' at position 2 of sequence 40 "):
        ofm.seq.kmer([*sequences, "ACX"])


def test_no_sequences():
    assert ofm.seq.kmer([], k=2).shape == (0, 16)
    assert ofm.seq.one_hot([], length=7).shape == (0, 7, 4)
    assert ofm.seq.reverse_complement([]) == []


@pytest.mark.parametrize("call", [ofm.seq.one_hot, ofm.seq.kmer, ofm.seq.reverse_complement])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["ACGT", "ACXT"], r"'X' at position 2 of sequence 1 \('ACXT'"),
        (["ACGU"], "'U'.*Fix: write T for U"),
        (["AC T"], "' ' at position 2"),
        (["ACGé"], "'é' at position 3 of sequence 0"),
        (["ACGT", ""], "sequence 1 .* an empty string"),
        (["ACGT", None], "sequence 1 .* NoneType"),
        ([b"ACGT"], "sequence 0 .* bytes"),
        (3, "found int"),
    ],
)
def test_what_is_no_dna_is_refused(call, given, words):
    with pytest.raises(ofm.InputError, match=rf"seq\.\w+: .*{words}") as error:
        call(given)
    assert "Fix: " in str(error.value)


def test_one_string_is_not_a_list_of_letters():
    for call in (ofm.seq.one_hot, ofm.seq.kmer):
        with pytest.raises(ofm.InputError, match="found one str"):
            call("ACGT")


def test_different_lengths_need_a_length():
    with pytest.raises(ofm.InputError, match="found 2 to 4 bases. Fix: pass length="):
        ofm.seq.one_hot(["ACGT", "AC"])
    with pytest.raises(ofm.InputError, match="found no sequences"):
        ofm.seq.one_hot([])
    with pytest.raises(ofm.InputError, match="1 or more, found 0"):
        ofm.seq.one_hot(["ACGT"], length=0)


def test_one_hot_must_end_in_four_columns():
    with pytest.raises(ofm.InputError, match=r"\(2, 4, 9\)"):
        ofm.seq.reverse_complement(np.zeros((2, 4, 9)))
