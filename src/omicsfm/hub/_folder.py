"""Find a model folder and read its two files, verified before anything is made of them."""

from __future__ import annotations

import os
import warnings
from glob import escape
from pathlib import Path
from typing import Any

from omicsfm._errors import InputError, OmicsfmWarning
from omicsfm.hub._manifest import SCHEMA_VERSION, Damaged, parse, sha256, verify

WEIGHTS = "weights.safetensors"
MANIFEST = "manifest.json"
_ANEW = "copy the folder again from where it came, or save the model anew"


def is_model(folder: Path) -> bool:
    """Tell whether a folder holds an omicsfm model and nothing else, so that replacing it loses only that."""
    try:
        parse((folder / MANIFEST).read_bytes())
    except (OSError, Damaged):
        return False
    return {entry.name for entry in folder.iterdir()} <= {WEIGHTS, MANIFEST}


def _locate(path: str | os.PathLike[str], caller: str) -> Path:
    folder = Path(path)
    if folder.is_file():
        raise InputError(f"{caller}: needed a model folder, found the file '{folder}'. Fix: give the folder it is in.")
    if not folder.exists():
        # io.atomic replaces a folder by two renames: killed between them, the old one stands beside its name.
        aside = [p for p in folder.parent.glob(f".{escape(folder.name)}.*.old") if is_model(p)] if folder.name else []
        if len(aside) != 1:
            raise InputError(
                f"{caller}: there is no folder '{folder}'. Fix: check the path, or save a model there first."
            )
        warnings.warn(
            f"{caller}: a save to '{folder}' was killed while it replaced the model; the one before is read from "
            f"'{aside[0]}'. Rename that folder to keep it.",
            OmicsfmWarning,
            stacklevel=4,  # the caller of load() or manifest()
        )
        return aside[0]
    return folder


def _read(file: Path, caller: str) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as err:
        raise InputError(
            f"{caller}: '{file.parent}' is not a whole omicsfm model: it has no {file.name}. "
            f"Fix: give the folder that save() wrote, or {_ANEW}."
        ) from err
    except OSError as err:
        raise InputError(f"{caller}: cannot read '{file}': {err.strerror}. Fix: make it a readable file.") from err


def read_verified(path: str | os.PathLike[str], caller: str) -> tuple[Path, dict[str, Any], bytes]:
    """Read both files of a model folder and check every hash.

    Returns
    -------
    The folder, the manifest and the bytes of the weights file; the bytes that were checked are those that are given.

    Raises
    ------
    InputError
        If anything is missing, altered, or written by a later omicsfm.
    """
    folder = _locate(path, caller)
    text = _read(folder / MANIFEST, caller)
    try:
        entries = parse(text)
        if entries["schema_version"] > SCHEMA_VERSION:
            written = entries.get("versions")
            release = (written.get("omicsfm") if isinstance(written, dict) else None) or "its newest release"
            raise InputError(
                f"{caller}: '{folder}' has schema version {entries['schema_version']}, this omicsfm reads up to "
                f"{SCHEMA_VERSION}. Fix: update omicsfm, from its repository, to {release} or later."
            )
        verify(entries, text)
    except Damaged as err:
        raise InputError(f"{caller}: '{folder / MANIFEST}' was altered or cut: {err}. Fix: {_ANEW}.") from err
    weights = _read(folder / WEIGHTS, caller)
    if sha256(weights) != entries["weights_sha256"]:
        raise InputError(
            f"{caller}: '{folder / WEIGHTS}' was altered or cut: its sha256 is not the one in the manifest "
            f"({len(weights)} bytes found). Fix: {_ANEW}."
        )
    return folder, entries, weights


def manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the manifest of a saved model, with every hash checked, without building the model.

    Parameters
    ----------
    path
        Folder that `save` wrote.

    Returns
    -------
    Dictionary with ``format``, ``schema_version``, ``class``, ``params``, ``tree``, ``versions``, ``python``,
    ``training_data``, ``features``, ``features_sha256``, ``metrics``, ``seed``, ``weights_sha256``, ``probe`` and
    ``manifest_sha256``.

    Raises
    ------
    InputError
        If the folder is no model, or a file of it is missing, altered, cut or from a later omicsfm.
    """
    return read_verified(path, "manifest")[1]
