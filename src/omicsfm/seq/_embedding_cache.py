"""Vectors kept on disk by what they are made of, so that no network reads a sequence twice."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from functools import wraps
from importlib.metadata import version
from pathlib import Path

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy import sparse

from omicsfm._errors import InputError
from omicsfm.hub._manifest import sha256
from omicsfm.io._atomic import atomic
from omicsfm.seq._embedders import Embedder
from omicsfm.seq._provenance import code_sha256

_BLOCK = 1024  # sequences embedded between two writes: what a killed run loses at most


def cached(made: Embedder, folder: str | os.PathLike[str]) -> Embedder:
    """Keep what an embedder computes in a folder, and look there first.

    Parameters
    ----------
    made
        Any embedder that gives arrays.
    folder
        Made if it is absent; may be shared by embedders and by processes. Removing it loses nothing but time.

    Returns
    -------
    Embedder with the same name and provenance.

    Notes
    -----
    A vector is found by the SHA-256 of its sequence, in a folder named by that of name, parameters, facts (the hash of
    the weights among them), code and versions. Every 1,024 sequences a file is written beside the others and renamed,
    under a lock: of two processes one computes and the other waits and reads.
    """
    packages = {package: version(package) for package in made.packages}
    told = [made.name, dict(made.params), dict(made.facts), code_sha256(made), packages]
    place = Path(folder) / sha256(json.dumps(told, sort_keys=True).encode())[:32]

    @wraps(made.embed)
    def embed(sequences: list[str]) -> np.ndarray:
        keys = [hashlib.sha256(sequence.encode()).digest() for sequence in sequences]
        parts = []
        for start in range(0, len(sequences), _BLOCK):
            rows = slice(start, start + _BLOCK)
            parts.append(_through(made, place, sequences[rows], keys[rows]))
        return np.concatenate(parts) if parts else made.embed([])

    return replace(made, embed=embed)


def _through(made: Embedder, place: Path, sequences: list[str], keys: list[bytes]) -> np.ndarray:
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / ".lock"):
        known = _read(place, set(keys))
        missing = {key: sequence for key, sequence in zip(keys, sequences, strict=True) if key not in known}
        if missing:
            values = made.embed(list(missing.values()))
            if sparse.issparse(values):
                raise InputError(
                    f"seq.cached: '{made.name}' gives a sparse matrix, which is as fast to compute as to read. "
                    "Fix: use it as it is."
                )
            known |= dict(zip(missing, values, strict=True))
            table = np.frombuffer(b"".join(missing), dtype=np.uint8).reshape(-1, 32)
            name = sha256(table.tobytes())[:32]
            with atomic(place / f"{name}.safetensors") as path:
                save_file({"keys": table, "values": np.ascontiguousarray(values)}, path)
    return np.stack([known[key] for key in keys])


def _read(place: Path, wanted: set[bytes]) -> dict[bytes, np.ndarray]:
    """Give the vectors that are there, of those that are wanted."""
    found: dict[bytes, np.ndarray] = {}
    for path in sorted(place.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as file:
                keys = [row.tobytes() for row in file.get_tensor("keys")]
                if wanted.isdisjoint(keys):
                    continue
                values = file.get_tensor("values")
        except SafetensorError as err:
            raise InputError(f"seq.cached: '{path}' is damaged ({err}). Fix: remove it; it will be made anew.") from err
        found |= {key: value for key, value in zip(keys, values, strict=True) if key in wanted}
    return found
