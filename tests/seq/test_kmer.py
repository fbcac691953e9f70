from __future__ import annotations

from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest

import omicsfm as ofm

COMPLEMENT = dict(zip("ACGT", "TGCA", strict=True))


def other_strand(word: str) -> str:
    return "".join(COMPLEMENT.get(letter, letter) for letter in reversed(word))


@pytest.fixture(scope="module")
def sequences() -> list[str]:
    rng = np.random.default_rng(1)
    return ["".join(rng.choice(list("ACGTNacgtR"), size=n)) for n in (1, 3, 8, 20, 75, 200)]


def by_hand(sequence: str, k: int, informative: int, canonical: bool) -> Counter:
    """Count words as the docstring has it, letter by letter."""
    sequence, found = sequence.upper(), Counter()
    for start in range(len(sequence) - k + 1):
        for chosen in combinations(range(k), informative):
            word = "".join(sequence[start + i] if i in chosen else "-" for i in range(k))
            if not set(word) <= set("ACGT-"):
                continue
            found[word] += 1
    if not canonical:
        return found
    merged: Counter = Counter()
    for word, n in found.items():
        merged[frozenset([word, other_strand(word)])] += n
    return merged


def table(matrix, names: list[str], row: int) -> dict[str, float]:
    dense = matrix[row].toarray().ravel()
    return {names[i]: dense[i] for i in np.flatnonzero(dense)}


@pytest.mark.parametrize("canonical", [False, True])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 7])
def test_kmer_counts_as_by_hand(sequences, k, canonical):
    found, names = ofm.seq.kmer(sequences, k=k, canonical=canonical), ofm.seq.kmer_names(k, canonical=canonical)
    assert found.dtype == np.float32
    assert found.has_canonical_format
    assert found.shape == (len(sequences), len(names))
    for row, sequence in enumerate(sequences):
        wanted = by_hand(sequence, k, k, canonical)
        told = table(found, names, row)
        if canonical:
            told = {frozenset([word, other_strand(word)]): n for word, n in told.items()}
        assert told == dict(wanted)


def test_names_are_in_the_order_of_the_alphabet():
    assert ofm.seq.kmer_names(3) == ["".join(word) for word in product("ACGT", repeat=3)]
    for k in range(1, 7):
        names = ofm.seq.kmer_names(k, canonical=True)
        assert names == sorted({min(word, other_strand(word)) for word in ofm.seq.kmer_names(k)})
        assert len(names) == (4**k + (2**k if k % 2 == 0 else 0)) // 2


def test_canonical_counts_do_not_know_the_strand(sequences):
    other = ofm.seq.reverse_complement(sequences)
    for k in (3, 4, 8):
        assert (ofm.seq.kmer(sequences, k, canonical=True) != ofm.seq.kmer(other, k, canonical=True)).nnz == 0
    assert (ofm.seq.kmer(sequences, 4) != ofm.seq.kmer(other, 4)).nnz > 0
    mine, theirs = (ofm.seq.gapped_kmer(x, 5, 3, canonical=True) for x in (sequences, other))
    assert (mine != theirs).nnz == 0


def test_the_longest_words_fit():
    found = ofm.seq.kmer(["A" * 8, "T" * 8, "TTTTTTTTA"], k=8)
    assert found.shape == (3, 65_536)
    assert list(found.indices) == [0, 65_535, 65_532, 65_535]


@pytest.mark.parametrize("canonical", [False, True])
@pytest.mark.parametrize(("k", "informative"), [(3, 2), (5, 3), (6, 4), (4, 4), (4, 1)])
def test_gapped_kmer_counts_as_by_hand(sequences, k, informative, canonical):
    found = ofm.seq.gapped_kmer(sequences, k, informative, canonical=canonical)
    names = ofm.seq.gapped_kmer_names(k, informative, canonical=canonical)
    assert found.shape == (len(sequences), len(names))
    assert len(set(names)) == len(names)
    for row, sequence in enumerate(sequences):
        told = table(found, names, row)
        if canonical:
            told = {frozenset([word, other_strand(word)]): n for word, n in told.items()}
        assert told == dict(by_hand(sequence, k, informative, canonical))


def test_without_gaps_gapped_kmer_is_kmer(sequences):
    assert (ofm.seq.gapped_kmer(sequences, 4, 4) != ofm.seq.kmer(sequences, 4)).nnz == 0
    assert ofm.seq.gapped_kmer_names(4, 4) == ofm.seq.kmer_names(4)


@pytest.mark.parametrize("k", [0, 9, 2.0, True, "4"])
def test_k_is_one_to_eight(k):
    with pytest.raises(ofm.InputError, match="whole number from 1 to 8"):
        ofm.seq.kmer(["ACGT"], k=k)


def test_gaps_must_leave_something_and_fit():
    for k, informative in ((4, 5), (4, 0)):
        with pytest.raises(ofm.InputError, match="at most k"):
            ofm.seq.gapped_kmer(["ACGT"], k, informative)
    with pytest.raises(ofm.InputError, match="columns are too many"):
        ofm.seq.gapped_kmer(["ACGT"], 16, 8)
