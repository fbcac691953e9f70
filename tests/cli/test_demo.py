"""The demo: its stages in order, whole or not at all, and only its own folder replaced. The bench is stood in for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import omicsfm as ofm
from omicsfm import bench
from omicsfm.cli import main


@pytest.fixture
def quick(example, monkeypatch, omicsfm_data) -> None:
    """Real data and a real model; made-up scores, since a real run takes a minute."""

    def run(suite: str, out: Path) -> bench.Results:
        assert suite == "quick"
        results = bench.Results(**vars(example()))
        results.save(out)
        return results

    monkeypatch.setattr(bench, "run", run)


def test_demo_writes_the_folder_and_tells_the_verdicts(quick, tmp_path, capsys):
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert "LinearMosaic loses to WNN by" in told.out
    assert told.out.splitlines()[-1] == f"The report: {out / 'report.html'}"
    assert [line[:5] for line in told.err.splitlines() if line.startswith("[")] == [f"[{i}/6]" for i in range(1, 7)]
    assert {p.name for p in out.iterdir()} == {"report.html", "mosaic.h5mu", "model", "results.parquet"}

    mdata = ofm.io.read(out / "mosaic.h5mu")
    ofm.check(mdata).raise_for_errors()
    mask = ofm.modality_mask(mdata)
    model = ofm.load(out / "model")
    np.testing.assert_allclose(mdata.obsm["X_mosaic"], model.embed(mdata), atol=1e-4)
    for modality in ("rna", "protein"):
        filled = mdata.obsm[f"imputed_{modality}"].notna().all(axis=1)
        assert (filled == ~mask[modality]).all()
        assert filled.sum() == 400
    donors = mdata.obs["batch"].astype(str)
    assert set(donors[mdata.obsm["imputed_protein"].notna().all(axis=1).to_numpy()]) == {"p1_0"}
    assert {"label_mosaic", "label_mosaic_confidence", "label_mosaic_unknown"} <= set(mdata.obs.columns)
    assert len(bench.Results.load(out / "results.parquet").verdicts) > 5

    # Once more: its own folder is replaced without being asked.
    (out / "report.html").write_text("old", encoding="utf-8")
    assert main(["demo", "--out", str(out)]) == 0
    assert (out / "report.html").read_text(encoding="utf-8") != "old"
    # What someone put there is not lost without --force.
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    capsys.readouterr()
    assert main(["demo", "--out", str(out)]) == 2
    assert "notes.txt" in capsys.readouterr().err
    assert (out / "notes.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["demo"]


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_demo_never_replaces_another_folder(quick, tmp_path, capsys, force):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1.tex").write_text("x", encoding="utf-8")
    assert main(["demo", "--out", str(out), *force]) == 2
    assert "never replaced" in capsys.readouterr().err
    assert [p.name for p in out.iterdir()] == ["chapter1.tex"]
    single = tmp_path / "file"
    single.write_text("x", encoding="utf-8")
    assert main(["demo", "--out", str(single), *force]) == 2
    assert single.read_text(encoding="utf-8") == "x"


def test_demo_that_fails_leaves_nothing(quick, tmp_path, monkeypatch, capsys):
    def run(suite: str, out: Path) -> bench.Results:
        raise ofm.InputError("bench.run: leak. Fix: mend it.")

    monkeypatch.setattr(bench, "run", run)
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "omicsfm: bench.run: leak. Fix: mend it."
    assert list(tmp_path.iterdir()) == []
