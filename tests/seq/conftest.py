"""A small genome on disk, and DNA by the letter to compare with."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the indices of the genomes of these tests out of the user's cache."""
    monkeypatch.setenv("OMICSFM_CACHE", str(tmp_path_factory.getbasetemp() / "seq-cache"))


@pytest.fixture(scope="session")
def chromosomes() -> dict[str, str]:
    """DNA by chromosome, in both cases, with N."""
    rng = np.random.default_rng(0)
    lengths = {"chr1": 5000, "chr2": 1234, "chrM": 75}
    return {name: "".join(rng.choice(list("ACGTacgtN"), size=n)) for name, n in lengths.items()}


def fasta(records: dict[str, str], width: int = 60) -> str:
    """Write records as FASTA."""
    lines = []
    for name, sequence in records.items():
        lines += [f">{name}", *(sequence[i : i + width] for i in range(0, len(sequence), width))]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def genome_fa(chromosomes, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("genome") / "genome.fa"
    path.write_text(fasta(chromosomes), encoding="ascii")
    return path


@pytest.fixture(scope="session")
def promoters(omicsfm_data, tmp_path_factory) -> Path:
    """Every 200th promoter of dm3, and all 280 of chromosome 4, in a file like that of all."""
    source = omicsfm_data / "drosophila_dm3_upstream2000" / "dm3_upstream2000.fa.gz"
    with gzip.open(source, "rt", encoding="ascii") as handle:
        records = handle.read().split(">")[1:]
    path = tmp_path_factory.mktemp("dm3") / "promoters.fa.gz"
    with gzip.open(path, "wt", encoding="ascii") as handle:
        handle.write("".join(f">{record}" for i, record in enumerate(records) if i % 200 == 0 or " chr4:" in record))
    return path
