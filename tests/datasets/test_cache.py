"""What lies in the cache and below $OMICSFM_DATA: altered files, killed and simultaneous downloads, verify()."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from omicsfm import InputError, OmicsfmWarning, datasets
from omicsfm.datasets._fetch import fetch_entry
from omicsfm.datasets._schema import Entry

MakeEntry = Callable[..., Entry]
FILE = {"kind": "file", "path": "tiny/table.csv"}
NAME = "part/table.csv"


def _leftovers(cache: Path) -> list[str]:
    return sorted(p.name for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock")


def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> Path:
    path = tmp_path / "data" / FILE["path"]
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    monkeypatch.setenv("OMICSFM_DATA", str(tmp_path / "data"))
    return path


@pytest.mark.parametrize("fault", ["truncated", "altered"])
def test_a_bad_cached_file_is_removed_named_and_fetched_again(
    fault: str, cache: Path, make_entry: MakeEntry, wheel: dict, content: bytes
) -> None:
    entry = make_entry(wheel)
    path = fetch_entry(entry)[NAME]
    path.write_bytes(content[:50] if fault == "truncated" else content[:-1] + b"!")
    with pytest.warns(OmicsfmWarning, match=f"'{path}' was removed: .* registered"):
        assert fetch_entry(entry)[NAME].read_bytes() == content


def test_a_bad_cached_file_is_removed_even_where_it_cannot_be_fetched_again(
    cache: Path, make_entry: MakeEntry, wheel: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = make_entry(wheel)
    path = fetch_entry(entry)[NAME]
    path.write_bytes(b"cut")
    monkeypatch.delenv("PIP_FIND_LINKS")
    with pytest.warns(OmicsfmWarning, match="was removed"), pytest.raises(InputError, match="none of its sources"):
        fetch_entry(entry)
    assert not path.exists()


def test_a_bad_file_of_the_users_is_named_and_left(
    cache: Path, make_entry: MakeEntry, wheel: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _own(tmp_path, monkeypatch, b"mine")
    with pytest.raises(InputError, match=f"'{path}' is not the registered file: 4 bytes where"):
        fetch_entry(make_entry(FILE, wheel))
    assert path.read_bytes() == b"mine"


_KILLED = """
import sys, time, pooch
from pathlib import Path
from omicsfm.datasets import _fetch
from omicsfm.datasets._schema import Entry
def slow(address, target, _):
    Path(target).write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
pooch.HTTPDownloader = lambda **_: slow
_fetch.fetch_entry(Entry.model_validate_json(sys.stdin.readline()))
"""


def test_a_killed_download_leaves_no_file_and_blocks_nobody(
    cache: Path, make_entry: MakeEntry, wheel: dict, content: bytes
) -> None:
    url = make_entry({"kind": "url", "url": "https://example.org/table.csv"})
    command = [sys.executable, "-c", _KILLED]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(url.model_dump_json() + "\n")
        child.stdin.flush()
        assert child.stdout.readline() == "writing\n"
        os.kill(child.pid, signal.SIGKILL)
        child.wait(10)
    assert not (cache / "tiny" / NAME).exists()
    assert any("part" in name for name in _leftovers(cache)), "the child did not get far enough to test anything"
    assert fetch_entry(make_entry(wheel))[NAME].read_bytes() == content
    assert _leftovers(cache) == ["table.csv"]


_NOTED = """
import sys, time
from pathlib import Path
from omicsfm.datasets import _fetch
from omicsfm.datasets._schema import Entry
download = _fetch._archives.download
def noted(*args):
    print("download", flush=True)
    time.sleep(1)  # long enough for the other process to arrive at the lock
    return download(*args)
_fetch._archives.download = noted
print("ready", flush=True)
(path,) = _fetch.fetch_entry(Entry.model_validate_json(sys.stdin.readline())).values()
print(path.read_bytes().hex())
"""


def test_two_processes_share_one_download(cache: Path, make_entry: MakeEntry, wheel: dict, content: bytes) -> None:
    entry = make_entry(wheel).model_dump_json() + "\n"
    command = [sys.executable, "-c", _NOTED]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(2)
    ]
    for child in children:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
    for child in children:  # both have imported everything: they start together
        assert child.stdin is not None
        child.stdin.write(entry)
        child.stdin.flush()
    said = [child.communicate(timeout=60)[0].split() for child in children]
    assert sorted(said, key=len) == [[content.hex()], ["download", content.hex()]]
    assert _leftovers(cache) == ["table.csv"]


def test_verify_tells_removes_and_downloads_nothing(
    cache: Path,
    make_entry: MakeEntry,
    wheel: dict,
    content: bytes,
    use_registry: Callable[[Entry], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = make_entry(wheel, FILE)
    use_registry(entry)

    def status() -> tuple[str, bool]:
        (found,) = datasets.verify()
        return found.status, found.path.exists()

    assert status() == ("absent", False)
    path = datasets.fetch("tiny")[NAME]
    assert status() == ("ok", True)
    path.write_bytes(content[:-1] + b"!")
    assert status() == ("removed", False)
    assert status() == ("absent", False)
    own = _own(tmp_path, monkeypatch, b"mine")
    assert status() == ("altered", True)
    assert own.read_bytes() == b"mine"
    with pytest.raises(InputError, match="no data set 'nothing'"):
        datasets.verify(["nothing"])
