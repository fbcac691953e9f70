from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import omicsfm as ofm
from omicsfm.seq._provenance import code_sha256

SEQUENCES = ["ACGT", "GGGA", "ACGT", "TTTT"]
READ: list[str] = []


def lengths_and_bases(sequences: list[str]) -> np.ndarray:
    READ.extend(sequences)
    return np.array([[len(s), s.count("A")] for s in sequences], dtype=np.float32).reshape(-1, 2)


@pytest.fixture
def made() -> ofm.seq.Embedder:
    READ.clear()
    return ofm.seq.Embedder("mine", partial(lengths_and_bases), {"k": 1}, facts={"weights_sha256": "a"})


def test_each_sequence_is_read_once(made, tmp_path):
    kept = ofm.seq.cached(made, tmp_path)
    wanted = lengths_and_bases(SEQUENCES)
    READ.clear()
    assert np.array_equal(ofm.seq.embed_sequences(SEQUENCES, kept), wanted)
    assert READ == ["ACGT", "GGGA", "TTTT"]
    assert np.array_equal(
        ofm.seq.embed_sequences([*SEQUENCES[::-1], "C"], ofm.seq.cached(made, tmp_path))[:4], wanted[::-1]
    )
    assert READ == ["ACGT", "GGGA", "TTTT", "C"]
    assert ofm.seq.embed_sequences([], kept).shape == (0, 2)
    assert (kept.name, code_sha256(kept)) == (made.name, code_sha256(made))


@pytest.mark.parametrize("change", [{"name": "x"}, {"params": {"k": 2}}, {"facts": {"weights_sha256": "b"}}])
def test_another_model_finds_nothing(made, tmp_path, change):
    ofm.seq.embed_sequences(SEQUENCES, ofm.seq.cached(made, tmp_path))
    READ.clear()
    ofm.seq.embed_sequences(SEQUENCES[:1], ofm.seq.cached(replace(made, **change), tmp_path))
    assert READ == ["ACGT"]


def test_a_run_that_is_killed_keeps_what_was_written(made, tmp_path, monkeypatch):
    from omicsfm.seq import _embedding_cache

    monkeypatch.setattr(_embedding_cache, "_BLOCK", 2)

    def dies(sequences: list[str]) -> np.ndarray:
        if "TTTT" in sequences:
            raise KeyboardInterrupt
        return lengths_and_bases(sequences)

    # What stands for the same model: only its function dies.
    with pytest.raises(KeyboardInterrupt):
        ofm.seq.cached(replace(made, embed=dies), tmp_path).embed(SEQUENCES)
    assert not list(tmp_path.rglob("*.tmp*"))
    READ.clear()
    ofm.seq.cached(made, tmp_path).embed(SEQUENCES)
    assert READ == ["TTTT"]


def test_a_damaged_file_and_a_sparse_model_are_told(made, tmp_path):
    kept = ofm.seq.cached(made, tmp_path)
    kept.embed(SEQUENCES)
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ofm.InputError, match="is damaged"):
        kept.embed(SEQUENCES)
    with pytest.raises(ofm.InputError, match="gives a sparse matrix"):
        ofm.seq.cached(ofm.seq.embedder("kmer:2"), tmp_path).embed(SEQUENCES)


def test_of_two_processes_one_computes(tmp_path):
    """Both start at once on the same sequences; the model takes a while and notes each that it reads."""
    script = tmp_path / "job.py"
    script.write_text(
        "import sys, time, numpy as np\n"
        "from omicsfm.seq import Embedder, cached\n"
        "def slow(sequences):\n"
        "    time.sleep(0.3)\n"
        "    with open(sys.argv[1] + '/read.txt', 'a') as f: f.writelines(s + '\\n' for s in sequences)\n"
        "    return np.array([[len(s)] for s in sequences])\n"
        "values = cached(Embedder('slow', slow), sys.argv[1]).embed(['A' * i for i in range(1, 50)])\n"
        "assert values.ravel().tolist() == list(range(1, 50))\n",
        encoding="utf-8",
    )
    jobs = [subprocess.Popen([sys.executable, str(script), str(tmp_path)]) for _ in range(2)]
    assert [job.wait(timeout=60) for job in jobs] == [0, 0]
    assert len((tmp_path / "read.txt").read_text(encoding="utf-8").split()) == 49
