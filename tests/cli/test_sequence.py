"""omicsfm embed-sequence: FASTA -> embedding -> varm -> file -> read again -> verified, in one call."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

import omicsfm as ofm
from omicsfm import _compat
from omicsfm.cli import main
from omicsfm.seq import _embedders


@pytest.fixture(scope="module")
def promoters(omicsfm_data, tmp_path_factory) -> Path:
    """Every 100th promoter of dm3."""
    source = omicsfm_data / "drosophila_dm3_upstream2000" / "dm3_upstream2000.fa.gz"
    with gzip.open(source, "rt", encoding="ascii") as handle:
        records = handle.read().split(">")[1::100]
    path = tmp_path_factory.mktemp("dm3") / "dm3.fa.gz"
    with gzip.open(path, "wt", encoding="ascii") as handle:
        handle.write("".join(f">{record}" for record in records))
    return path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch) -> None:
    monkeypatch.setenv("OMICSFM_CACHE", str(tmp_path_factory.getbasetemp() / "seq-cache"))


def run_json(arguments: list, capsys) -> dict:
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("suffix", [".h5mu", ".zarr"])
def test_promoters_of_dm3_in_one_call(promoters, tmp_path, suffix, capsys):
    out = tmp_path / f"dm3{suffix}"
    told = run_json(["embed-sequence", promoters, "--genome", promoters, "--model", "kmer:4", "--out", out], capsys)
    assert (told["n_vars"], told["n_columns"], told["key"], told["deviation"]) == (265, 256, "kmer_4", 0)
    mdata = ofm.io.read(out)
    adata = mdata.mod["regions"]
    sequences = ofm.seq.read_fasta(promoters)
    assert list(adata.var_names) == list(sequences.index)
    assert (adata.varm["kmer_4"] != ofm.seq.kmer(sequences, k=4)).nnz == 0
    assert set(adata.var["chrom"]) > {"chr2L", "chr3R", "chrX"}
    assert ofm.contract.history(mdata)[-1]["step"] == "embed-sequence"
    assert ofm.seq.verify_embeddings(adata, promoters).loc["kmer_4", "n_probed"] == 8


def test_a_file_of_cells_keeps_all_it_had(omicsfm_data, tmp_path, capsys):
    """Real peaks beside real genes; the genome is a stand-in, for no assembly of them is at hand."""
    mdata = ofm.io.read(omicsfm_data / "pbmc10x_multiome_regions_muon" / "test_rna_atac.h5mu")
    peaks = mdata.mod["atac"].var_names.str.replace("_", ":", n=1)
    places = peaks.str.extract(r"^([^:]+):(\d+)-(\d+)$").dropna()
    assert len(places) == len(peaks)
    rng = np.random.default_rng(0)
    genome = tmp_path / "genome.fa"
    with genome.open("w", encoding="ascii") as handle:
        for peak, (_, start, end) in zip(mdata.mod["atac"].var_names, places.itertuples(index=False), strict=True):
            handle.write(f">{peak}\n{''.join(rng.choice(list('ACGT'), int(end) - int(start)))}\n")
    file = ofm.io.write(mdata, tmp_path / "cells.h5mu")
    before = file.read_bytes()
    told = run_json(["embed-sequence", file, "--genome", genome, "--model", "composition", "--key", "gc"], capsys)
    assert told["out"] == str(tmp_path / "cells.sequence.h5mu")
    assert told["modality"] == "atac"
    assert file.read_bytes() == before
    found = ofm.io.read(told["out"])
    assert list(found.obs_names) == list(mdata.obs_names)
    for mod in mdata.mod:
        assert np.array_equal(ofm.io.canonical(found.mod[mod].X).data, ofm.io.canonical(mdata.mod[mod].X).data)
    assert found.mod["atac"].varm["gc"].shape == (mdata.mod["atac"].n_vars, 7)


def test_nothing_is_replaced_without_force(promoters, tmp_path, capsys):
    out = tmp_path / "x.h5mu"
    call = ["embed-sequence", str(promoters), "--genome", str(promoters), "--model", "kmer:2", "--out", str(out)]
    assert main(call) == 0
    again = ["embed-sequence", str(out), "--genome", str(promoters), "--model", "kmer:2", "--out", str(out)]
    before = out.read_bytes()
    assert main(again) == 2
    assert "Fix: pass --force" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert main([*again, "--force"]) == 0
    steps = [step["step"] for step in ofm.contract.history(ofm.io.read(out))]
    assert steps == ["embed-sequence"] * 2


def test_what_fails_its_verification_is_not_written(promoters, tmp_path, capsys, monkeypatch):
    calls = []

    def drifting(sequences: list[str]) -> np.ndarray:
        calls.append(len(sequences))
        return np.full((len(sequences), 2), float(len(calls)))

    monkeypatch.setitem(_embedders._REGISTERED, "drift", lambda rest: ofm.seq.Embedder("drift", drifting))
    out = tmp_path / "x.h5mu"
    code = main(["embed-sequence", str(promoters), "--genome", str(promoters), "--model", "drift", "--out", str(out)])
    assert code == 2
    assert "not what was recorded" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--model", "kmer:12"], "k must be a whole number from 1 to 8"),
        (["--modality", "rna"], "--modality: one of regions was needed, found rna"),
        (["--width", "5000"], "pad=True"),
        (["--genome", "nowhere.fa"], "a FASTA file was needed"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_file(promoters, tmp_path, change, words, capsys):
    call = ["embed-sequence", str(promoters), "--out", str(tmp_path / "x.h5mu"), "--genome", str(promoters)]
    if "--genome" in change:
        call = call[:-2]
    assert main([*call, *change]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_modality_must_be_told_where_there_are_several(promoters, tmp_path, capsys):
    adata = ofm.seq.read_regions(promoters)
    other = adata.copy()
    other.var_names = [f"{name}:b" for name in other.var_names]
    file = ofm.io.write(_compat.make_mudata({"a": adata, "b": other}), tmp_path / "two.h5mu")
    call = ["embed-sequence", str(file), "--genome", str(promoters), "--model", "composition"]
    assert main(call) == 2
    assert "--modality: one of a, b was needed, found none" in capsys.readouterr().err
    assert main([*call, "--modality", "b"]) == 0
