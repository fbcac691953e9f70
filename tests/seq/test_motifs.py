from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import omicsfm as ofm

BASES = "ACGT"


@pytest.fixture(scope="module")
def bank() -> dict[str, np.ndarray]:
    """Motifs of 1 to 13 positions: below, at and above the number of bases that are looked up at once."""
    rng = np.random.default_rng(0)
    return {f"m{width}": rng.integers(0, 30, (4, width)).astype(float) + [[1], [0], [0], [0]] for width in range(1, 14)}


@pytest.fixture(scope="module")
def sequences() -> list[str]:
    rng = np.random.default_rng(1)
    return ["".join(rng.choice(list("ACGTacgtN"), size=n)) for n in (13, 60, 1, 25, 8)]


def by_hand(sequence: str, counts: np.ndarray, background, pseudocount: float) -> tuple[float, float]:
    """Best and mean as the docstring has it: each window, each strand, base by base."""
    ratios = []
    for strand in (sequence.upper(), ofm.seq.reverse_complement(sequence)):
        for start in range(len(strand) - counts.shape[1] + 1):
            ratio = 1.0
            for i, column in enumerate(counts.T):
                if (base := strand[start + i]) != "N":
                    b = background[BASES.index(base)]
                    ratio *= (column[BASES.index(base)] + pseudocount * b) / (column.sum() + pseudocount) / b
            ratios.append(ratio)
    return (np.log2(max(ratios)), np.log2(np.mean(ratios))) if ratios else (0.0, 0.0)


@pytest.mark.parametrize(
    ("background", "pseudocount"), [((0.25, 0.25, 0.25, 0.25), 0.8), ((0.3, 0.15, 0.2, 0.35), 0.01)]
)
def test_scores_are_those_by_hand(bank, sequences, background, pseudocount):
    found = ofm.seq.motifs(sequences, bank, background=background, pseudocount=pseudocount)
    assert list(found.columns) == [f"{name}:{what}" for what in ("max", "mean") for name in bank]
    assert (found.dtypes == np.float32).all()
    for name, counts in bank.items():
        wanted = [by_hand(sequence, counts, background, pseudocount) for sequence in sequences]
        np.testing.assert_allclose(found[[f"{name}:max", f"{name}:mean"]], wanted, rtol=1e-5, atol=1e-5)


def test_scores_do_not_know_the_strand(bank, sequences):
    other = ofm.seq.reverse_complement(sequences)
    np.testing.assert_allclose(ofm.seq.motifs(sequences, bank), ofm.seq.motifs(other, bank), rtol=1e-5, atol=1e-6)


def test_a_sequence_does_not_see_its_neighbour(bank, sequences):
    together = ofm.seq.motifs(pd.Series(sequences, index=list("abcde")), bank)
    assert list(together.index) == list("abcde")
    for i, sequence in enumerate(sequences):
        assert np.array_equal(ofm.seq.motifs([sequence], bank).to_numpy()[0], together.to_numpy()[i])


def test_what_is_not_known_counts_as_the_background(bank):
    assert (ofm.seq.motifs(["N" * 40, "R" * 40], bank) == 0).all().all()
    short = ofm.seq.motifs(["ACGTA"], bank)
    assert (short.filter(regex="m(6|7|8|9|1[0-3]):") == 0).all().all()
    assert (short.filter(regex="m[1-5]:max") != 0).all().all()


def test_best_scores_are_those_of_biopython():
    """An independent implementation, on motifs of JASPAR as they are published."""
    from Bio.Seq import Seq
    from pyjaspar import jaspardb

    source = jaspardb(release="JASPAR2014")
    published = source.fetch_motifs(collection=["CORE"], tax_group=["insects"])[:6]
    source.conn.close()
    rng = np.random.default_rng(2)
    sequences = ["".join(rng.choice(list(BASES), size=80)) for _ in range(4)]
    found = ofm.seq.motifs(sequences, "JASPAR2014", taxon="insects")
    background = {"A": 0.25, "C": 0.25, "G": 0.25, "T": 0.25}
    for motif in published:
        # biopython adds its pseudocount to every letter: ours, shared out.
        scores = motif.counts.normalize(pseudocounts=0.8 / 4).log_odds(background)
        both = (scores, scores.reverse_complement())
        wanted = [max(float(s.calculate(Seq(x)).max()) for s in both) for x in sequences]
        np.testing.assert_allclose(found[f"{motif.matrix_id} {motif.name}:max"], wanted, rtol=1e-4, atol=1e-4)


def test_jaspar_by_release_and_taxon():
    old, new = ofm.seq.read_motifs("JASPAR2014"), ofm.seq.read_motifs("JASPAR2016", taxon="nematodes")
    assert len(old) == 205
    assert list(old)[0] == "MA0002.2 RUNX1"
    assert old["MA0004.1 Arnt"].tolist() == [
        [4, 19, 0, 0, 0, 0],
        [16, 0, 20, 0, 0, 0],
        [0, 1, 0, 20, 0, 20],
        [0, 0, 0, 0, 20, 0],
    ]
    assert 0 < len(new) < 100
    with pytest.raises(ofm.InputError, match="no motifs of taxon 'mouse'. Fix: choose vertebrates"):
        ofm.seq.read_motifs("JASPAR2014", taxon="mouse")
    with pytest.raises(ofm.InputError, match=r"JASPAR2014, .*JASPAR2026.*found 'JASPAR2015'"):
        ofm.seq.motifs(["ACGT"], "JASPAR2015")


MEME = """MEME version 4

ALPHABET= ACGT

strands: + -

MOTIF MA1.1 One
letter-probability matrix: alength= 4 w= 2 nsites= 10 E= 0
 0.5  0.5  0.0  0.0
 1.0  0.0  0.0  0e0
URL http://example.org/1.5

MOTIF two
letter-probability matrix: alength= 4 w= 1
0.1\t0.2\t0.3\t0.4
"""


def test_meme_files(tmp_path):
    path = tmp_path / "x.meme"
    path.write_text(MEME, encoding="utf-8")
    found = ofm.seq.read_motifs(str(path))
    assert list(found) == ["MA1.1 One", "two"]
    assert found["MA1.1 One"].tolist() == [[5, 10], [5, 0], [0, 0], [0, 0]]
    assert found["two"].ravel().tolist() == [2, 4, 6, 8]
    values = ofm.seq.embed_sequences(["ACGT"], f"motifs:{path}")
    assert np.array_equal(values, ofm.seq.motifs(["ACGT"], found))
    for bad in (MEME.replace("w= 2", "w= 3"), MEME.replace("MOTIF two", "MOTIF MA1.1 One"), MEME.replace(" 0e0", "")):
        path.write_text(bad, encoding="utf-8")
        with pytest.raises(ofm.InputError, match=r"motif 'MA1\.1 One' of '.*x\.meme'"):
            ofm.seq.read_motifs(str(path))
    path.write_text("MEME version 4\n", encoding="utf-8")
    with pytest.raises(ofm.InputError, match="there are no motifs"):
        ofm.seq.read_motifs(str(path))


@pytest.mark.parametrize(
    "matrix",
    [np.ones((3, 5)), np.ones(4), np.ones((4, 0)), -np.ones((4, 2)), np.zeros((4, 2)), np.full((4, 2), np.nan)],
)
def test_a_matrix_that_is_none_of_counts_is_told(matrix):
    with pytest.raises(ofm.InputError, match="motif 'x' must be"):
        ofm.seq.motifs(["ACGT"], {"x": matrix})


def test_background_and_pseudocount_are_positive(bank):
    for options in ({"background": (0.5, 0.5, 0, 0)}, {"background": (1, 1, 1, 1)}, {"pseudocount": 0}):
        with pytest.raises(ofm.InputError, match="4 probabilities above 0"):
            ofm.seq.motifs(["ACGT"], bank, **options)


def test_the_embedder_tells_which_motifs():
    made = ofm.seq.embedder("motifs:JASPAR2014:insects")
    assert made.name == "motifs:JASPAR2014:insects"
    assert made.licence == "CC-BY-4.0"
    assert made.facts["motifs"] == str(len(made.names()) // 2)
    other = ofm.seq.embedder("motifs:JASPAR2014:nematodes")
    assert len(made.facts["motifs_sha256"]) == 64
    assert made.facts["motifs_sha256"] != other.facts["motifs_sha256"]
    found = ofm.seq.embed_sequences(["ACGTACGTAGCTAGCTAGCATC"], made)
    assert np.array_equal(found, ofm.seq.motifs(["ACGTACGTAGCTAGCTAGCATC"], "JASPAR2014", taxon="insects"))
