"""The manifest: who wrote a model, with what, from which data; sealed with a hash of itself."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from omicsfm import __version__
from omicsfm._errors import InputError

FORMAT = "omicsfm-model"
SCHEMA_VERSION = 1
SEAL = "manifest_sha256"
_PACKAGES = ("anndata", "mudata", "numpy", "pandas", "safetensors", "scikit-learn", "scipy")
_EXTRA = ("features", "metrics", "seed", "training_data")
_FIELDS = {
    *("format", "schema_version", "class", "params", "tree", "versions", "python", *_EXTRA),
    *("features_sha256", "weights_sha256", "probe", SEAL),
}


class Damaged(ValueError):
    """The text is not a manifest as it was written; says why, in a few words."""


def sha256(data: bytes) -> str:
    """Give the SHA-256 of some bytes as hexadecimal text."""
    return hashlib.sha256(data).hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def _features_sha256(features: Mapping[str, list[str]]) -> dict[str, str]:
    return {modality: sha256(_canonical(names).encode()) for modality, names in features.items()}


def versions() -> dict[str, str]:
    """Give the versions that decide what a model computes; torch only where it is loaded."""
    found = {"omicsfm": __version__}
    for package in (*_PACKAGES, *(("torch",) if "torch" in sys.modules else ())):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a package without metadata, as in a frozen application
            continue
    return found


def _readable(value: Any, where: str) -> Any:
    """Turn metrics into plain JSON; a number that is not finite becomes null."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _readable(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_readable(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise InputError(
        f"save: {where} must be numbers and strings, in lists and dictionaries; found {type(value).__name__}. "
        "Fix: reduce it to these."
    )


def _names(modality: str, names: Iterable[str]) -> list[str]:
    found = [str(name) if isinstance(name, np.str_) else name for name in names]
    if isinstance(names, str) or not all(type(name) is str for name in found):
        raise InputError(
            f"save: extra['features'][{modality!r}] must be a list of names, found something else in it. "
            "Fix: give list(adata.var_names)."
        )
    return found


def compose(
    node: Mapping[str, Any], *, extra: Mapping[str, Any] | None, weights: bytes, probe: Mapping[str, Any] | None
) -> bytes:
    """Write the manifest of a model.

    Parameters
    ----------
    node
        The body of the model's ``saveable`` node: class, params, attributes.
    extra
        Any of ``training_data`` (fingerprint), ``features`` (modality to list of names), ``metrics``, ``seed``.
    weights
        The content of the weights file.
    probe
        Tree and tolerance of the probe, or None.

    Returns
    -------
    The sealed text, ASCII, one entry a line; no time in it, so that the same model gives the same bytes.
    """
    told = dict(extra or {})
    unknown = sorted(set(told) - set(_EXTRA))
    if unknown:
        raise InputError(f"save: extra may hold {', '.join(_EXTRA)}; found {unknown}. Fix: remove them.")
    features = {str(mod): _names(mod, names) for mod, names in (told.get("features") or {}).items()}
    entries = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "class": node["class"],
        "params": node["params"],
        "tree": node["attributes"],
        "versions": versions(),
        "python": platform.python_version(),
        "training_data": _readable(told.get("training_data"), "extra['training_data']"),
        "features": features,
        "features_sha256": _features_sha256(features),
        "metrics": _readable(told.get("metrics") or {}, "extra['metrics']"),
        "seed": _readable(told.get("seed"), "extra['seed']"),
        "weights_sha256": sha256(weights),
        "probe": probe,
    }
    return seal(entries)


def seal(entries: Mapping[str, Any]) -> bytes:
    """Write entries as a manifest that carries the hash of all others."""
    content = {key: value for key, value in entries.items() if key != SEAL}
    content[SEAL] = sha256(_canonical(content).encode())
    lines = (f"{_canonical(key)}: {_canonical(value)}" for key, value in sorted(content.items()))
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode("ascii")


def parse(text: bytes) -> dict[str, Any]:
    """Read the text of a manifest, whatever its schema version.

    Raises
    ------
    Damaged
        If it is not JSON, or not one of ours.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise Damaged("it is not JSON") from err
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise Damaged("it is not that of an omicsfm model")
    if type(found.get("schema_version")) is not int or found["schema_version"] < 1:
        raise Damaged("it has no schema version")
    return found


def verify(entries: Mapping[str, Any], text: bytes) -> None:
    """Check a parsed manifest of this schema version against its own hashes and the bytes it was read from.

    Raises
    ------
    Damaged
        If anything was changed after it was written.
    """
    try:
        intact = seal(entries) == text  # to the byte: nothing can hide in spaces or in a key given twice
    except ValueError:  # a NaN, which JSON from us never holds
        intact = False
    if not intact:
        raise Damaged("it does not match its own sha256")
    if set(entries) != _FIELDS:
        raise Damaged(f"entries are missing or unknown: {sorted(set(entries) ^ _FIELDS)}")
    if not isinstance(entries["features"], dict):
        raise Damaged("its features are no table")
    if entries["features_sha256"] != _features_sha256(entries["features"]):
        raise Damaged("its feature names do not match their sha256: they are those of another model")
