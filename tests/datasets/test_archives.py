from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from omicsfm import InputError
from omicsfm.datasets._archives import extract


def _zip(path: Path, members: dict[str, bytes], *, links: tuple[str, ...] = ()) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            if name in links:
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, data)
    return path


def _tar(path: Path, members: dict[str, bytes], *, kinds: dict[str, bytes] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.type = (kinds or {}).get(name, tarfile.REGTYPE)
            if info.type == tarfile.REGTYPE:
                info.size = len(data)
            else:
                info.linkname = data.decode()
            archive.addfile(info, io.BytesIO(data) if info.type == tarfile.REGTYPE else None)
    return path


@pytest.fixture(params=["zip", "tar"])
def make(request: pytest.FixtureRequest, tmp_path: Path):
    if request.param == "zip":
        return lambda members: _zip(tmp_path / "a.whl", members)
    return lambda members: _tar(tmp_path / "a.tar.gz", members)


def test_one_member_comes_out_and_nothing_else(make, tmp_path: Path) -> None:
    archive = make({"p/x.csv": b"data", "../../escaped": b"evil", "/absolute": b"evil", "p/y.csv": b"other"})
    out = tmp_path / "out"
    out.mkdir()
    extract(archive, "p/x.csv", out / "x", max_bytes=4)
    assert (out / "x").read_bytes() == b"data"
    assert sorted(p.name for p in tmp_path.rglob("*")) == sorted([archive.name, "out", "x"])


@pytest.mark.parametrize("member", ["../../escaped", "/absolute", "p/../../escaped", "p\\..\\x"])
def test_a_member_that_leaves_its_folder_is_refused(make, member: str, tmp_path: Path) -> None:
    archive = make({member: b"evil"})
    with pytest.raises(InputError, match="leaves the archive's folder"):
        extract(archive, member, tmp_path / "x", max_bytes=100)
    assert not (tmp_path / "x").exists()


def test_links_devices_and_folders_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    zipped = _zip(tmp_path / "a.whl", {"p/x": str(secret).encode(), "p/": b""}, links=("p/x",))
    members = {name: str(secret).encode() for name in ("link", "hard", "dir", "fifo")}
    kinds = {"link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "dir": tarfile.DIRTYPE, "fifo": tarfile.FIFOTYPE}
    tarred = _tar(tmp_path / "a.tar.gz", members, kinds=kinds)
    for archive, member in [(zipped, "p/x"), (zipped, "p/"), *((tarred, name) for name in members)]:
        with pytest.raises(InputError, match="is not a regular file"):
            extract(archive, member, tmp_path / "out", max_bytes=1000)
        assert not (tmp_path / "out").exists()


def test_a_target_that_exists_is_never_written_through(make, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "out").symlink_to(victim)
    with pytest.raises(InputError, match="cannot be unpacked"):
        extract(make({"p/x": b"evil"}), "p/x", tmp_path / "out", max_bytes=100)
    assert victim.read_text() == "mine"


def test_absent_double_and_oversized_members_are_refused(make, tmp_path: Path) -> None:
    archive = make({"p/x": b"0123456789"})
    with pytest.raises(InputError, match="'p/y' of .* is absent"):
        extract(archive, "p/y", tmp_path / "x", max_bytes=10)
    with pytest.raises(InputError, match="10 bytes, more than the 9 registered"):
        extract(archive, "p/x", tmp_path / "x", max_bytes=9)
    double = tmp_path / "double.tar.gz"
    with tarfile.open(double, "w:gz") as out:
        for data in (b"good", b"evil"):
            info = tarfile.TarInfo("p/x")
            info.size = 4
            out.addfile(info, io.BytesIO(data))
    with pytest.raises(InputError, match="is there 2 times"):
        extract(double, "p/x", tmp_path / "x", max_bytes=10)


def test_a_header_that_lies_about_the_size_does_not_fill_the_disk(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.whl", {"p/x": b"0" * 5_000_000})
    data = bytearray(archive.read_bytes())
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = data.index(signature) + at
        data[start : start + 4] = (10).to_bytes(4, "little")
    archive.write_bytes(data)
    with pytest.raises(InputError, match="cannot be unpacked"):
        extract(archive, "p/x", tmp_path / "x", max_bytes=10)
    assert not (tmp_path / "x").exists() or (tmp_path / "x").stat().st_size <= 10


@pytest.mark.parametrize("keep", [0, 10, 40, 0.5, 0.9])
def test_a_damaged_archive_is_one_error(make, keep: float, tmp_path: Path) -> None:
    archive = make({"p/x": bytes(range(256)) * 50})
    data = archive.read_bytes()
    archive.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(InputError, match="cannot be unpacked"):
        extract(archive, "p/x", tmp_path / "x", max_bytes=100_000)
