"""Build an estimator from the folder it was saved to."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as from_safetensors

from omicsfm._errors import InputError
from omicsfm.hub._folder import WEIGHTS, read_verified
from omicsfm.hub._manifest import versions
from omicsfm.hub._probe import deviation
from omicsfm.hub._tree import unflatten


def _arrays(folder: Path, weights: bytes) -> dict[str, np.ndarray]:
    try:
        found = from_safetensors(weights)
    except (SafetensorError, KeyError) as err:
        raise InputError(
            f"load: '{folder / WEIGHTS}' is not a safetensors file of NumPy arrays ({err}). Fix: save the model anew."
        ) from err
    # Older safetensors give views of read-only bytes; a fitted model's arrays can be written to.
    return {name: array if array.flags.writeable else array.copy() for name, array in found.items()}


def _told(packages: Mapping[str, str], python: str) -> str:
    return ", ".join(f"{name} {release}" for name, release in [("python", python), *sorted(packages.items())])


def _check_probe(folder: Path, model: Any, manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    probe = manifest["probe"]
    if probe is None:
        return
    asked = unflatten(probe["tree"], arrays)
    found = deviation(model, asked["inputs"], asked["output"])
    if isinstance(found, str) or not found <= probe["tolerance"]:
        size = found if isinstance(found, str) else f"it is off by {found:.3g}"
        raise InputError(
            f"load: the model in '{folder}' no longer computes what it did when saved (within {probe['tolerance']:g}): "
            f"{size}. Written with {_told(manifest['versions'], manifest['python'])}; "
            f"read with {_told(versions(), platform.python_version())}. "
            "Fix: install the versions that wrote it, or fit and save it anew."
        )


def load(path: str | os.PathLike[str]) -> Any:
    """Load a saved estimator. Nothing named in the files is imported or run: only registered classes are built.

    Parameters
    ----------
    path
        Folder that `save` wrote.

    Returns
    -------
    The estimator with the parameters and learnt attributes it had, arrays equal to the bit.

    Raises
    ------
    InputError
        If the folder is no model; a file is missing, altered, cut or from a later omicsfm; the class is not registered
        here; an array is missing or of another dtype or shape; or the model no longer reproduces its probe.
    """
    folder, manifest, weights = read_verified(path, "load")
    arrays = _arrays(folder, weights)
    body = {"class": manifest["class"], "params": manifest["params"], "attributes": manifest["tree"]}
    try:
        model = unflatten({"saveable": body}, arrays)
    except InputError as err:
        raise InputError(f"load: the model in '{folder}' cannot be built: {err}") from err
    _check_probe(folder, model, manifest, arrays)
    return model
