"""Speed and memory of what needs no weights: `python benchmarks/sequence_speed.py` (4 minutes, 2 GB).

Real DNA: windows of the promoters of dm3, drawn with a seed. One thread, so that CPU seconds are those of an idle
machine; what compiles does so before it is timed. Peers stand beside: the same motifs as a convolution of torch, and
memelite's FIMO where it is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import _common
import numpy as np
import pandas as pd

import omicsfm as ofm

DATASET, FILE = "drosophila_dm3_upstream2000", "dm3_upstream2000.fa.gz"
N_MOTIFS, N_SCANNED, LENGTH = 800, 10_000, 500


def windows(promoters: list[str], n: int) -> list[str]:
    """Draw windows of 500 bp."""
    rng = np.random.default_rng(0)
    full = [promoter for promoter in promoters if len(promoter) == 2000]
    rows, starts = rng.integers(len(full), size=n), rng.integers(2001 - LENGTH, size=n)
    return [full[row][start : start + LENGTH] for row, start in zip(rows, starts, strict=True)]


def measure(what: str, work: Callable[[], Any], *, goal: str = "", limit: float = np.inf) -> tuple[list[object], Any]:
    """Run a job; its row, with whether the limit of CPU seconds or of added megabytes (`goal`) was kept."""
    with ofm.bench.Cost() as cost:
        found = work()
    record = cost.record
    added = record.peak_rss_mb - record.start_rss_mb
    reached = {"CPU-s": record.cpu_s, "MB": added}.get(goal, 0.0) <= limit
    told = f"{limit:g} {goal}: {_common.GOAL[reached]}" if goal else "-"
    return [what, record.wall_s, record.cpu_s, f"{added:,.0f}", told], found


def torch_scan(sequences: list[str], bank: dict[str, np.ndarray]) -> np.ndarray:
    """Scan as a convolution: the best score of both strands, and the mean likelihood ratio, by motif."""
    import torch

    torch.set_num_threads(1)
    x = torch.from_numpy(ofm.seq.one_hot(sequences).transpose(0, 2, 1).astype(np.float32))
    names = list(bank)
    out = torch.empty((len(sequences), 2, len(names)))
    width = {name: counts.shape[1] for name, counts in bank.items()}
    for w in sorted(set(width.values())):
        chosen = [i for i, name in enumerate(names) if width[name] == w]
        odds = [
            np.log2((bank[names[i]] + 0.2) / (bank[names[i]].sum(axis=0) + 0.8) / 0.25).astype(np.float32)
            for i in chosen
        ]
        filters = torch.from_numpy(np.stack([*odds, *(o[::-1, ::-1] for o in odds)]))
        score = torch.nn.functional.conv1d(x, filters).reshape(len(x), 2, len(chosen), -1)
        out[:, 0, chosen] = score.amax((1, 3))
        out[:, 1, chosen] = torch.exp2(score).mean((1, 3)).log2()
    return out.flatten(1).numpy()


def fimo_best(sequences: list[str], bank: dict[str, np.ndarray]) -> pd.Series:
    """Give memelite's best score of each motif in each sequence in which it has a hit (p < 0.01)."""
    import memelite

    eps = 1e-4
    probability = {name: (c + 0.2) / (c.sum(axis=0) + 0.8) - eps for name, c in bank.items()}
    one_hot = ofm.seq.one_hot(sequences).transpose(0, 2, 1).astype(np.int8)
    hits = pd.concat(memelite.fimo(probability, one_hot, eps=eps, threshold=0.01))
    return hits.groupby(["motif_name", "sequence_name"])["score"].max()


def main() -> None:
    path = ofm.datasets.fetch(DATASET)[FILE]
    promoters = ofm.seq.read_fasta(path).tolist()
    sequences = windows(promoters, 200_000)
    ofm.seq.kmer(sequences[:10])
    rows = []
    for what, limit, work in (
        ("4-mers, 200,000 x 500 bp", 20.0, lambda: ofm.seq.kmer(sequences, k=4)),
        ("4-mers, canonical", np.inf, lambda: ofm.seq.kmer(sequences, k=4, canonical=True)),
        ("6-mers", np.inf, lambda: ofm.seq.kmer(sequences, k=6)),
        ("8-mers", np.inf, lambda: ofm.seq.kmer(sequences, k=8)),
        ("gapped 6-mers, 4 informative, 20,000 x 500 bp", np.inf, lambda: ofm.seq.gapped_kmer(sequences[:20_000])),
        ("composition, 200,000 x 500 bp", np.inf, lambda: ofm.seq.composition(sequences)),
    ):
        rows.append(measure(what, work, goal="CPU-s" if np.isfinite(limit) else "", limit=limit)[0])

    genome = ofm.seq.Genome(path)
    peaks = ofm.seq.read_regions(path).var.sample(200_000, replace=True, random_state=0)

    def walk() -> None:
        for _ in genome.one_hot_blocks(peaks, width=1344, pad=True):
            pass

    rows.append(measure("one-hot in blocks, 200,000 x 1,344 bp", walk, goal="MB", limit=300)[0])
    ofm.seq.similarity_clusters(promoters[:5])
    row, found = measure("similarity clusters, 26,454 x 2,000 bp", lambda: ofm.seq.similarity_clusters(promoters))
    rows.append(row)
    _common.table("Sequences", ["job", "wall s", "CPU s", "added MB", "goal"], rows)
    print(f"{found.max() + 1:,} clusters of {len(found):,} promoters, the largest of {np.bincount(found).max():,}")

    bank = dict(list(ofm.seq.read_motifs("JASPAR2024").items())[:N_MOTIFS])
    scanned, few = sequences[:N_SCANNED], sequences[:500]
    ofm.seq.motifs(few[:2], bank)
    row, found = measure(
        f"{len(bank)} motifs, 10,000 x 500 bp", lambda: ofm.seq.motifs(scanned, bank), goal="CPU-s", limit=60
    )
    rows = [row]
    row, other = measure("the same by torch conv1d, 500 x 500 bp", lambda: torch_scan(few, bank))
    rows.append(row)
    print(f"largest difference from torch: {np.abs(found.to_numpy()[:500] - other).max():.2g} bits")
    if find_spec("memelite"):
        fimo_best(few[:2], dict(list(bank.items())[:2]))
        row, best = measure("best hits of memelite's FIMO, 500 x 500 bp", lambda: fimo_best(few, bank))
        rows.append(row)
        at = best.index.get_level_values(1).to_numpy(dtype=int), best.index.get_level_values(0)
        ours = found.to_numpy()[at[0], [list(bank).index(name) for name in at[1]]]
        print(f"largest difference from FIMO: {np.abs(ours - best).max():.2g} bits over {len(best):,} best hits")
    _common.table("Motifs", ["job", "wall s", "CPU s", "added MB", "goal"], rows)


if __name__ == "__main__":
    main()
