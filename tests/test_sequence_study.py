"""The committed notebook and results of the sequence study are whole, and say nothing of the machine."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "notebooks" / "sequence_study.ipynb"
RESULTS = ROOT / "benchmarks" / "results"


def test_notebook_was_run_and_names_no_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    code = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    assert len(text.encode()) < 1_000_000
    assert not re.findall(r"/(?:home|root|tmp|work|Users|usr)/|site-packages|[A-Z]:\\\\", text)


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
