from __future__ import annotations

import gzip
import hashlib
import os
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import omicsfm as ofm

COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def intervals(*rows: tuple) -> pd.DataFrame:
    table = pd.DataFrame(list(rows), columns=["chrom", "start", "end", "strand"][: len(rows[0])])
    return table.set_axis([f"p{i}" for i in range(len(rows))], axis=0)


@pytest.fixture(scope="module")
def genome(genome_fa) -> ofm.seq.Genome:
    return ofm.seq.Genome(genome_fa)


def by_hand(chromosomes, chrom, start, end, strand="+") -> str:
    """Base by base, N where there is none."""
    text = chromosomes[chrom].upper()
    found = "".join(text[i] if 0 <= i < len(text) else "N" for i in range(start, end))
    return found.translate(COMPLEMENT)[::-1] if strand == "-" else found


def test_coordinates_are_0_based_and_half_open(genome, chromosomes):
    ends = [(0, 1), (59, 61), (60, 120), (100, 600), (4999, 5000), (0, 5000)]
    table = intervals(*(("chr1", start, end) for start, end in ends))
    assert genome.fetch(table) == [chromosomes["chr1"][start:end].upper() for start, end in ends]


def test_strand_and_names_of_features(genome, chromosomes):
    table = intervals(("chr1", 10, 95, "-"), ("chr2", 3, 90, "+"), ("chr2", 3, 90, "."), ("chr2", 3, 90, None))
    wanted = [by_hand(chromosomes, *row) for row in table.itertuples(index=False)]
    assert genome.fetch(table) == wanted
    assert wanted[0] == ofm.seq.reverse_complement(chromosomes["chr1"][10:95])
    assert genome.fetch(pd.DataFrame(index=["chr1:100-600", "chr2:0-7"])) == [
        by_hand(chromosomes, "chr1", 100, 600),
        by_hand(chromosomes, "chr2", 0, 7),
    ]
    strands = pd.Categorical(["-", "1", "-1"])
    coded = intervals(*[("chr1", 5, 9)] * 3).rename(columns={"chrom": "Chromosome"}).assign(strand=strands)
    plus, minus = by_hand(chromosomes, "chr1", 5, 9), by_hand(chromosomes, "chr1", 5, 9, "-")
    assert genome.fetch(coded) == [minus, plus, minus]


@pytest.mark.parametrize("width", [1, 2, 7, 8, 300])
@pytest.mark.parametrize("strand", ["+", "-"])
def test_windows_have_the_centre_of_their_interval(genome, chromosomes, width, strand):
    rows = [("chr1", 200, 200 + n, strand) for n in (1, 2, 7, 8, 299, 301)]
    for (_, start, end, _), found in zip(rows, genome.fetch(intervals(*rows), width=width), strict=True):
        excess = end - start - width
        left = start + (excess // 2 if excess >= 0 else -(-excess // 2))
        assert found == by_hand(chromosomes, "chr1", left, left + width, strand)
        # What `one_hot` makes of the interval alone has the same bases at the same places.
        inside = ofm.seq.one_hot([by_hand(chromosomes, "chr1", start, end)], length=width)
        if strand == "+":
            known = inside.sum(axis=-1) > 0
            assert np.array_equal(ofm.seq.one_hot([found])[known], inside[known])


def test_padding_is_asked_for(genome, chromosomes):
    table = intervals(("chr2", 1200, 1234, "+"), ("chrM", 0, 10, "-"), ("chrM", 70, 76, "-"))
    with pytest.raises(ofm.InputError, match=r"3 of 3 windows .* first 'p0' \(chr2:1167-1267, of 1,234.*pad=True"):
        genome.fetch(table, width=100)
    with pytest.raises(ofm.InputError, match=r"1 of 3 windows .* first 'p2' \(chrM:70-76"):
        genome.fetch(table)
    found = genome.fetch(table, width=100, pad=True)
    places = [("chr2", 1167, 1267, "+"), ("chrM", -45, 55, "-"), ("chrM", 23, 123, "-")]
    assert found == [by_hand(chromosomes, *place) for place in places]
    assert found[1].endswith("N" * 45)
    assert genome.fetch(intervals(("chrM", 100, 140)), pad=True) == ["N" * 40]
    whole = chromosomes["chrM"].upper()
    assert genome.fetch(intervals(("chrM", 0, 75)), width=95, pad=True) == ["N" * 10 + whole + "N" * 10]


def test_chromosomes_of_ensembl_and_ucsc_are_the_same(genome, chromosomes):
    table = intervals(("1", 5, 50), ("MT", 0, 9))
    with pytest.warns(ofm.OmicsfmWarning, match="read 1 as chr1, MT as chrM"):
        assert genome.fetch(table) == [by_hand(chromosomes, "chr1", 5, 50), by_hand(chromosomes, "chrM", 0, 9)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        genome.fetch(intervals(("chr1", 5, 50)))


def test_another_assembly_is_named(genome, chromosomes):
    with pytest.raises(ofm.InputError, match=r"2 of 3 .* first 'chr7' of 'p1'; it has chr1, .*another assembly"):
        genome.fetch(intervals(("chr1", 0, 9), ("chr7", 0, 9), ("chrUn", 0, 9)), pad=True)
    long = intervals(*(("chr2", 1230 + i, 1240 + i) for i in range(3)), *[("chr1", 0, 9)] * 200)
    with pytest.raises(ofm.InputError, match=r"3 of 203 intervals end beyond .* first 'p0' \(chr2 has 1,234 bases"):
        genome.fetch(long, pad=True)
    found = genome.fetch(long.iloc[1:], pad=True)  # two may be mistakes
    assert found[:2] == [by_hand(chromosomes, "chr2", 1231, 1241), by_hand(chromosomes, "chr2", 1232, 1242)]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (intervals(("chr1", 9, 9)), r"0 <= start < end, found 1 of 1 without, first 'p0' \(chr1:9-9\)"),
        (intervals(("chr1", -1, 9)), r"first 'p0' \(chr1:-1-9\)"),
        (intervals(("chr1", 0, 9), ("chr1", None, 9)), "found 1 of 2 without, first 'p1'"),
        (intervals((None, 0, 9)), "found 1 of 1 without"),
        (intervals(("chr1", 0, 9, "minus")), "strand must be .* found 'minus' of 'p0'"),
        (pd.DataFrame({"gene": ["x"]}, index=["g0"]), "var with gene and names such as 'g0'"),
        (pd.DataFrame(index=["chr1:1-9", "x"]), "first 'x'"),
    ],
)
def test_bad_intervals_are_named(genome, table, words):
    with pytest.raises(ofm.InputError, match=rf"seq\.Genome: .*{words}"):
        genome.fetch(table)


def test_one_hot_blocks_are_the_whole(genome):
    table = intervals(*(("chr1", 10 * i, 10 * i + 40, "+-"[i % 2]) for i in range(50)))
    blocks = list(genome.one_hot_blocks(table, width=30, size=7))
    assert [rows.stop - rows.start for rows, _ in blocks] == [7] * 7 + [1]
    assert np.array_equal(np.concatenate([x for _, x in blocks]), ofm.seq.one_hot(genome.fetch(table, width=30)))
    assert blocks[0][1].dtype == np.uint8


def test_memory_of_blocks_does_not_grow_with_the_data(genome):
    """200,000 peaks of 1,344 bp: what stays is the table of windows; what comes and goes is one block."""
    few, many = (intervals(*[("chr1", 500, 700)] * n) for n in (500, 5_000))

    def peak(table: pd.DataFrame) -> int:
        tracemalloc.start()
        for _ in genome.one_hot_blocks(table, width=1344, size=250, pad=True):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    small, large = peak(few), peak(many)
    per_peak = (large - small) / 4_500
    assert small + 200_000 * per_peak < 0.3e9
    assert per_peak < 1344 / 4  # far below a base a byte, which holding all DNA would take


def test_plain_gzip_and_bgzip_are_one_genome(genome, genome_fa, tmp_path):
    from Bio import bgzf

    text = genome_fa.read_bytes()
    with gzip.open(tmp_path / "g.fa.gz", "wb") as handle:
        handle.write(text)
    for name in ("b.fa.bgz", "c.fa.gz", "d.bgzip"):
        with bgzf.BgzfWriter(str(tmp_path / name), "wb") as handle:
            handle.write(text)
    table = intervals(("chr1", 4000, 5000, "-"), ("chr2", 0, 77, "+"))
    before = sorted(os.listdir(tmp_path))
    assert genome.sha256 == hashlib.sha256(text).hexdigest()
    for name in before:
        other = ofm.seq.Genome(tmp_path / name)
        assert other.sha256 == genome.sha256
        assert other.lengths == genome.lengths
        assert other.fetch(table) == genome.fetch(table)
    assert sorted(os.listdir(tmp_path)) == before  # indices are in the cache


def test_records_of_some_features_only(genome):
    with pytest.raises(ofm.InputError, match="1 of 2 features have no record in 'genome.fa', first 'chr3'"):
        genome.fetch(pd.DataFrame(index=["chr1", "chr3"]))
    assert len(genome.fetch(pd.DataFrame(index=["chr2", "chrM"]))[0]) == 1234


def test_a_changed_file_is_indexed_anew(tmp_path):
    path = tmp_path / "g.fa"
    path.write_text(">a\nACGT\n", encoding="ascii")
    assert ofm.seq.Genome(path).lengths == {"a": 4}
    path.write_text(">b\nACGTACGT\n>c\nAC\n", encoding="ascii")
    assert ofm.seq.Genome(path).lengths == {"b": 8, "c": 2}


def test_a_killed_index_is_never_believed(tmp_path, monkeypatch):
    import pyfaidx

    path = tmp_path / "g.fa"
    path.write_text(">a\nACGT\n>b\nACGTACGT\n", encoding="ascii")
    whole = pyfaidx.Faidx.build_index

    def half(self):
        Path(self.indexname).write_text("a\t4\t3\t4\t5\n", encoding="ascii")
        raise KeyboardInterrupt

    monkeypatch.setattr(pyfaidx.Faidx, "build_index", half)
    with pytest.raises(KeyboardInterrupt):
        ofm.seq.Genome(path)
    monkeypatch.setattr(pyfaidx.Faidx, "build_index", whole)
    assert ofm.seq.Genome(path).lengths == {"a": 4, "b": 8}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ACGT\n", "cannot be indexed"),
        ("", "cannot be indexed"),
        (">a\nAC\n>a\nGT\n", "cannot be indexed: .*Duplicate"),
        (">a\nACGT\nACGTAC\nAC\n", "cannot be indexed"),
        ("\x00\x01\u00ff", "cannot be indexed"),
    ],
)
def test_what_is_no_fasta_is_told(text, words, tmp_path):
    path = tmp_path / "bad.fa"
    path.write_text(text, encoding="latin-1")
    for _ in range(2):  # a failure leaves nothing that a second try would believe
        with pytest.raises(ofm.InputError, match=words):
            ofm.seq.Genome(path)


def test_a_file_that_is_not_there():
    with pytest.raises(ofm.InputError, match="seq.Genome: a FASTA file was needed, found none at 'nowhere.fa'"):
        ofm.seq.Genome("nowhere.fa")


def test_a_cache_that_cannot_be_written(genome_fa, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x", encoding="ascii")
    monkeypatch.setenv("OMICSFM_CACHE", str(tmp_path / "file"))
    with pytest.raises(ofm.InputError, match="Fix: set OMICSFM_CACHE"):
        ofm.seq.Genome(genome_fa)


@pytest.mark.parametrize("width", [0, -3])
def test_width_is_positive(genome, width):
    with pytest.raises(ofm.InputError, match="width must be 1 or more"):
        genome.fetch(intervals(("chr1", 0, 9)), width=width)
