"""A run that was killed goes on where it was, to the same bits; other runs' notes and other people's files are safe."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from omicsfm import InputError, OmicsfmWarning, contract
from omicsfm.models import Mosaic

EPOCHS = 4


class Killed(Exception):
    """What a test ends a run with."""


@contextmanager
def counted() -> Iterator[list[int]]:
    """Count epochs that are trained."""
    from omicsfm.models._correction import _trainer

    epochs: list[int] = []
    end = _trainer._Bar.on_train_epoch_end
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_trainer._Bar, "on_train_epoch_end", lambda *args: (epochs.append(1), end(*args)))
        yield epochs


@pytest.fixture(scope="module")
def whole(tools: SimpleNamespace) -> SimpleNamespace:
    """A run that nothing stopped."""
    mdata = tools.crossed(200)
    params = {**tools.net, "max_epochs": EPOCHS}
    with counted() as epochs:
        model = Mosaic(**params).fit(mdata)
    assert model.gate_["rna->protein"] > 0  # so that all four parts are trained
    return SimpleNamespace(mdata=mdata, params=params, model=model, answers=tools.answers(model, mdata), n=len(epochs))


def same(model: Mosaic, whole: SimpleNamespace, tools: SimpleNamespace) -> None:
    assert model.gate_ == whole.model.gate_
    assert model.earned_.equals(whole.model.earned_)
    for name, value in tools.answers(model, whole.mdata).items():
        np.testing.assert_array_equal(value, whole.answers[name], err_msg=name)


def killed_at(n: int, hook: str, whole: SimpleNamespace, folder: Path, monkeypatch) -> None:
    """Fit with notes, and be killed at the n-th call of a hook of the callback that keeps the best epoch."""
    from omicsfm.models._correction import _trainer

    left, call = [n], getattr(_trainer._KeepBest, hook)

    def kill(self, *args):
        left[0] -= 1
        if not left[0]:
            raise Killed
        return call(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(_trainer._KeepBest, hook, kill)
        with pytest.raises(Killed):
            Mosaic(**whole.params).fit(whole.mdata, checkpoint=folder)
    assert folder.is_dir()


def test_notes_change_nothing(whole: SimpleNamespace, tools: SimpleNamespace, tmp_path: Path) -> None:
    same(Mosaic(**whole.params).fit(whole.mdata, checkpoint=tmp_path / "notes"), whole, tools)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("n", "hook"),
    [(3, "on_validation_end"), (2 * (EPOCHS + 1), "on_validation_end"), (1, "on_train_end"), (3, "on_train_end")],
)
def test_a_killed_run_goes_on(n: int, hook: str, whole, tools, tmp_path: Path, monkeypatch) -> None:
    """Within a part, between parts, and after the last epoch of one; and it does not begin again."""
    folder = tmp_path / "deep" / "notes"
    killed_at(n, hook, whole, folder, monkeypatch)
    with counted() as epochs:
        same(Mosaic(**whole.params).fit(whole.mdata, checkpoint=folder), whole, tools)
    assert len(epochs) < whole.n
    assert not folder.exists()


def test_killed_after_an_early_stop(
    whole: SimpleNamespace, tools: SimpleNamespace, tmp_path: Path, monkeypatch
) -> None:
    """Training that had stopped does not go on: it might find a better epoch than the run that was not killed."""
    from omicsfm.models._correction import _trainer

    monkeypatch.setattr(_trainer, "PATIENCE", 1)
    params = {**whole.params, "max_epochs": 12, "lr": 2e-2, "batch_size": 32}
    once = SimpleNamespace(mdata=whole.mdata, params=params, model=Mosaic(**params).fit(whole.mdata))
    once.answers = tools.answers(once.model, once.mdata)
    killed_at(2, "on_train_end", once, tmp_path / "notes", monkeypatch)
    same(Mosaic(**params).fit(once.mdata, checkpoint=tmp_path / "notes"), once, tools)


PROGRAM = """
import sys
sys.path.insert(0, {place!r})
from conftest import LINEAR, NET, crossed
from omicsfm.models import Mosaic
print("ready", flush=True)
Mosaic(**{{**LINEAR, **NET, "max_epochs": {epochs}}}).fit(crossed(200), checkpoint={folder!r})
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is of POSIX")
def test_a_process_is_killed(whole: SimpleNamespace, tools: SimpleNamespace, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    program = PROGRAM.format(place=str(Path(__file__).parent), epochs=EPOCHS, folder=str(folder))
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < end and not list(folder.glob("fold-*")):
            time.sleep(0.005)
        assert process.poll() is None, "it ended before it could be killed"
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert (folder / "run.json").exists()
    same(Mosaic(**whole.params).fit(whole.mdata, checkpoint=folder), whole, tools)
    assert not folder.exists()


# ---- what is not taken up


@pytest.fixture
def left(whole: SimpleNamespace, tmp_path: Path, monkeypatch) -> Path:
    """Notes of a killed run."""
    killed_at(3, "on_validation_end", whole, tmp_path / "notes", monkeypatch)
    assert (tmp_path / "notes" / "fold-1.ckpt").stat().st_size > 1000
    return tmp_path / "notes"


def test_other_parameters_and_data_are_refused(whole, tools, left: Path) -> None:
    def refused(params: dict, mdata, **more) -> None:
        before = {f.name: f.read_bytes() for f in left.iterdir()}
        with pytest.raises(InputError, match="other data or with other parameters"):
            Mosaic(**params).fit(mdata, checkpoint=left, **more)
        assert {f.name: f.read_bytes() for f in left.iterdir()} == before

    refused({**whole.params, "lr": 1e-3}, whole.mdata)
    refused(whole.params, tools.crossed(200, seed=7))
    refused(whole.params, tools.crossed(200, batch=np.repeat(["a", "b"], 100)))
    tokenizer = Mosaic(**{**whole.params, "n_tokens": 5}).fit(whole.mdata).tokenizer_
    refused(whole.params, whole.mdata, tokenizer=tokenizer)


def test_labels_that_are_trained_on_are_data(whole, tools, tmp_path: Path, monkeypatch) -> None:
    once = SimpleNamespace(params={**whole.params, "label_weight": 0.5}, mdata=whole.mdata)
    killed_at(3, "on_validation_end", once, tmp_path / "notes", monkeypatch)
    labels = tools.crossed(200)
    labels.obs["kind"] = labels.obs["kind"].to_numpy()[::-1]
    with pytest.raises(InputError, match="other data or with other parameters"):
        Mosaic(**once.params).fit(labels, checkpoint=tmp_path / "notes")


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage"])
def test_a_checkpoint_that_cannot_be_read(whole, tools, left: Path, damage: str) -> None:
    file = left / "fold-1.ckpt"
    content = file.read_bytes()
    file.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "garbage": b"not a checkpoint"}[damage])
    with pytest.warns(OmicsfmWarning, match=r"(?s)fold-1.ckpt.*cannot be read.*begins anew"):
        model = Mosaic(**whole.params).fit(whole.mdata, checkpoint=left)
    same(model, whole, tools)


def test_foreign_files_stay(whole: SimpleNamespace, left: Path, tmp_path: Path) -> None:
    for name in ("mine.ckpt", "mine.safetensors", "notes.txt"):
        (left / name).write_text("mine")
    Mosaic(**whole.params).fit(whole.mdata, checkpoint=left)
    assert sorted(f.name for f in left.iterdir()) == ["mine.ckpt", "mine.safetensors", "notes.txt"]
    with pytest.raises(InputError, match="holds other files"):
        Mosaic(**whole.params).fit(whole.mdata, checkpoint=left)
    assert sorted(f.read_text() for f in left.iterdir()) == ["mine"] * 3
    (tmp_path / "file").write_text("mine")
    with pytest.raises((InputError, OSError)):
        Mosaic(**whole.params).fit(whole.mdata, checkpoint=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_bad_data_leave_no_notes(whole: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        Mosaic(**whole.params).fit(whole.mdata.mod["rna"], checkpoint=tmp_path / "notes")
    bad = type(whole.mdata.mod["rna"].X)(-np.ones((200, 60), dtype=np.float32))
    mdata = contract.subset(whole.mdata, slice(None))
    mdata.mod["rna"].X = bad
    with pytest.raises(InputError, match="rna"):
        Mosaic(**whole.params).fit(mdata, checkpoint=tmp_path / "notes")
    assert not (tmp_path / "notes").exists()


def test_numbers_of_numpy_are_parameters_too(whole: SimpleNamespace, tools: SimpleNamespace, tmp_path: Path) -> None:
    params = {**whole.params, "n_latent": np.int64(8), "lr": np.float64(5e-3)}
    same(Mosaic(**params).fit(whole.mdata, checkpoint=tmp_path / "notes"), whole, tools)


def test_notes_are_readable(left: Path) -> None:
    said = json.loads((left / "run.json").read_text())
    assert {"max_epochs", "seed", "data"} <= set(said)


def test_an_interrupt_reaches_the_user(
    whole: SimpleNamespace, tools: SimpleNamespace, tmp_path: Path, monkeypatch
) -> None:
    """Ctrl-C is KeyboardInterrupt, not the end of the process; and training goes on from there."""
    from omicsfm.models._correction import _trainer

    step, count = _trainer.Training.training_step, [0]

    def interrupted(self, batch, index):
        count[0] += 1
        if count[0] == 6:
            raise KeyboardInterrupt
        return step(self, batch, index)

    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(_trainer.Training, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Mosaic(**whole.params).fit(whole.mdata, checkpoint=tmp_path / "notes")
    assert signal.getsignal(signal.SIGINT) is handler
    same(Mosaic(**whole.params).fit(whole.mdata, checkpoint=tmp_path / "notes"), whole, tools)
