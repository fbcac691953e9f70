from __future__ import annotations

import gzip
from collections import Counter

import numpy as np
import pandas as pd
import pytest

import omicsfm as ofm
from omicsfm.seq._fasta import Place, place


def test_read_fasta_is_the_records_in_order(genome_fa, chromosomes, tmp_path):
    found = ofm.seq.read_fasta(genome_fa)
    assert found.to_dict() == chromosomes
    assert list(found.index) == list(chromosomes)
    with gzip.open(tmp_path / "g.gz", "wt", encoding="ascii") as handle:
        handle.write("\n; a comment\n>a first\r\nAC\r\n\r\nGT\r\n>b\n>c\nT")
    assert ofm.seq.read_fasta(tmp_path / "g.gz").to_dict() == {"a": "ACGT", "b": "", "c": "T"}


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "has no record"), ("ACGT\n", "is no FASTA: it starts with 'ACGT'"), (">a\nA\n>a\nC\n", "two records 'a'")],
)
def test_what_is_no_fasta_is_told(text, words, tmp_path):
    (tmp_path / "x.fa").write_text(text, encoding="ascii")
    with pytest.raises(ofm.InputError, match=rf"seq\.read_fasta: .*{words}"):
        ofm.seq.read_fasta(tmp_path / "x.fa")


def test_a_cut_file_is_told(tmp_path):
    whole = gzip.compress(b">a\n" + b"ACGT" * 1000)
    (tmp_path / "x.fa.gz").write_bytes(whole[:-12])
    with pytest.raises(ofm.InputError, match="is damaged"):
        ofm.seq.read_fasta(tmp_path / "x.fa.gz")


@pytest.mark.parametrize(
    ("header", "n", "wanted"),
    [
        ("chr1:100-600", 500, Place("chr1", 100, 600, None)),  # bedtools getfasta
        ("peak7::chr1:100-600(-)", 500, Place("chr1", 100, 600, True)),  # with -name and -s
        ("chr1:100-600(+)", 500, Place("chr1", 100, 600, False)),
        ("hg38_knownGene_X range=chr1:101-600 5'pad=0 3'pad=0 strand=- repeatMasking=none", 500,
         Place("chr1", 100, 600, True)),  # UCSC's table browser counts from 1
        ("NM_1_up_2000_chr2L_16764737_f chr2L:16764737-16766736", 2000, Place("chr2L", 16764736, 16766736, False)),
        ("NM_2_up_2000_chr2L_1_r chr2L:1-2000", 2000, Place("chr2L", 0, 2000, True)),
        ("NM_3_up_2000_chr3R_-1646_f chr3R:-1646-353", 353, Place("chr3R", 0, 353, False)),
        ("chr1:100-600", 502, None),
        ("NM_4", 500, None),
    ],
)  # fmt: skip
def test_headers_tell_where_a_record_lies(header, n, wanted):
    assert place(header, n) == wanted


def test_promoters_of_dm3_are_read_by_name_and_by_place(promoters):
    adata = ofm.seq.read_regions(promoters)
    assert adata.shape == (0, 411)
    assert list(adata.var.columns) == ["chrom", "start", "end", "strand"]
    assert set(adata.var["strand"]) == {"+", "-"}
    assert adata.var["start"].dtype == adata.var["end"].dtype == np.int64
    sequences = ofm.seq.read_fasta(promoters).str.upper()
    assert ((adata.var["end"] - adata.var["start"]).to_numpy() == sequences.str.len().to_numpy()).all()
    genome = ofm.seq.Genome(promoters)
    assert genome.fetch(adata.var) == list(sequences)
    # The same by interval and strand only, and the other strand of each.
    unnamed = adata.var.set_axis([f"x{i}" for i in range(adata.n_vars)], axis=0)
    assert genome.fetch(unnamed) == list(sequences)
    other = unnamed.assign(strand=np.where(unnamed["strand"] == "-", "+", "-"))
    assert genome.fetch(other) == ofm.seq.reverse_complement(sequences)
    cut = genome.fetch(unnamed.iloc[:3].assign(chrom=["2L"] * 3), width=100)
    assert cut == [sequence[950:1050] for sequence in sequences[:3]]


def test_a_base_of_dm3_is_the_same_in_every_promoter_over_it(promoters):
    """Overlapping promoters share the bases of the plus strand, if coordinates and strands are read rightly."""
    adata = ofm.seq.read_regions(promoters)
    here = (adata.var["chrom"] == "chr4").to_numpy()
    var, sequences = adata.var[here], ofm.seq.read_fasta(promoters)[here]
    seen: dict[int, str] = {}
    shared: Counter = Counter()
    for start, strand, sequence in zip(var["start"], var["strand"], sequences, strict=True):
        plus = sequence.upper() if strand == "+" else ofm.seq.reverse_complement(sequence)
        for i in range(-start % 13, len(plus), 13):
            base = seen.setdefault(start + i, plus[i])
            shared[strand, base == plus[i]] += 1
    assert shared["+", False] == shared["-", False] == 0
    assert sum(shared.values()) - len(seen) > 5000


def test_regions_need_their_interval_and_their_own_names(tmp_path):
    (tmp_path / "x.fa").write_text(">chr1:0-4\nACGT\n>gene7\nAC\n", encoding="ascii")
    with pytest.raises(ofm.InputError, match="found '>gene7' of 2 bases"):
        ofm.seq.read_regions(tmp_path / "x.fa")
    (tmp_path / "y.fa").write_text(">chr1:0-4\nACGT\n>chr1:0-4\nACGT\n", encoding="ascii")
    with pytest.raises(ofm.InputError, match="two records 'chr1:0-4'"):
        ofm.seq.read_regions(tmp_path / "y.fa")
    (tmp_path / "z.fa").write_text(">chr1:0-4\nACGT\n>chr1:4-6(-)\nAC\n", encoding="ascii")
    assert list(ofm.seq.read_regions(tmp_path / "z.fa").var["strand"]) == [".", "-"]
    (tmp_path / "w.fa").write_text(">chr1:0-4\nACGT\n", encoding="ascii")
    assert "strand" not in ofm.seq.read_regions(tmp_path / "w.fa").var


def test_a_region_that_is_not_there_is_named(promoters):
    table = pd.DataFrame({"chrom": ["chr2L"], "start": [5], "end": [50]}, index=["p0"])
    with pytest.raises(ofm.InputError, match="nor a record of the interval chr2L:5-50 of 'p0'"):
        ofm.seq.Genome(promoters).fetch(table)
