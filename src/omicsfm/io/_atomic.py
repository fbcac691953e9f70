"""Write beside the target, rename at the end: a killed run leaves no half file and the old one whole."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omicsfm._errors import InputError


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary sibling of `path`, which takes its name once the block has ended without an error.

    Parameters
    ----------
    path
        Where the result shall stand. Missing parent folders are made. The block writes a file or makes a folder.

    Yields
    ------
    Path with the same suffix in the same folder, not there yet, its name starting with a dot.

    Raises
    ------
    InputError
        If the folder cannot be used, or a folder would replace a file or a file a folder.

    Notes
    -----
    A file is replaced in one step (``os.replace``). A folder takes two renames: the old one steps aside to
    ``.NAME.TOKEN.old`` and the new one takes its place, so a kill between the two loses neither.
    """
    target = Path(path)
    token = secrets.token_hex(4)
    temporary = target.with_name(f".{target.stem}.{token}.tmp{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise InputError(
            f"atomic: cannot use the folder '{target.parent}': {err.strerror}. Fix: choose another place to write to."
        ) from err
    try:
        yield temporary
        if target.exists() and target.is_dir() != temporary.is_dir():
            kind = "folder" if target.is_dir() else "file"
            raise InputError(
                f"atomic: '{target}' is a {kind} already and the result is not. Fix: remove it or choose another name."
            )
        if temporary.is_dir() and target.exists():
            aside = target.with_name(f".{target.name}.{token}.old")
            os.replace(target, aside)
            os.replace(temporary, target)
            _remove(aside)
        else:
            if temporary.is_file():
                with temporary.open("rb") as handle:
                    os.fsync(handle.fileno())  # else a power cut can leave the new name with no bytes under it
            os.replace(temporary, target)
    finally:
        _remove(temporary)
