"""Take one named file out of a Python package's archive, and nothing else."""

from __future__ import annotations

import stat
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Any

from omicsfm._errors import InputError
from omicsfm.datasets._schema import PypiSource


def download(source: PypiSource, folder: Path) -> Path:
    """Download the archive of `source` into `folder` with pip, so that the user's own index and mirrors apply.

    pip compares the archive with the registered sha256 before it looks into it: this matters for a source archive,
    whose build backend pip asks for the package's metadata.

    Raises
    ------
    OSError
        If pip cannot get it; the message is pip's own last word.
    """
    package, _, _ = source.requirement.partition("==")
    chosen = ["--only-binary", ":all:"] if source.archive == "wheel" else ["--no-binary", package]
    pinned = folder / "requirements.txt"
    pinned.write_text(f"{source.requirement} --hash=sha256:{source.archive_sha256}\n", encoding="utf-8")
    target = folder / "archive"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--disable-pip-version-check"]
    # Only data are taken: the version of Python that the package's code asks for does not matter.
    command += ["--ignore-requires-python", "--progress-bar", "off", "--quiet", *chosen]
    command += ["--dest", str(target), "--requirement", str(pinned)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()] or ["no message"]
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        # pip's last word after a failed connection is "No matching distribution", which would blame the package.
        cause = "the package index cannot be reached: " if "connection broken by" in result.stderr else ""
        raise OSError(f"pip download ended with code {result.returncode}: {cause}{(errors or lines)[-1][:200]}")
    archives = sorted(target.iterdir())
    if len(archives) != 1:
        raise OSError(f"pip download left {len(archives)} files where one archive was expected")
    return archives[0]


def extract(archive: Path, member: str, target: Path, *, max_bytes: int) -> None:
    """Write one regular file of a zip (wheel) or tar archive to `target`; no other member is touched.

    Parameters
    ----------
    archive
        The zip or tar file.
    member
        Exact path inside the archive.
    target
        File to write; the archive has no say in where it lies.
    max_bytes
        A larger member is refused before and while it is unpacked.

    Raises
    ------
    InputError
        If the member is absent, there twice, not a regular file (a link, a folder, a device), leaves its folder or is
        larger than `max_bytes`, or if the archive is damaged.
    """
    if member.startswith("/") or ".." in PurePosixPath(member).parts or "\\" in member:
        raise InputError(f"fetch: member '{member}' leaves the archive's folder. Fix: name a file inside it.")
    try:
        if archive.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(archive) as zipped:
                infos = [info for info in zipped.infolist() if info.filename == member]
                _one(infos, archive, member)
                kind = infos[0].external_attr >> 16
                regular = not infos[0].is_dir() and (stat.S_IFMT(kind) in (0, stat.S_IFREG))
                _allowed(archive, member, regular=regular, size=infos[0].file_size, max_bytes=max_bytes)
                with zipped.open(infos[0]) as stream:
                    _write(stream, target, max_bytes=max_bytes)
        else:
            with tarfile.open(archive, mode="r:*") as tarred:
                found = [info for info in tarred.getmembers() if info.name == member]
                _one(found, archive, member)
                _allowed(archive, member, regular=found[0].isreg(), size=found[0].size, max_bytes=max_bytes)
                unpacked = tarred.extractfile(found[0])
                if unpacked is None:
                    raise InputError(_refusal(archive, member, "is not a regular file"))
                with unpacked:
                    _write(unpacked, target, max_bytes=max_bytes)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError) as err:
        raise InputError(_refusal(archive, member, f"cannot be unpacked ({err})")) from err


def _refusal(archive: Path, member: str, why: str) -> str:
    return f"fetch: member '{member}' of {archive.name} {why}. Fix: correct the registry entry or the archive."


def _one(found: list[Any], archive: Path, member: str) -> None:
    if len(found) != 1:
        raise InputError(_refusal(archive, member, "is absent" if not found else f"is there {len(found)} times"))


def _allowed(archive: Path, member: str, *, regular: bool, size: int, max_bytes: int) -> None:
    if not regular:
        raise InputError(_refusal(archive, member, "is not a regular file"))
    if size > max_bytes:
        raise InputError(_refusal(archive, member, f"has {size:,} bytes, more than the {max_bytes:,} registered"))


def _write(stream: IO[bytes], target: Path, *, max_bytes: int) -> None:
    left = max_bytes
    with target.open("xb") as out:
        while block := stream.read(1 << 20):
            left -= len(block)
            if left < 0:  # the header told a smaller size
                raise OSError(f"more than the {max_bytes:,} registered bytes come out")
            out.write(block)
