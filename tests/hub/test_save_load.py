from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import omicsfm
from omicsfm import InputError, hub


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_loaded_model_is_the_same_to_the_bit(toy, saved):
    model, back = toy.fitted(), hub.load(saved)
    x = np.random.default_rng(1).normal(size=(50, 6))
    assert back.embed(x).tobytes() == model.embed(x).tobytes()
    assert type(back) is toy.ToyModel and type(back.tokens_["rna"]) is toy.ToyTokens and type(back.run_) is toy.ToyRun
    assert back.get_params()["tokens__n_components"] == 3
    assert back.names_.identical(model.names_)
    assert back.run_.loss == model.run_.loss
    assert back.labels_.tolist() == ["T", "B", None]


def test_folder_holds_two_files_and_no_time(toy, saved, tmp_path):
    assert set(files(saved)) == {"weights.safetensors", "manifest.json"}
    again = toy.store(toy.fitted(), tmp_path / "again")
    assert files(again) == files(saved)
    resaved = toy.store(hub.load(saved), tmp_path / "resaved")
    assert files(resaved) == files(saved)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_manifest_says_what_issue_2_asks(saved):
    found = hub.manifest(saved)
    assert found["class"] == "ToyModel" and found["schema_version"] == hub.SCHEMA_VERSION == 1
    assert found["versions"]["omicsfm"] == omicsfm.__version__
    assert {"numpy", "scipy", "scikit-learn", "anndata", "mudata"} <= set(found["versions"])
    assert found["versions"]["numpy"] == np.__version__
    assert ("torch" in found["versions"]) == ("torch" in sys.modules)
    assert found["python"].split(".")[:2] == [str(part) for part in sys.version_info[:2]]
    assert found["features"] == {"rna": [f"gene{i}" for i in range(6)]}
    assert len(found["features_sha256"]["rna"]) == 64
    assert found["training_data"] == "ab" * 32
    assert found["metrics"] == {"loss": 0.5, "n": 20, "worst": None}
    assert found["seed"] == 0 and found["params"]["weight"] == 0.1
    assert found["probe"]["tolerance"] == 1e-4
    assert json.loads((saved / "manifest.json").read_text()) == found


def test_no_pickle_is_ever_opened(toy, saved, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("pickle was used")

    for name in ("load", "loads", "Unpickler", "dump", "dumps"):
        monkeypatch.setattr(pickle, name, refuse)
    toy.store(hub.load(saved), tmp_path / "again")


def test_only_the_two_files_are_read(toy, saved):
    for name in ("model.pkl", "weights.bin", "code.py"):
        (saved / name).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    assert hub.load(saved).seed == 0


def test_without_probe_and_extra(toy, tmp_path):
    path = hub.save(toy.fitted(), tmp_path / "deep" / "down" / "model")
    found = hub.manifest(path)
    assert (found["probe"], found["features"], found["seed"], found["training_data"]) == (None, {}, None, None)
    assert hub.load(path).seed == 0


def test_existing_model_needs_overwrite(toy, saved):
    before = files(saved)
    with pytest.raises(InputError, match="overwrite=True"):
        toy.store(toy.fitted(1), saved)
    assert files(saved) == before
    toy.store(toy.fitted(1), saved, overwrite=True)
    assert hub.load(saved).seed == 1
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_only_a_model_is_ever_replaced(toy, saved, tmp_path):
    (tmp_path / "file").write_text("a")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text('{"name": "a web page"}')
    (saved / "notes.txt").write_text("mine")
    for name, said in (("file", "is a file already"), ("other", "never replaced"), ("model", "never replaced")):
        with pytest.raises(InputError, match=f"save: '.*{name}'.*{said}"):
            toy.store(toy.fitted(1), tmp_path / name, overwrite=True)
    assert (saved / "notes.txt").read_text() == "mine"
    assert hub.load(saved).seed == 0
    assert {path.name for path in tmp_path.iterdir()} == {"file", "other", "model"}


def test_empty_folder_is_taken(toy, tmp_path):
    assert hub.load(toy.store(toy.fitted(), tmp_path)).seed == 0


def test_failed_save_leaves_nothing_and_the_old_model(toy, saved):
    bad = toy.fitted(1)
    bad.extra_ = {1, 2}
    before = files(saved)
    with pytest.raises(InputError, match="'model/extra_'"):
        toy.store(bad, saved, overwrite=True)
    assert files(saved) == before
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_disk_error_is_one_line(toy, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="save: cannot write .*No space left on device.*Fix: "):
        toy.store(toy.fitted(), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_save_checks_what_it_is_given(toy, tmp_path):
    model, x = toy.fitted(), np.ones((2, 6))
    z = model.embed(x)

    class Stranger(toy.ToyModel):
        pass

    for kwargs, said in (
        ({"extra": {"author": "me"}}, "extra may hold .*found \\['author'\\]"),
        ({"extra": {"features": {"rna": "abc"}}}, "must be a list of names"),
        ({"extra": {"features": {"rna": [1]}}}, "must be a list of names"),
        ({"extra": {"metrics": {"a": [len]}}}, r"extra\['metrics'\]\.a\[0\] must be numbers"),
        ({"probe": (x, z)}, "probe must be"),
        ({"probe": ({"x": x}, z, -1.0)}, "tolerance of 0 or more"),
        ({"probe": ({"x": x}, z.astype(str))}, "numeric output"),
        ({"probe": ({"x": x}, z + 0.01)}, "does not reproduce its probe output within 0.0001: 0.01"),
        ({"probe": ({"x": x}, z[:1])}, "its shape is"),
        ({"probe": ({"y": x}, z)}, "could not be computed .KeyError"),
        ({"probe": ({"x": x}, z * np.nan)}, "NaN or infinite"),
    ):
        with pytest.raises(InputError, match=f"save: .*{said}.*Fix: "):
            hub.save(model, tmp_path / "model", **kwargs)
    with pytest.raises(InputError, match="no _probe_output"):
        hub.save(model.tokens_["rna"], tmp_path / "model", probe=({"x": x}, z))
    for other in (Stranger(), {"a": 1}):
        with pytest.raises(InputError, match="not registered as saveable"):
            hub.save(other, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_import_brings_nothing_heavy():
    code = "import omicsfm.hub, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not {"torch", "anndata", "mudata", "sklearn", "scipy", "h5py", "pickle5"} & set(run.stdout.split())
