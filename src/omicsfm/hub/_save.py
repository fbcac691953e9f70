"""Write a fitted estimator to a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as to_safetensors

from omicsfm._errors import InputError
from omicsfm.hub._folder import MANIFEST, WEIGHTS, is_model
from omicsfm.hub._manifest import compose
from omicsfm.hub._probe import checked
from omicsfm.hub._registry import SAVEABLES, is_registered
from omicsfm.hub._tree import flatten

# inputs, output, tolerance
Probe = tuple[Mapping[str, np.ndarray], np.ndarray] | tuple[Mapping[str, np.ndarray], np.ndarray, float]


def _check_target(target: Path, overwrite: bool) -> None:
    if not (target.exists() or target.is_symlink()):
        return
    if not target.is_dir():
        raise InputError(f"save: '{target}' is a file already. Fix: choose another name for the model's folder.")
    if not any(target.iterdir()):
        return  # an empty folder, made for the model: nothing is lost
    if not is_model(target):
        raise InputError(
            f"save: '{target}' holds something other than an omicsfm model and is never replaced. "
            "Fix: choose another name."
        )
    if not overwrite:
        raise InputError(f"save: there is a model in '{target}' already. Fix: pass overwrite=True to replace it.")


def _write(file: Path, content: bytes) -> None:
    with file.open("xb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())  # else a power cut can leave the new name with no bytes under it


def save(
    model: Any,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    extra: Mapping[str, Any] | None = None,
    probe: Probe | None = None,
) -> Path:
    """Save a fitted estimator: ``weights.safetensors`` and ``manifest.json`` in a folder of its own.

    The folder appears whole or not at all. The same model saved twice by the same versions gives the same bytes.

    Parameters
    ----------
    model
        Instance of a class marked `saveable`. Its parameters and the attributes that end in an underscore are stored;
        attributes that start with an underscore and do not end in one are taken for caches and left out.
    path
        The folder: new, empty, or (with `overwrite`) that of a saved model.
    overwrite
        Replace a saved model; nothing else is ever replaced.
    extra
        Any of ``training_data`` (fingerprint of the data fitted on), ``features`` (modality to list of feature names),
        ``metrics`` (numbers known at fit time; what is not finite is stored as null) and ``seed``.
    probe
        ``(inputs, output)`` or ``(inputs, output, tolerance)``: named arrays for ``model._probe_output``, what it makes
        of them, and the largest absolute difference (1e-4) that `load` lets pass. Checked here as well.

    Returns
    -------
    The folder.

    Raises
    ------
    InputError
        If the model is not `saveable` or holds what cannot be stored, `extra` or `probe` are not as above, or the
        folder cannot be written or replaced.
    """
    from omicsfm.io import atomic  # brings anndata and mudata, which nothing else here needs

    target = Path(path)
    if not is_registered(type(model), SAVEABLES):
        raise InputError(
            f"save: {type(model).__name__} is not registered as saveable. Fix: decorate the class with @hub.saveable."
        )
    tree, arrays = flatten(model)
    entry = None
    if probe is not None:
        inputs, output, tolerance = checked(model, probe)
        asked, probe_arrays = flatten({"inputs": inputs, "output": output}, prefix="probe")
        arrays.update(probe_arrays)
        entry = {"tree": asked, "tolerance": tolerance}
    weights = to_safetensors(arrays)
    text = compose(tree["saveable"], extra=extra, weights=weights, probe=entry)
    try:
        _check_target(target, overwrite)
        with atomic(target) as temporary:
            temporary.mkdir()
            _write(temporary / WEIGHTS, weights)
            _write(temporary / MANIFEST, text)
            _check_target(target, overwrite)  # again: another process may have saved there meanwhile
    except OSError as err:
        raise InputError(
            f"save: cannot write '{target}': {err.strerror}. Fix: choose a place with room where you may write."
        ) from err
    return target
