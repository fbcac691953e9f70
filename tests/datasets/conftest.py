"""A registry entry about a small real file, with its package in a folder that stands in for an index."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omicsfm.datasets import _fetch, _registry
from omicsfm.datasets._schema import Entry, parse

CONTENT = b"gene,cell\n" + bytes(range(256)) * 40


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def content() -> bytes:
    return CONTENT


@pytest.fixture
def raw_entry() -> dict[str, Any]:
    """A valid entry as YAML gives it; tests break it."""
    return {
        "name": "tiny",
        "title": "A tiny table",
        "organism": "Homo sapiens",
        "modalities": {"rna": "rna"},
        "n_obs": 3,
        "keys": {"batch": "donor"},
        "split_unit": "donor",
        "licence": "MIT",
        "access": "open",
        "citation": "Nobody 2024",
        "loader": "mudata",
        "files": [
            {
                "name": "part/table.csv",
                "bytes": len(CONTENT),
                "sha256": digest(CONTENT),
                "sources": [{"kind": "file", "path": "tiny/table.csv"}],
            }
        ],
    }


@pytest.fixture
def make_entry(raw_entry: dict[str, Any]) -> Callable[..., Entry]:
    """Build the entry with other sources or a second file."""

    def make(*sources: dict[str, Any], **changes: Any) -> Entry:
        if sources:
            raw_entry["files"][0]["sources"] = list(sources)
        raw_entry.update(changes)
        return parse({"version": 1, "datasets": [raw_entry]}, origin="test.yaml").datasets[0]

    return make


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no data folder, and a pip that knows no index and no configuration."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("OMICSFM_CACHE", str(folder))
    monkeypatch.delenv("OMICSFM_DATA", raising=False)
    monkeypatch.setattr(_fetch, "checkout", lambda: None)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return folder


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A wheel that pip finds, which holds the file; returned is its source."""
    info = "omicsfmtiny-1.0.dist-info"
    path = tmp_path / "index" / "omicsfmtiny-1.0-py3-none-any.whl"
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("omicsfmtiny/table.csv", CONTENT)
        # Only the data are wanted: the package's own demands on Python must not matter.
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: omicsfmtiny\nVersion: 1.0\nRequires-Python: >=99\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    return {
        "kind": "pypi",
        "requirement": "omicsfmtiny==1.0",
        "archive": "wheel",
        "archive_sha256": digest(path.read_bytes()),
        "member": "omicsfmtiny/table.csv",
    }


_BACKEND = """
import os
def get_requires_for_build_wheel(config_settings=None):
    return []
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    name = "omicsfmsource-2.0.dist-info"
    os.mkdir(os.path.join(folder, name))
    with open(os.path.join(folder, name, "METADATA"), "w") as out:
        out.write("Metadata-Version: 2.1\\nName: omicsfmsource\\nVersion: 2.0\\n")
    return name
"""


@pytest.fixture
def sdist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A source archive that pip finds, which holds the file among its tests; returned is its source."""
    top = "omicsfmsource-2.0"
    path = tmp_path / "index" / f"{top}.tar.gz"
    path.parent.mkdir(exist_ok=True)
    members = {
        "pyproject.toml": b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": _BACKEND.encode(),
        "PKG-INFO": b"Metadata-Version: 2.1\nName: omicsfmsource\nVersion: 2.0\n",
        "tests/table.csv": CONTENT,
    }
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    return {
        "kind": "pypi",
        "requirement": "omicsfmsource==2.0",
        "archive": "sdist",
        "archive_sha256": digest(path.read_bytes()),
        "member": f"{top}/tests/table.csv",
    }


@pytest.fixture
def use_registry(monkeypatch: pytest.MonkeyPatch) -> Callable[[Entry], None]:
    """Let the public functions see a registry of one entry."""

    def use(entry: Entry) -> None:
        known = _registry.registry().model_copy(update={"datasets": (entry,)})
        monkeypatch.setattr(_fetch, "registry", lambda: known)

    return use
