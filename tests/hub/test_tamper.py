"""A damaged, altered, foreign or future model is one clear error, whatever was done to it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load as from_safetensors
from safetensors.numpy import save as to_safetensors

from omicsfm import InputError, hub
from omicsfm.hub._manifest import seal, sha256

FILES = ("weights.safetensors", "manifest.json")


def forge(folder: Path, *, manifest=None, arrays=None) -> None:
    """Change a model and mend its hashes, as a careful forger or a faulty tool would."""
    found = json.loads((folder / FILES[1]).read_bytes())
    if arrays is not None:
        weights = from_safetensors((folder / FILES[0]).read_bytes())
        arrays(weights)
        (folder / FILES[0]).write_bytes(to_safetensors(weights))
        found["weights_sha256"] = sha256((folder / FILES[0]).read_bytes())
    if manifest is not None:
        manifest(found)
    (folder / FILES[1]).write_bytes(seal(found))


def refused(folder: Path, said: str) -> None:
    with pytest.raises(InputError, match=f"load: .*{said}.*Fix: ") as caught:
        hub.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80])
def test_any_flipped_byte_is_found(saved, name, mask):
    good = (saved / name).read_bytes()
    # Every byte of the manifest and of the weights' header, every 7th of the numbers.
    places = [i for i in range(len(good)) if name == FILES[1] or i < 1200 or i % 7 == 0]
    for place in places:
        bad = bytearray(good)
        bad[place] ^= mask
        (saved / name).write_bytes(bad)
        for call in (hub.load, hub.manifest):
            with pytest.raises(InputError, match=r"was altered or cut|has schema version \d+"):
                call(saved)
    (saved / name).write_bytes(good)
    assert hub.load(saved).seed == 0


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.99, None])
def test_any_cut_is_found(saved, name, share):
    good = (saved / name).read_bytes()
    (saved / name).write_bytes(good[:-1] if share is None else good[: int(len(good) * share)])
    refused(saved, "was altered or cut")


@pytest.mark.parametrize("name", FILES)
def test_bytes_added_at_the_end_are_found(saved, name):
    with (saved / name).open("ab") as handle:
        handle.write(b"\n")
    refused(saved, "was altered or cut")


def test_a_key_given_twice_is_found(saved):
    text = (saved / FILES[1]).read_text()
    (saved / FILES[1]).write_text(text.replace("{\n", '{\n"seed": 7,\n', 1))
    refused(saved, "was altered or cut")


def test_files_of_two_models_do_not_mix(toy, saved, tmp_path):
    other = toy.store(toy.fitted(1), tmp_path / "other")
    shutil.copy(other / FILES[0], saved / FILES[0])
    refused(saved, "weights.safetensors' was altered or cut")


def test_what_is_no_model_folder(saved, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "absent", "there is no folder '.*absent'")
    refused(tmp_path / "empty", "it has no manifest.json")
    refused(saved / FILES[1], "needed a model folder, found the file")
    (saved / FILES[0]).unlink()
    refused(saved, "it has no weights.safetensors")
    (saved / FILES[0]).mkdir()
    refused(saved, "cannot read '.*weights.safetensors'")
    for text in ("[]", "null", "[" * 100_000, '{"format": "other"}', '{"format": "omicsfm-model"}', "NaN"):
        (saved / FILES[1]).write_text(text)
        refused(saved, "manifest.json' was altered or cut")


def test_future_version_names_what_to_install(saved):
    forge(saved, manifest=lambda m: m.update(schema_version=2, versions={"omicsfm": "9.1.0"}, tree="new kind"))
    refused(saved, "has schema version 2, this omicsfm reads up to 1")
    with pytest.raises(InputError, match="Fix: update omicsfm, from its repository, to 9.1.0 or later"):
        hub.manifest(saved)
    forge(saved, manifest=lambda m: m.update(versions=None))
    refused(saved, "has schema version 2")


@pytest.mark.parametrize("version", [0, -1, "1", 1.0, True, None])
def test_no_such_version(saved, version):
    forge(saved, manifest=lambda m: m.update(schema_version=version))
    refused(saved, "no schema version")


def test_class_unknown_here(saved):
    forge(saved, manifest=lambda m: m.update({"class": "os.system"}))
    refused(saved, "'os.system' is not registered; registered are: .*ToyModel, ToyTokens")


def test_array_removed_or_of_another_kind(saved):
    name = "model/tokens_/rna/mean_"
    forge(saved, arrays=lambda a: a.update({name: a[name][:-1]}))
    refused(saved, r"'model/tokens_/rna/mean_' must be float64 of shape \(6,\), found float64 of shape \(5,\)")
    forge(saved, arrays=lambda a: a.update({name: np.zeros(6, np.float32)}))
    refused(saved, "found float32 of shape")
    forge(saved, arrays=lambda a: a.pop(name))
    refused(saved, f"array '{name}' is missing")


def test_weights_that_are_no_safetensors(saved):
    (saved / FILES[0]).write_bytes(b"\x80\x04cos\nsystem\n")
    forge(saved, manifest=lambda m: m.update(weights_sha256=sha256((saved / FILES[0]).read_bytes())))
    refused(saved, "is not a safetensors file")


def test_features_of_another_model(saved):
    forge(saved, manifest=lambda m: m["features"]["rna"].reverse())
    refused(saved, "feature names do not match their sha256")
    forge(saved, manifest=lambda m: m.update(features=[]))
    refused(saved, "its features are no table")


def test_entries_missing_or_new(saved):
    forge(saved, manifest=lambda m: m.pop("seed"))
    refused(saved, r"entries are missing or unknown: \['seed'\]")
    forge(saved, manifest=lambda m: m.update(seed=0, run_this="rm"))
    refused(saved, r"entries are missing or unknown: \['run_this'\]")


def test_params_of_another_class(saved):
    forge(saved, manifest=lambda m: m["params"].update(no_such=1))
    refused(saved, "cannot be built: unflatten: the tree does not fit .*no_such")


def test_probe_that_fails_says_who_wrote_and_who_reads(saved):
    forge(saved, arrays=lambda a: a.update({"probe/output": a["probe/output"] + 0.5}))
    refused(saved, r"within 0.0001\): it is off by 0.5. Written with python .*numpy .*; read with python .*numpy ")
    forge(saved, manifest=lambda m: m["probe"].update(tolerance=0.6))
    assert hub.load(saved).seed == 0


def test_probe_finds_weights_that_were_changed_with_their_hashes(saved):
    forge(saved, arrays=lambda a: a.update({"model/tokens_/rna/mean_": a["model/tokens_/rna/mean_"] + 1}))
    refused(saved, "no longer computes what it did")


def test_probe_finds_code_that_changed(toy, saved, monkeypatch):
    monkeypatch.setattr(toy.ToyModel, "embed", lambda self, x: x.no_such_attribute)
    refused(saved, r"it could not be computed \(AttributeError")
    monkeypatch.setattr(toy.ToyModel, "embed", lambda self, x: np.full((4, 3), np.nan))
    refused(saved, "some values became NaN")
    monkeypatch.setattr(toy.ToyModel, "embed", lambda self, x: np.full((4, 3), "a"))
    refused(saved, "it is not numeric")
