"""Nothing half-written ever stands under the final name, not even after kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from omicsfm import InputError, io

_KILLED = """
import os, signal, sys
from pathlib import Path
from omicsfm import io
with io.atomic(sys.argv[1]) as temporary:
    if sys.argv[2] == "file":
        temporary.write_text("half")
    else:
        temporary.mkdir()
        (temporary / "part").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""

_KILLED_WRITE = """
import os, signal, sys, threading
import numpy as np, anndata, h5py
from omicsfm import _compat, io
X = np.ones((50, 10), dtype=np.float32)
with _compat.silent():
    mdata = _compat.make_mudata({"rna": anndata.AnnData(X)})
create = h5py.Group.create_dataset
def die(self, *args, **kwargs):
    if "rna" in self.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return create(self, *args, **kwargs)
h5py.Group.create_dataset = die
io.write(mdata, sys.argv[1])
"""


def _run(code: str, *args: str) -> int:
    import omicsfm

    env = os.environ | {"PYTHONPATH": str(Path(omicsfm.__file__).parents[1])}
    return subprocess.run([sys.executable, "-c", code, *args], env=env, check=False).returncode


def test_a_file_appears_at_the_end(tmp_path):
    target = tmp_path / "new" / "x.json"
    with io.atomic(target) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == target.parent
        assert temporary.suffix == ".json"
        assert temporary.name.startswith(".")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert os.listdir(target.parent) == ["x.json"]


def test_a_folder_replaces_a_folder(tmp_path):
    target = tmp_path / "model"
    for text in ("one", "two"):
        with io.atomic(target) as temporary:
            temporary.mkdir()
            (temporary / text).write_text(text)
        assert os.listdir(target) == [text]
        assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_an_error_leaves_the_old_one_and_no_rest(tmp_path, kind):
    target = tmp_path / "x"
    if kind == "file":
        target.write_text("old")
    else:
        target.mkdir()
        (target / "old").write_text("old")

    def fail() -> None:
        with io.atomic(target) as temporary:
            if kind == "file":
                temporary.write_text("half")
            else:
                temporary.mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert os.listdir(tmp_path) == ["x"]
    assert (target if kind == "file" else target / "old").read_text() == "old"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_kill_9_in_the_middle_leaves_the_old_one(tmp_path, kind):
    target = tmp_path / "x"
    if kind == "file":
        target.write_text("old")
    else:
        target.mkdir()
        (target / "old").write_text("old")
    assert _run(_KILLED, str(target), kind) == -signal.SIGKILL
    assert (target if kind == "file" else target / "old").read_text() == "old"
    assert len(os.listdir(tmp_path)) == 2  # and a rest that says what it is: it starts with a dot, .tmp in its name
    assert any(name.startswith(".x.") and ".tmp" in name for name in os.listdir(tmp_path))


def test_kill_9_while_a_mudata_is_written_leaves_the_old_file(tmp_path):
    target = tmp_path / "x.h5mu"
    target.write_bytes(b"old")
    assert _run(_KILLED_WRITE, str(target)) == -signal.SIGKILL
    assert target.read_bytes() == b"old"


def test_a_file_never_replaces_a_folder_nor_the_other_way(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")

    def write(name: str, folder: bool) -> None:
        with io.atomic(tmp_path / name) as temporary:
            if folder:
                temporary.mkdir()
            else:
                temporary.write_text("new")

    with pytest.raises(InputError, match="is a folder already"):
        write("folder", False)
    with pytest.raises(InputError, match="is a file already"):
        write("file", True)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_place_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("x")

    def write() -> None:
        with io.atomic(tmp_path / "file" / "x.json"):
            pass

    with pytest.raises(InputError, match="cannot use the folder"):
        write()
