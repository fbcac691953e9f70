"""kill -9 at any moment of a save leaves a model that loads: the old one, or the new one once it has its name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from omicsfm import InputError, OmicsfmWarning, hub

# Kills itself just before or just after the n-th call of a function of os.
CHILD = """
import os, signal, sys
place, function, n, moment, target = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5]
sys.path.insert(0, place)
import toy
real, calls = getattr(os, function), 0
def deadly(*args, **kwargs):
    global calls
    calls += 1
    if calls == n and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    out = real(*args, **kwargs)
    if calls == n and moment == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    return out
model = toy.fitted(1)
setattr(os, function, deadly)
toy.store(model, target, overwrite=True)
"""


def kill(function: str, n: int, moment: str, target: Path) -> None:
    place = str(Path(__file__).parent)
    run = subprocess.run([sys.executable, "-c", CHILD, place, function, str(n), moment, str(target)], timeout=120)
    assert run.returncode == -signal.SIGKILL  # else the moment was never reached and nothing was tested


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize(
    ("function", "n", "moment", "seed"),
    [
        ("mkdir", 2, "after", 0),  # an empty temporary folder
        ("fsync", 1, "before", 0),  # weights written
        ("fsync", 2, "before", 0),  # manifest written
        ("replace", 1, "before", 0),  # all written, nothing renamed
        ("replace", 2, "after", 1),  # the new one has its name, the old one is not yet removed
    ],
)
def test_killed_save_leaves_a_model(toy, saved, function, n, moment, seed):
    kill(function, n, moment, saved)
    assert hub.load(saved).seed == seed
    assert hub.manifest(saved)["seed"] == seed
    toy.store(toy.fitted(2), saved, overwrite=True)  # what was left behind is in nobody's way
    assert hub.load(saved).seed == 2


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_killed_between_the_two_renames_the_old_one_is_read_with_a_warning(toy, saved):
    kill("replace", 1, "after", saved)
    assert not saved.exists()
    with pytest.warns(OmicsfmWarning, match="was killed while it replaced the model") as caught:
        assert hub.load(saved).seed == 0
    assert caught[0].filename == __file__
    toy.store(toy.fitted(2), saved)
    assert hub.load(saved).seed == 2


def test_two_folders_put_aside_are_not_guessed_between(saved):
    for token in ("0a", "0b"):
        (saved.parent / f".model.{token}.old").mkdir()
        for file in saved.iterdir():
            (saved.parent / f".model.{token}.old" / file.name).write_bytes(file.read_bytes())
    saved.rename(saved.parent / "moved")
    with pytest.raises(InputError, match="there is no folder"):
        hub.load(saved)
