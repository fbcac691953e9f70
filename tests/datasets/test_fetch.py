from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from omicsfm import InputError, datasets
from omicsfm.datasets import _fetch
from omicsfm.datasets._fetch import fetch_entry
from omicsfm.datasets._schema import Entry, UrlSource

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


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_pip_brings_one_member_of_a_package(
    kind: str, request: pytest.FixtureRequest, cache: Path, make_entry: MakeEntry, content: bytes
) -> None:
    paths = fetch_entry(make_entry(request.getfixturevalue(kind)))
    assert paths == {NAME: cache / "tiny" / NAME}
    assert paths[NAME].read_bytes() == content
    assert _leftovers(cache) == ["table.csv"]


def test_an_archive_that_serves_two_files_is_downloaded_once(
    cache: Path, make_entry: MakeEntry, raw_entry: dict, wheel: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw_entry["files"][0]["sources"] = [wheel]
    entry = make_entry(files=[*raw_entry["files"], raw_entry["files"][0] | {"name": "again.csv"}])
    calls, download = [], _fetch._archives.download
    monkeypatch.setattr(_fetch._archives, "download", lambda *a: calls.append(a) or download(*a))
    assert list(fetch_entry(entry)) == [NAME, "again.csv"]
    assert len(calls) == 1


def test_a_second_fetch_asks_nobody(
    cache: Path, make_entry: MakeEntry, wheel: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = make_entry(wheel)
    first = fetch_entry(entry)
    monkeypatch.setattr(_fetch, "_download", lambda *a, **k: pytest.fail("downloaded again"))
    assert fetch_entry(entry) == first


def test_own_files_are_used_in_place_and_before_other_sources(
    cache: Path, make_entry: MakeEntry, wheel: dict, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _own(tmp_path, monkeypatch, content)
    assert fetch_entry(make_entry(wheel, FILE)) == {NAME: path}
    assert not cache.exists()


def test_without_own_files_the_sources_go_in_their_order(
    cache: Path, make_entry: MakeEntry, wheel: dict, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder found beside the checkout does not go before the package unless the entry lists it first."""
    path = _own(tmp_path, monkeypatch, content)
    monkeypatch.delenv("OMICSFM_DATA")
    (tmp_path / "shared").mkdir()
    (tmp_path / "data").rename(tmp_path / "shared" / "data")
    beside = tmp_path / "shared" / path.relative_to(tmp_path)
    monkeypatch.setattr(_fetch, "checkout", lambda: tmp_path / "clone")
    assert fetch_entry(make_entry(wheel, FILE)) == {NAME: cache / "tiny" / NAME}
    assert fetch_entry(make_entry(FILE, wheel)) == {NAME: beside}


def test_the_next_source_steps_in(
    cache: Path, make_entry: MakeEntry, wheel: dict, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = wheel | {"requirement": "omicsfmtiny==9.9"}
    assert fetch_entry(make_entry(FILE, absent, wheel))[NAME].read_bytes() == content


class _Handler(http.server.BaseHTTPRequestHandler):
    body, told = b"", 0

    def do_GET(self) -> None:
        if self.path != "/table.csv":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(self.told))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def serve(make_entry: MakeEntry) -> Iterator[Callable[..., Entry]]:
    """Serve bytes from this machine; the entry returned has that address (http, which the schema would refuse)."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def use(body: bytes, *, told: int | None = None, path: str = "/table.csv") -> Entry:
        _Handler.body, _Handler.told = body, len(body) if told is None else told
        entry = make_entry()
        address = UrlSource.model_construct(kind="url", url=f"http://127.0.0.1:{server.server_address[1]}{path}")
        file = entry.files[0].model_copy(update={"sources": (address,)})
        return entry.model_copy(update={"files": (file,)})

    yield use
    server.shutdown()
    server.server_close()


def test_an_address_serves_the_file(cache: Path, serve: Callable[..., Entry], content: bytes) -> None:
    assert fetch_entry(serve(content))[NAME].read_bytes() == content


@pytest.mark.parametrize("fault", ["cut off", "altered", "absent"])
def test_a_bad_download_leaves_nothing(fault: str, cache: Path, serve: Callable[..., Entry], content: bytes) -> None:
    entry = {
        "cut off": lambda: serve(content[:100], told=len(content)),
        "altered": lambda: serve(content[:-1] + b"!"),
        "absent": lambda: serve(content, path="/nowhere"),
    }[fault]()
    with pytest.raises(InputError, match="'tiny' needs part/table.csv, and none of its sources gave it") as caught:
        fetch_entry(entry)
    assert "\n" not in str(caught.value)
    assert {"cut off": "bytes", "altered": "sha256", "absent": "404"}[fault] in str(caught.value)
    assert _leftovers(cache) == []


def test_a_wrong_archive_is_refused_before_it_is_opened(cache: Path, make_entry: MakeEntry, sdist: dict) -> None:
    with pytest.raises(InputError, match="none of its sources gave it .*pip download ended with code 1"):
        fetch_entry(make_entry(sdist | {"archive_sha256": "0" * 64}))
    assert _leftovers(cache) == []


def test_offline_is_one_line_with_data_set_source_and_remedy(
    cache: Path, make_entry: MakeEntry, wheel: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # port 9: nobody listens
    with pytest.raises(InputError) as caught:
        fetch_entry(make_entry(wheel, FILE))
    message = str(caught.value)
    assert "\n" not in message
    for word in (
        "'tiny'",
        "pypi omicsfmtiny==1.0",
        "the package index cannot be reached",
        "$OMICSFM_DATA/tiny/table.csv",
        "OMICSFM_DATA is not set",
        "Fix: check your connection and try again, or set OMICSFM_DATA to a folder that holds tiny/table.csv",
    ):
        assert word in message, message


def test_a_data_set_that_only_files_bring_says_so(cache: Path, make_entry: MakeEntry) -> None:
    with pytest.raises(InputError, match=r"Fix: set OMICSFM_DATA to a folder that holds tiny/table\.csv\.$"):
        fetch_entry(make_entry(FILE))


def test_omicsfm_data_that_is_no_folder_is_an_error(
    cache: Path, make_entry: MakeEntry, wheel: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMICSFM_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"\$OMICSFM_DATA must name a folder, found '.*nowhere'"):
        fetch_entry(make_entry(FILE, wheel))


def test_a_cache_that_cannot_be_written_is_one_error(
    cache: Path, make_entry: MakeEntry, wheel: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "occupied").write_text("a file")
    monkeypatch.setenv("OMICSFM_CACHE", str(tmp_path / "occupied"))
    with pytest.raises(InputError, match="cannot be written .* set OMICSFM_CACHE"):
        fetch_entry(make_entry(wheel))


def test_the_default_data_set_comes_out_of_its_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(tmp_path / "probe")]
    probe = subprocess.run([*command, "scmidas==0.3.0"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("no Python package index can be reached from here")
    monkeypatch.setenv("OMICSFM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OMICSFM_DATA", raising=False)
    ((name, path),) = datasets.fetch("pbmc_mosaic").items()
    assert path == tmp_path / "cache" / "pbmc_mosaic" / name
    assert path.stat().st_size == 2_789_920
