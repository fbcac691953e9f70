"""Keys with a '/': HDF5 nests at it without a word, zarr refuses it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mudata import MuData

from omicsfm import _compat


def _nested(mapping: Mapping[Any, Any], path: str) -> Iterator[str]:
    for key, value in mapping.items():
        place = f"{path}[{str(key)!r}]"
        if "/" in str(key):
            yield place
        if isinstance(value, Mapping):
            yield from _nested(value, place)


def slash_keys(mdata: MuData, *, columns: bool = False) -> dict[str | None, list[str]]:
    """Find keys that hold a '/'.

    Parameters
    ----------
    mdata
        The MuData.
    columns
        Look at the columns of obs and var too.

    Returns
    -------
    Modality (None = the whole) to the places, such as ``uns['a/b']``; only those that have any.
    """
    bad_names = [mod for mod in mdata.mod if "/" in mod]
    places: dict[str | None, list[str]] = {mod: [f"the modality's name '{mod}'"] for mod in bad_names}
    for mod, holder in [(None, mdata), *mdata.mod.items()]:
        if mod in bad_names:
            continue
        slots = ("uns", *_compat.SLOTS) if mod is None else ("uns", "layers", *_compat.SLOTS)
        found = [place for slot in slots for place in _nested(dict(getattr(holder, slot)), slot)]
        if columns:
            for axis in ("obs", "var"):
                found += _nested(dict.fromkeys(getattr(holder, axis).columns), axis)
        if mod is None:  # MuData repeats the name of a modality as a key of its own obsm and varm
            found = [place for place in found if not any(repr(name) in place for name in bad_names)]
        if found:
            places[mod] = found
    return places
