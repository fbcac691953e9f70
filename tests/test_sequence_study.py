"""The committed results of the sequence study are whole."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def test_every_set_has_the_baseline_and_the_controls() -> None:
    study = pd.read_csv(RESULTS / "sequence.csv")
    run = study[study["source"] == "measured"]
    assert set(run["set"]) == {"mouse/0", "tf/0", "tf/1", "prom_core_all"}
    for _, part in run.groupby("set"):
        assert {"majority", "composition", "kmer", "cnn", "stack", "kmer, permuted labels"} <= set(part["method"])
        assert ((part["low"] <= part["matthews"]) & (part["matthews"] <= part["high"])).all()
        assert part["n_parameters"].max() < 2_000_000
        assert part["cpu_s"].max() < 600
    published = study[study["source"] != "measured"]
    assert published["source"].str.startswith("published").all()
    assert published["cpu_s"].isna().all()
