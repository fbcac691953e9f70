"""Registry entry -> verified files on this disk."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pooch
from filelock import FileLock

from omicsfm._errors import InputError, OmicsfmWarning
from omicsfm._progress import progress as progress_bar
from omicsfm.datasets import _archives
from omicsfm.datasets._registry import checkout, registry
from omicsfm.datasets._schema import DataFile, Entry, FileSource, PypiSource, UrlSource


def cache_dir() -> Path:
    """Return the folder where downloads are kept: $OMICSFM_CACHE, else the platform's cache folder."""
    return Path(os.environ.get("OMICSFM_CACHE") or pooch.os_cache("omicsfm")).expanduser().absolute()


def data_dir() -> Path | None:
    """Return the folder below which `file` sources lie, or None.

    It is $OMICSFM_DATA or, in a source checkout without it, ``../shared/data`` where that exists.

    Raises
    ------
    InputError
        If $OMICSFM_DATA is set and is not a folder.
    """
    if told := os.environ.get("OMICSFM_DATA"):
        folder = Path(told).expanduser().absolute()
        if not folder.is_dir():
            raise InputError(f"datasets: $OMICSFM_DATA must name a folder, found '{told}'. Fix: correct or unset it.")
        return folder
    top = checkout()
    beside = top.parent / "shared" / "data" if top is not None else None
    return beside if beside is not None and beside.is_dir() else None


def fetch(name: str, *, progress: bool = True) -> dict[str, Path]:
    """Make sure that all files of a data set are on this disk and unaltered.

    Files below $OMICSFM_DATA are used where they lie. Else the cache is used; what it lacks is taken from the entry's
    sources in their order. Each file is compared with its registered sha256 before its path is returned.

    Parameters
    ----------
    name
        Name of the data set; `registry().names()` lists them.
    progress
        Show a progress bar over the files to download (at a terminal only).

    Returns
    -------
    Path of every file by its name in the registry.

    Raises
    ------
    InputError
        If there is no such data set, no source could be reached, or a file is not the registered one.
    """
    return fetch_entry(registry().get(name), progress=progress)


def fetch_entry(entry: Entry, *, progress: bool = False) -> dict[str, Path]:
    """Do the work of :func:`fetch` for an entry of any registry."""
    paths = {file.name: path for file in entry.files if (path := _present(entry, file)) is not None}
    missing = [file for file in entry.files if file.name not in paths]
    if missing:
        folder = cache_dir() / entry.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # The operating system frees the lock when its process dies, so a killed fetch blocks nobody.
            with FileLock(folder.with_name(f"{entry.name}.lock")):
                paths |= _fetch_missing(entry, missing, folder=folder, progress=progress)
        except OSError as err:
            raise InputError(
                f"datasets.fetch: the cache '{folder}' cannot be written ({err.strerror or err}). "
                "Fix: set OMICSFM_CACHE to a folder of yours."
            ) from err
    return {file.name: paths[file.name] for file in entry.files}


def _fetch_missing(entry: Entry, missing: list[DataFile], *, folder: Path, progress: bool) -> dict[str, Path]:
    """Download files under the lock of their data set."""
    for stale in folder.glob(".part-*"):  # left by a killed process: whoever made it no longer holds the lock
        shutil.rmtree(stale)
    paths = {}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as scratch:
        archives: dict[str, Path] = {}
        for file in progress_bar(missing, desc=f"fetch {entry.name}") if progress else missing:
            path = _present(entry, file)  # another process may have fetched it while this one waited
            paths[file.name] = path if path is not None else _download(entry, file, Path(scratch), archives=archives)
    return paths


def _present(entry: Entry, file: DataFile) -> Path | None:
    """Return the verified copy that needs no download, or None; a user's own altered file is an error."""
    if (os.environ.get("OMICSFM_DATA") or isinstance(file.sources[0], FileSource)) and (own := _own(file)):
        return own
    cached = cache_dir() / entry.name / file.name
    return cached if cached.is_file() and _fault(cached, file) is None else None


def _own(file: DataFile) -> Path | None:
    """Return the file's verified place below the data folder, or None if it is not there."""
    folder = data_dir()
    for source in file.sources:
        if isinstance(source, FileSource) and folder is not None and (path := folder / source.path).is_file():
            if fault := _fault(path, file):
                raise InputError(
                    f"datasets.fetch: '{path}' is not the registered file: {fault}. It is yours and was left as it is. "
                    "Fix: restore it, or set OMICSFM_DATA to another folder."
                )
            return path
    return None


def _download(entry: Entry, file: DataFile, scratch: Path, *, archives: dict[str, Path]) -> Path:
    """Try the sources of one file in their order; the cache gets the whole verified file or nothing."""
    target = cache_dir() / entry.name / file.name
    if target.is_file():
        fault = _fault(target, file)
        target.unlink()
        warnings.warn(
            f"datasets.fetch: the cached '{target}' was removed: {fault}. It is fetched again.",
            OmicsfmWarning,
            stacklevel=2,
        )
    failures = []
    for number, source in enumerate(file.sources):
        part = scratch / f"{number}.part"
        part.unlink(missing_ok=True)
        try:
            if isinstance(source, FileSource):
                if own := _own(file):
                    return own
                raise OSError("not there" if data_dir() is not None else "OMICSFM_DATA is not set")
            if isinstance(source, UrlSource):
                pooch.HTTPDownloader(progressbar=False, timeout=30)(source.url, str(part), None)
            else:
                _from_package(source, file, part, scratch=scratch, archives=archives)
            if fault := _fault(part, file):
                raise OSError(f"what came is not the registered file: {fault}")
        except OSError as err:  # the errors of `requests` are OSErrors too
            failures.append(f"{source}: {' '.join(str(err).split())[:300]}")
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, target)
        return target
    places = [source.path for source in file.sources if isinstance(source, FileSource)]
    offline = "check your connection and try again" if len(places) < len(file.sources) else ""
    local = f"set OMICSFM_DATA to a folder that holds {places[0]}" if places else ""
    raise InputError(
        f"datasets.fetch: '{entry.name}' needs {file.name}, and none of its sources gave it ({'; '.join(failures)}). "
        f"Fix: {', or '.join(way for way in (offline, local) if way)}."
    )


def _from_package(source: PypiSource, file: DataFile, part: Path, *, scratch: Path, archives: dict[str, Path]) -> None:
    """Unpack one file of a package; an archive that serves several files is downloaded once."""
    if source.archive_sha256 not in archives:
        folder = scratch / source.archive_sha256
        folder.mkdir(exist_ok=True)
        archives[source.archive_sha256] = _archives.download(source, folder)
    _archives.extract(archives[source.archive_sha256], source.member, part, max_bytes=file.bytes)


def _fault(path: Path, file: DataFile) -> str | None:
    """Say in what a file differs from the registered one, or None."""
    size = path.stat().st_size
    if size != file.bytes:
        return f"{size:,} bytes where {file.bytes:,} are registered"
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return None if digest == file.sha256 else f"sha256 {digest} where {file.sha256} is registered"


@dataclass(frozen=True)
class FileStatus:
    """What `verify` found of a file: ok; absent (not fetched yet); removed (altered, in the cache); altered (yours)."""

    dataset: str
    file: str
    status: Literal["ok", "absent", "removed", "altered"]
    path: Path
    detail: str


def verify(names: Iterable[str] | None = None, *, progress: bool = True) -> list[FileStatus]:
    """Compare the files that are on this disk with the registry, without any download.

    An altered file of the cache is removed, so that it is fetched again; one below the data folder is left as it is.

    Parameters
    ----------
    names
        Data sets to look at; all of them by default.
    progress
        Show a progress bar over the data sets (at a terminal only).

    Returns
    -------
    One status for every file of the data sets, in the registry's order.
    """
    chosen = list(registry().names() if names is None else names)
    found = []
    for name in progress_bar(chosen, desc="verify") if progress else chosen:
        entry = registry().get(name)
        found += [_status(entry, file) for file in entry.files]
    return found


def _status(entry: Entry, file: DataFile) -> FileStatus:
    cached = cache_dir() / entry.name / file.name
    folder = data_dir()
    own = [folder / source.path for source in file.sources if isinstance(source, FileSource) and folder is not None]
    here = [path for path in (*own, cached) if path.is_file()]
    for path in here:
        if fault := _fault(path, file):
            if path != cached:
                return FileStatus(entry.name, file.name, "altered", path, fault)
            with FileLock(cache_dir() / f"{entry.name}.lock"):
                if _fault(path, file):  # not mended by another process meanwhile
                    path.unlink()
            return FileStatus(entry.name, file.name, "removed", path, fault)
    if not here:
        return FileStatus(entry.name, file.name, "absent", cached, "not fetched yet")
    return FileStatus(entry.name, file.name, "ok", here[0], f"{file.bytes:,} bytes, sha256 agrees")
