"""What `setup` wrote down in ``uns["omicsfm"]``: the only module that knows its layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import numpy as np
from mudata import MuData

from omicsfm import __version__
from omicsfm._errors import InputError
from omicsfm.contract._recipes import RECIPES, recipe_for_name
from omicsfm.contract._types import SCHEMA_VERSION, Keys

SLOT = "omicsfm"


def state(mdata: MuData) -> Mapping[str, Any]:
    """Give what is recorded in ``uns["omicsfm"]``, or an empty mapping."""
    found = mdata.uns.get(SLOT, {})
    return found if isinstance(found, Mapping) else {}


def recorded(mdata: MuData, entry: str) -> dict[str, str]:
    """Give a recorded table of names (``keys`` or ``modalities``) as plain strings."""
    found = state(mdata).get(entry, {})
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, Mapping) else {}


def write_state(
    mdata: MuData,
    *,
    keys: Mapping[str, str],
    modalities: Mapping[str, str],
    organism: str | None,
    steps: list[str],
    measured_by: str | None,
    control: str | None = None,
) -> None:
    """Replace ``uns["omicsfm"]``; everything in it is text or a number, so that HDF5 and zarr hold it."""
    new: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "keys": dict(keys),
        "modalities": dict(modalities),
        "history": np.array(steps, dtype=object),
    }
    if organism is not None:
        new["organism"] = organism
    if measured_by is not None:
        new["measured_by"] = measured_by
    if control is not None:
        new["control"] = control
    optional = {"organism", "measured_by", "control"}
    other = {key: value for key, value in state(mdata).items() if key not in {*new, *optional}}
    mdata.uns[SLOT] = {**other, **new}


def keys(mdata: MuData) -> Keys:
    """Give the keys chosen in `setup`; all None for a MuData that was never set up."""
    known = recorded(mdata, "keys")
    return Keys(**{field.name: known.get(field.name) for field in fields(Keys)})


def organism_of(mdata: MuData) -> str | None:
    """Give the organism recorded by `setup`, or None."""
    found = state(mdata).get("organism")
    return None if found is None else str(found)


def control_of(mdata: MuData) -> str | None:
    """Give what the perturbation column calls a control, as told to `setup`, or None."""
    found = state(mdata).get("control")
    return None if found is None else str(found)


def measured_by(mdata: MuData) -> str | None:
    """Give the column of obs whose levels are the columns of ``varm["measured"]``."""
    found = state(mdata).get("measured_by", keys(mdata).batch)
    return None if found is None else str(found)


def recipe_of(mdata: MuData, mod: str) -> str:
    """Give the recipe of a modality: the one declared in `setup`, else the one its name stands for.

    Raises
    ------
    InputError
        If there is no such modality or neither says what it holds.
    """
    if mod not in mdata.mod:
        raise InputError(f"recipe_of: there is no modality '{mod}'. Fix: choose one of {', '.join(mdata.mod)}.")
    recipe = recorded(mdata, "modalities").get(mod) or recipe_for_name(mod)
    if recipe not in RECIPES:
        raise InputError(
            f"recipe_of: modality '{mod}' needs a recipe, found {recipe!r}. "
            f'Fix: ofm.setup(mdata, modalities={{"{mod}": "continuous"}}), or another of {", ".join(RECIPES)}.'
        )
    return recipe


def steps_of(mdata: MuData) -> list[str]:
    """Give the recorded history as it is stored, one JSON text per step."""
    return [str(step) for step in np.atleast_1d(np.asarray(state(mdata).get("history", []), dtype=object))]


def history(mdata: MuData) -> list[dict[str, Any]]:
    """Give the recorded steps, oldest first: dictionaries with ``step``, ``time`` (UTC), ``version`` and ``params``."""
    return [json.loads(step) for step in steps_of(mdata)]


def _plain(value: Any) -> Any:
    """Turn what JSON does not know into what it does."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return sorted(value) if isinstance(value, set | frozenset) else str(value)


def record(mdata: MuData, step: str, /, **params: Any) -> None:
    """Append one step to the provenance in ``uns["omicsfm"]["history"]``.

    Parameters
    ----------
    mdata
        The MuData, changed in place (only ``uns``).
    step
        Name of what was done, such as ``"setup"``.
    **params
        How it was done; stored as JSON, other types as their text.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entry = {"step": step, "time": now, "version": __version__, "params": params}
    write_state(
        mdata,
        keys=recorded(mdata, "keys"),
        modalities=recorded(mdata, "modalities"),
        organism=organism_of(mdata),
        steps=[*steps_of(mdata), json.dumps(entry, default=_plain)],
        measured_by=state(mdata).get("measured_by"),
        control=control_of(mdata),
    )
