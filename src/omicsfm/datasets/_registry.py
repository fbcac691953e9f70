"""Find and read `data_registry.yaml`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import yaml

from omicsfm._errors import InputError
from omicsfm.datasets._schema import Entry, Registry, parse

_FILE = "data_registry.yaml"
_PACKAGE = Path(__file__).resolve().parents[1]
_CHECKOUT = _PACKAGE.parents[1]


def checkout() -> Path | None:
    """Return the top of the source checkout this package runs from, or None for an installed wheel."""
    return _CHECKOUT if (_CHECKOUT / _FILE).is_file() and (_CHECKOUT / "pyproject.toml").is_file() else None


def read(path: Path) -> Registry:
    """Read and validate a registry file.

    Raises
    ------
    InputError
        If the file is no YAML, or for every field that the schema does not allow.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as err:
        what = " ".join(str(err).split())
        raise InputError(f"registry: {path.name} must be YAML, found: {what}. Fix: mend that line.") from err
    return parse(data, origin=path.name)


@lru_cache(maxsize=1)
def registry() -> Registry:
    """Return the registry of all data sets, read once and validated.

    Raises
    ------
    InputError
        If `data_registry.yaml` breaks its schema: one line for every bad field.
    """
    top = checkout()
    return read(top / _FILE if top is not None else _PACKAGE / _FILE)


def info(name: str) -> Entry:
    """Return what the registry knows of one data set; `print()` shows it in full.

    Raises
    ------
    InputError
        If there is no such data set.
    """
    return registry().get(name)
