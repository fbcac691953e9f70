"""The committed notebooks of the studies and the results of the peer study are whole and say nothing of the machine."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from omicsfm.bench import Results

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "notebooks" / "integration_study.ipynb"
every_notebook = pytest.mark.parametrize(
    "notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem
)
RESULTS = ROOT / "benchmarks" / "results"
OURS = ("LinearMosaic", "Mosaic", "Stack (auto)")


def of_cells(notebook: Path) -> tuple[list[dict], list[dict]]:
    """Code cells, and all that they put out."""
    code = [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    return code, [output for cell in code for output in cell["outputs"]]


@every_notebook
def test_notebook_was_run_from_top_to_bottom(notebook: Path) -> None:
    code, outputs = of_cells(notebook)
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]


def test_notebook_of_the_peer_study_has_its_figures() -> None:
    assert sum("image/svg+xml" in o.get("data", {}) for o in of_cells(NOTEBOOK)[1]) >= 6


@every_notebook
def test_notebook_is_small_and_names_no_machine(notebook: Path) -> None:
    text = notebook.read_text(encoding="utf-8")
    assert len(text.encode()) < (2_000_000 if notebook == NOTEBOOK else 1_000_000)
    assert not re.findall(r"/(?:home|root|tmp|work|Users|usr)/|site-packages|[A-Z]:\\\\", text)


def test_results_hold_every_question_with_ours_baselines_and_verdicts() -> None:
    study, summary = Results.load(RESULTS / "integration.parquet"), pd.read_csv(RESULTS / "integration.csv")
    assert sum(path.stat().st_size for path in RESULTS.iterdir()) < 900_000
    for _, part in summary.groupby("ask"):
        assert {"LinearMosaic", "Mosaic"} <= set(part["method"])
        assert part["family"].isin(["baseline", "peer"]).any()
        assert ((part["low"] <= part["high"]) | part["low"].isna()).all()
    assert set(study.table["method"]) == set(summary["method"])
    verdicts = pd.read_csv(RESULTS / "verdicts.csv")
    assert set(verdicts["against"]) == {"closed form", "best peer", "best baseline"}
    assert set(verdicts["method"]) == set(OURS)
    assert verdicts["words"].str.len().gt(0).all()
    failed = {(f["ask"], f["method"]) for f in study.meta["failed"]}
    assert all(f["reason"] for f in study.meta["failed"])
    assert not failed & set(summary.loc[summary["n_seeds"] > 0, ["ask", "method"]].itertuples(index=False, name=None))


def test_study_goes_on_where_it_was(omicsfm_data: Path, tmp_path: Path) -> None:
    if not (omicsfm_data / "pbmc_mosaic_midas").is_dir():
        pytest.skip("the PBMC mosaic is not among the data")
    words = ["--asks", "pbmc_pairs", "--methods", "Chance", "CCA", "--seeds", "1"]
    words += ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    environment = {**os.environ, "OMICSFM_DATA": str(omicsfm_data)}
    command = [sys.executable, str(ROOT / "benchmarks" / "integration.py"), *words]
    said = [
        subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout for _ in range(2)
    ]
    assert said[0].count("CPU-s") == 4
    assert "CPU-s" not in said[1]
    table = Results.load(tmp_path / "out" / "integration.parquet").table
    none_of_it = [*command[:2], "--collect", "--cache", str(tmp_path / "other"), "--out", str(tmp_path / "out")]
    subprocess.run(none_of_it, check=True, capture_output=True, env=environment)
    pd.testing.assert_frame_equal(Results.load(tmp_path / "out" / "integration.parquet").table, table)  # kept
    mean = table[table["metric"] == "foscttm"].groupby("method")["value"].mean()
    assert mean["CCA"] < 0.1 < 0.4 < mean["Chance"]


@every_notebook
@pytest.mark.skipif(importlib.util.find_spec("nbformat") is None, reason="nbformat (extra notebooks) is not installed")
def test_notebook_is_valid(notebook: Path) -> None:
    nbformat = importlib.import_module("nbformat")
    nbformat.validate(nbformat.read(notebook, as_version=4))
