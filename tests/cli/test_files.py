"""Commands on real files: what they write, what they refuse to replace, what a kill leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import omicsfm as ofm
from omicsfm import bench
from omicsfm.cli import main


@pytest.fixture(scope="module")
def source(omicsfm_data) -> Path:
    return omicsfm_data / "pbmc_mosaic_midas" / "quickstart_pbmc_mosaic.h5mu"


@pytest.fixture(scope="module")
def model(source, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("model") / "m"
    keys = ["--batch-key", "batch", "--label-key", "celltype", "--modalities", "adt=protein", "rna=rna"]
    assert main(["fit", str(source), "--out", str(out), *keys]) == 0
    return out


@pytest.fixture
def query(source, tmp_path) -> Path:
    """A hundred cells of all four donors, in another order than that of training."""
    mdata = ofm.io.read(source)
    cells = np.random.default_rng(0).permutation(mdata.n_obs)[:100]
    return ofm.io.write(ofm.contract.subset(mdata, cells), tmp_path / "query.h5mu")


def run_json(arguments: list, capsys) -> dict:
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def history(mdata) -> list[str]:
    return [step["step"] for step in ofm.contract.history(mdata)]


def test_fit_says_what_it_did(model, source, capsys):
    told = run_json(["info", model], capsys)
    assert told["class"] == "LinearMosaic"
    assert told["features"] == {"rna": 500, "adt": 224}
    assert told["metrics"]["n_obs"] == 1600
    again = model.with_name("again")
    flags = ["--batch-key", "batch", "--label-key", "celltype", "--modalities", "adt=protein"]
    found = run_json(["fit", source, "--out", again, *flags], capsys)
    assert found["model"] == str(again)
    assert (again / "manifest.json").read_bytes() == (model / "manifest.json").read_bytes()


def test_embed_is_the_models_own(model, query, capsys):
    before = query.read_bytes()
    told = run_json(["embed", model, query], capsys)
    out = query.with_name("query.embed.h5mu")
    assert told == {"out": str(out), "n_obs": 100, "n_latent": told["n_latent"]}
    found, asked = ofm.io.read(out), ofm.io.read(query)
    mean, sd = ofm.load(model).embed(asked, return_sd=True)
    assert list(found.obs_names) == list(asked.obs_names)
    np.testing.assert_allclose(found.obsm["X_mosaic"], mean, atol=1e-5)
    np.testing.assert_allclose(found.obsm["X_mosaic_sd"], sd, atol=1e-5)
    assert history(found)[-1] == "embed"
    step = ofm.contract.history(found)[-1]
    assert step["params"]["manifest_sha256"] == ofm.hub.manifest(model)["manifest_sha256"]
    assert query.read_bytes() == before


@pytest.mark.parametrize("suffix", [".h5mu", ".zarr"])
def test_impute_never_poses_as_measured(model, query, suffix, capsys):
    out = query.with_name("imputed" + suffix)
    told = run_json(["impute", model, query, "--modality", "adt", "--out", out], capsys)
    assert told["level"] == 0.9
    found, asked = ofm.io.read(out), ofm.io.read(query)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ofm.OmicsfmWarning)
        wanted = ofm.load(model).impute(asked, "adt")
    table = found.obsm["imputed_adt"]
    assert isinstance(table, pd.DataFrame)
    np.testing.assert_allclose(table.loc[asked.obs_names], wanted.mean, atol=1e-4)
    assert (found.obsm["imputed_adt_lower"].to_numpy() <= found.obsm["imputed_adt_upper"].to_numpy()).all()
    assert list(table.columns) == list(wanted.mean.columns)
    for mod in asked.mod:
        assert found.mod[mod].n_obs == asked.mod[mod].n_obs
        assert np.array_equal(ofm.io.canonical(found.mod[mod].X).data, ofm.io.canonical(asked.mod[mod].X).data)
    assert history(found)[-1] == "impute"


def test_warnings_are_one_line_on_stderr(model, query, capsys):
    main(["impute", str(model), str(query), "--modality", "adt"])
    told = capsys.readouterr()
    assert told.err.startswith("omicsfm: warning: ")
    assert told.err.count("\n") == 1
    assert "linear_mosaic.py" not in told.err


def test_a_slash_in_a_name_can_be_stored(tmp_path):
    from omicsfm.tl._store import put_imputation

    rng = np.random.default_rng(0)
    adata = ad.AnnData(rng.poisson(2, (5, 3)).astype(float), var=pd.DataFrame(index=["CD16/32", "b", "c"]))
    adata.obs_names = list("abcde")
    mdata = ofm._compat.make_mudata({"protein": adata})
    frame = pd.DataFrame(rng.normal(size=(4, 3)), index=list("dbca"), columns=list(adata.var_names))
    imputation = ofm.models.Imputation(frame, frame, frame - 1, frame + 1, 0.9, np.asarray)
    put_imputation(mdata, "protein", imputation)
    for suffix in (".h5mu", ".zarr"):
        found = ofm.io.read(ofm.io.write(mdata, tmp_path / f"x{suffix}")).obsm["imputed_protein"]
        assert list(found.columns) == ["CD16_32", "b", "c"]
        np.testing.assert_allclose(found.loc[frame.index], frame, atol=1e-6)
        assert found.loc["e"].isna().all()  # not asked about


def test_annotate_writes_three_columns(model, query, capsys):
    out = query.with_name("labels.h5mu")
    told = run_json(["annotate", model, query, "--out", out], capsys)
    obs = ofm.io.read(out).obs
    assert sum(told["labels"].values()) + told["unknown"] == 100
    assert obs["label_mosaic_unknown"].dtype == bool
    assert obs["label_mosaic_confidence"].between(0, 1).all()
    assert (obs["label_mosaic"].astype(str) == obs["celltype"].astype(str)).mean() > 0.85


def test_one_anndata_of_one_modality_is_enough(model, source, tmp_path, capsys):
    mdata = ofm.io.read(source)
    rna = ofm.contract.subset(mdata, (mdata.obs["batch"] == "p1_0").to_numpy()).mod["rna"]
    rna.write_h5ad(tmp_path / "rna.h5ad")
    told = run_json(["embed", model, tmp_path / "rna.h5ad", "--out", tmp_path / "e.zarr"], capsys)
    assert told["n_obs"] == 400


def test_nothing_is_replaced_without_force(model, query, capsys):
    out = query.with_name("kept.h5mu")
    out.write_text("mine", encoding="utf-8")
    arguments = ["embed", str(model), str(query), "--out", str(out)]
    assert main(arguments) == 2
    assert "Fix: pass --force" in capsys.readouterr().err
    assert out.read_text(encoding="utf-8") == "mine"
    assert main([*arguments, "--force"]) == 0
    assert "X_mosaic" in ofm.io.read(out).obsm


def test_force_never_removes_what_is_no_model(source, tmp_path, capsys):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter1.tex").write_text("x", encoding="utf-8")
    assert main(["fit", str(source), "--out", str(folder), "--modalities", "adt=protein", "--force"]) == 2
    assert "never replaced" in capsys.readouterr().err
    assert (folder / "chapter1.tex").read_text(encoding="utf-8") == "x"


def test_the_input_may_be_replaced_by_the_output(model, query):
    assert main(["embed", str(model), str(query), "--out", str(query), "--force"]) == 0
    assert main(["annotate", str(model), str(query), "--out", str(query), "--force"]) == 0
    found = ofm.io.read(query)
    assert history(found)[-2:] == ["embed", "annotate"]
    assert "X_mosaic" in found.obsm


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["impute", "{model}", "{query}", "--modality", "nope"], "choose one of adt, rna"),
        (["fit", "{query}", "--out", "{out}", "--batch-key", "nope"], "--batch-key"),
        (["fit", "{query}", "--out", "{out}", "--modalities", "adt=nope"], "nope"),
        (["embed", "{query}", "{query}"], "Fix: "),
        (["embed", "{model}", "{model}"], "Fix: "),
        (["report", "{query}"], "Results.load"),
    ],
)
def test_mistakes_with_files_leave_the_disk_as_it_was(arguments, words, model, query, capsys, monkeypatch):
    monkeypatch.chdir(query.parent)
    before = sorted(os.listdir(query.parent))
    given = [a.format(model=model, query=query, out=query.parent / "new") for a in arguments]
    assert main(given) == 2
    told = capsys.readouterr()
    assert words in told.err
    assert "Traceback" not in told.err
    assert told.err.splitlines()[-1].startswith("omicsfm: ")
    assert sorted(os.listdir(query.parent)) == before


def test_check_lists_every_violation(tmp_path, capsys):
    adata = ad.AnnData(np.array([[1.5, -1.0], [0.0, 2.0]]), obs=pd.DataFrame(index=["a", "b"]))
    adata.write_h5ad(tmp_path / "bad.h5ad")
    assert main(["check", str(tmp_path / "bad.h5ad"), "--json"]) == 2
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert found["ok"] is False
    assert len(found["violations"]) >= 1
    assert all(v["fix"] for v in found["violations"])
    assert told.err.count("\n") == 1


def test_check_passes_a_good_file(source, capsys):
    assert main(["check", str(source)]) == 0
    assert "ok: the MuData meets the contract" in capsys.readouterr().out


def test_data_commands(capsys):
    names = [entry["name"] for entry in run_json(["data", "list"], capsys)]
    assert "pbmc_mosaic" in names
    assert run_json(["data", "info", "pbmc_mosaic"], capsys)["licence"] == "MIT"
    assert main(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(names) + 1
    assert lines[1].split("\t")[:3] == ["pbmc_mosaic", "rna + protein", "1,600"]


def test_altered_data_end_in_code_2(monkeypatch, tmp_path, capsys, source):
    monkeypatch.setenv("OMICSFM_DATA", str(tmp_path))
    monkeypatch.setenv("OMICSFM_CACHE", str(tmp_path / "cache"))
    own = tmp_path / "pbmc_mosaic_midas" / source.name
    own.parent.mkdir()
    own.write_bytes(source.read_bytes())
    assert main(["data", "verify", "pbmc_mosaic", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["status"] == "ok"
    own.write_bytes(source.read_bytes()[:-1] + b"x")
    assert main(["data", "verify", "pbmc_mosaic"]) == 2
    assert "Fix: " in capsys.readouterr().err


def test_report_from_saved_results(example, tmp_path, capsys):
    saved = bench.Results(**vars(example())).save(tmp_path / "results.parquet")
    told = run_json(["report", saved, "--out", tmp_path / "r.html"], capsys)
    assert told == {"out": str(tmp_path / "r.html")}
    assert "LinearMosaic loses to WNN" in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert main(["report", str(saved), "--out", str(tmp_path / "r.html")]) == 2


def _slow_writer(body: str) -> str:
    """A process that runs the command line, and stops for ever in the middle of writing its result."""
    return textwrap.dedent(
        f"""
        import sys, time
        from omicsfm import _compat
        from omicsfm.cli import main
        def write(mdata, path):
            path.write_bytes(b"half a file")
            print("writing", flush=True)
            time.sleep(60)
        _compat.write = write
        {body}
        """
    )


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_run_leaves_no_half_file(sign, model, query):
    out = query.with_name("out.h5mu")
    out.write_text("old", encoding="utf-8")
    code = _slow_writer("sys.exit(main(sys.argv[1:]))")
    command = [sys.executable, "-c", code, "embed", str(model), str(query), "--out", str(out), "--force"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        started = process.stdout.readline()
        assert started == "writing\n", process.stderr.read()
        time.sleep(0.1)
        process.send_signal(sign)
        said = process.stderr.read()
    assert out.read_text(encoding="utf-8") == "old"
    code, words = {
        signal.SIGKILL: (-signal.SIGKILL, ""),
        signal.SIGINT: (130, "omicsfm: interrupted; nothing was replaced\n"),
        signal.SIGTERM: (143, ""),
    }[sign]
    assert (process.returncode, said) == (code, words)
    if sign != signal.SIGKILL:
        assert sorted(p.name for p in query.parent.iterdir()) == ["out.h5mu", "query.h5mu"]


def test_a_reader_that_stops_is_no_error():
    code = "import sys; from omicsfm.cli import main; sys.exit(main(sys.argv[1:]))"
    command = f'"{sys.executable}" -c "{code}" data info pbmc_mosaic | true; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stdout.strip() in ("0", "141")
    assert done.stderr == ""
