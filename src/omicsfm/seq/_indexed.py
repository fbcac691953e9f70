"""Random access to a FASTA file, by an index in the cache folder."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock

from omicsfm._errors import InputError
from omicsfm._optional import require
from omicsfm.datasets._fetch import cache_dir
from omicsfm.io import atomic
from omicsfm.seq._fasta import is_packed, open_text

_TEXT = "genome.fa"


def open_indexed(path: Path) -> Any:
    """Open a FASTA file as ``pyfaidx.Fasta``, indexed and where necessary unpacked the first time.

    Raises
    ------
    InputError
        If it cannot be indexed, or the cache cannot be written.
    """
    stat = path.stat()
    # Named after what it is made of, so that it is never stale.
    key = hashlib.sha256(f"{path}|{stat.st_size}|{stat.st_mtime_ns}".encode()).hexdigest()[:16]
    folder = cache_dir() / "genomes" / key
    if not folder.is_dir():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise InputError(
                f"seq.Genome: the cache '{folder.parent}' cannot be written ({err.strerror}). "
                "Fix: set OMICSFM_CACHE to a folder of yours."
            ) from err
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                # pyfaidx writes in place, and would believe half an index: so a folder, renamed when it is whole.
                with atomic(folder) as temporary:
                    temporary.mkdir()
                    _index(path, temporary)
    return _fasta(path, folder)


def _fasta(path: Path, folder: Path) -> Any:
    unpacked = folder / _TEXT
    return require("pyfaidx", extra="seq").Fasta(
        str(unpacked if unpacked.exists() else path),
        indexname=str(folder / "index.fai"),
        as_raw=True,
        sequence_always_upper=True,
    )


def _index(path: Path, folder: Path) -> None:
    if is_packed(path):
        with open_text(path) as packed, (folder / _TEXT).open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 1 << 22)
    errors = require("pyfaidx", extra="seq").FastaIndexingError, ValueError  # two records of one name: a ValueError
    try:
        _fasta(path, folder).close()
    except errors as err:
        raise InputError(
            f"seq.Genome: '{path}' cannot be indexed: {err}. "
            "Fix: give a FASTA file whose records have names of their own and lines of one length."
        ) from err
