"""What the peer study was to reach, and what it reached: `python benchmarks/integration_goals.py` (at once).

Reads results/integration.csv, which `make study` writes.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from _common import GOAL, table  # first: it sets the threads

RESULTS = Path(__file__).parent / "results" / "integration.csv"
TRANSFER = "label_transfer_accuracy"


def main() -> None:
    """Print one row per goal."""
    found = pd.read_csv(RESULTS).set_index(["ask", "method", "metric"])["value"].to_dict()
    cost = pd.read_csv(RESULTS).groupby(["ask", "method"])["cpu_s"].mean().to_dict()

    def at(ask: str, method: str, metric: str) -> float:
        return float(found.get((ask, method, metric), float("nan")))

    def row(words: str, value: float, reached: bool) -> list[object]:
        return [words, value, "not measured" if pd.isna(value) else GOAL[reached]]

    rows = []
    for method in ("Mosaic", "Stack (auto)"):
        foscttm = at("pbmc_pairs", method, "foscttm")
        rows.append(row(f"{method}: PBMC FOSCTTM <= 0.058", foscttm, foscttm <= 0.058))
        for to, other, least in (("rna", "protein", 0.95), ("protein", "rna", 0.965)):
            for source in (f"from {other}", "from other donors"):
                value = at("pbmc_pairs", method, f"{TRANSFER}:{to} {source}")
                rows.append(row(f"{method}: labels to {to} {source} >= {least}", value, value >= least))
        r = at("pbmc_protein", method, "pearson_per_feature:protein")
        rows.append(row(f"{method}: protein from RNA, Pearson, CLR >= 0.40", r, r >= 0.40))
        coverage = at("pbmc_protein", method, "interval_coverage:protein")
        rows.append(row(f"{method}: coverage of 90 % intervals in 0.87-0.93", coverage, 0.87 <= coverage <= 0.93))
        seconds = float(cost.get(("pbmc_pairs", method), float("nan")))
        rows.append(row(f"{method}: CPU-s on 1,600 cells <= 60", seconds, seconds <= 60))
    knn, mixing = at("pbmc_state", "Mosaic", "knn_accuracy"), at("pbmc_state", "Mosaic", "ilisi")
    rows.append(row("Mosaic: paired CITE, kNN accuracy >= 0.976 (concatenation)", knn, knn >= 0.976))
    rows.append(row("Mosaic: paired CITE, iLISI >= 0.81 (totalVI)", mixing, mixing >= 0.81))
    for metric in ("knn_accuracy", "nmi", "nmi:best Leiden"):
        value = at("cortex_state", "Mosaic", metric)
        for other in ("RNA PCA 50 (scanpy)", "SnapATAC2 multi-view", "WNN (muon)", "MULTIVI, 20/128, lr 1e-3"):
            beside = at("cortex_state", other, metric)
            words = f"Mosaic: cortex {metric} above {other} ({beside:.3f})"
            rows.append(row(words, value + 0 * beside, value > beside))  # not measured where the other was not
    table("Goals of the peer study", ["", "found", ""], rows)


if __name__ == "__main__":
    main()
