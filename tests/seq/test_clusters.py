from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

import omicsfm as ofm

COMPLEMENT = str.maketrans("ACGT", "TGCA")


def flipped(sequence: str) -> str:
    return sequence.translate(COMPLEMENT)[::-1]


def random_dna(rng: np.random.Generator, n: int) -> str:
    return "".join(rng.choice(list("ACGT"), size=n))


def by_hand(sequences: list[str], k: int, threshold: float) -> list[int]:
    """All pairs, sets of words, and links followed one by one."""
    words = []
    for sequence in map(str.upper, sequences):
        here = {sequence[i : i + k] for i in range(len(sequence) - k + 1)}
        words.append({min(word, flipped(word)) for word in here if set(word) <= set("ACGT")})
    group = list(range(len(sequences)))
    for i, j in combinations(range(len(sequences)), 2):
        union = words[i] | words[j]
        if union and len(words[i] & words[j]) >= threshold * len(union):
            old, new = max(group[i], group[j]), min(group[i], group[j])
            group = [new if g == old else g for g in group]
    number = {g: n for n, g in enumerate(dict.fromkeys(group))}
    return [number[g] for g in group]


@pytest.mark.parametrize(("k", "threshold"), [(16, 0.2), (9, 0.5), (3, 0.7), (1, 1.0)])
def test_clusters_are_those_of_all_pairs(k, threshold):
    rng = np.random.default_rng(0)
    genome = random_dna(rng, 4000)
    starts = rng.integers(0, 3900, 60)
    sequences = [genome[start : start + 100] for start in starts]
    sequences = [flipped(s) if i % 3 == 0 else s for i, s in enumerate(sequences)]
    sequences += ["A" * 40, "T" * 60, "ACGTNACG", "N" * 30, "acgtnacg", random_dna(rng, 500).lower()]
    found = ofm.seq.similarity_clusters(sequences, k=k, threshold=threshold)
    assert found.tolist() == by_hand(sequences, k, threshold)
    assert found.dtype == np.int64
    if k == 16:
        assert 20 < found.max() < 60  # some are linked, some are not
        assert found[60] == found[61]
        assert len({*found[62:]}) == 4  # no word, no link


def test_clusters_at_the_scale_of_a_sketch():
    """Long enough for words to be left out: neighbours that overlap by half or a tenth, and mutated copies."""
    rng = np.random.default_rng(1)
    genome = random_dna(rng, 60_000)
    half = [genome[i : i + 2000] for i in range(0, 20_000, 1000)]
    tenth = [genome[i : i + 2000] for i in range(22_000, 58_000, 1800)]
    copies = [random_dna(rng, 2000) for _ in range(20)]
    mutated = []
    for sequence in copies:
        letters = np.array(list(sequence))
        at = rng.choice(2000, 60, replace=False)  # 3 %
        letters[at] = [flipped(letter) for letter in letters[at]]
        mutated.append(flipped("".join(letters)))
    found = ofm.seq.similarity_clusters(half + tenth + copies + mutated)
    wanted = [0] * 20 + list(range(1, 21)) + list(range(21, 41)) * 2
    assert found.tolist() == wanted


def test_clusters_of_many_copies():
    rng = np.random.default_rng(2)
    families = [random_dna(rng, 80) for _ in range(5)]
    sequences = [families[i % 5] for i in range(1000)]
    assert ofm.seq.similarity_clusters(sequences).tolist() == [i % 5 for i in range(1000)]


def test_clusters_of_nothing():
    assert ofm.seq.similarity_clusters([]).tolist() == []
    assert ofm.seq.similarity_clusters(["ACGT", "ACGT"]).tolist() == [0, 1]  # shorter than a word
    for options in ({"k": 17}, {"k": 0}, {"threshold": 0}, {"threshold": 1.1}):
        with pytest.raises(ofm.InputError, match="similarity_clusters: k must be"):
            ofm.seq.similarity_clusters(["ACGT"], **options)
