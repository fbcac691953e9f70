"""The one place that knows how anndata and mudata differ between the two supported stacks.

mudata 0.3 warns on nearly every call about ``pull_on_update``, whose default changed in 0.4; with it off, 0.3.10 cannot
join tables whose index has a name, and 0.4.1 cannot write to zarr what it read from h5mu (``axis`` is a numpy integer).
Everything of ours that builds, copies, reads or writes a MuData goes through here and meets none of that.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import anndata as ad
import mudata
import numpy as np
import pandas as pd
from mudata import MuData

SLOTS = ("obsm", "varm", "obsp", "varp")
MASK = "modality_mask"


@contextmanager
def silent() -> Iterator[None]:
    """Run mudata and anndata calls without their warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Run mudata and anndata calls without their warnings and without pulling columns out of the modalities."""
    with silent():
        if hasattr(mudata, "set_options"):  # mudata 0.3
            # Not used as a context manager: it logs on entry, and logging.info() configures the root logger.
            previous = mudata.set_options(pull_on_update=False).opts["pull_on_update"]
            try:
                yield
            finally:
                mudata.set_options(pull_on_update=previous)
        else:
            with mudata.settings.override(pull_on_update=False):
                yield


def store_mask(mdata: MuData, mask: pd.DataFrame) -> None:
    """Put the modality mask into obsm, so that mudata can go on copying, filtering and updating.

    mudata 0.3 fails on any table in obsm as soon as it reorders cells (KeyError), unless ``pull_on_update`` is off, the
    default since 0.4. Where the user has not chosen, that default is taken here. With it 0.3.10 cannot join tables
    whose indices have different names: they lose them.
    """
    for holder in (mdata, *mdata.mod.values()):
        for axis in ("obs", "var"):
            names = getattr(holder, f"{axis}_names")
            if names.name is not None:
                getattr(holder, axis).index = names.rename(None)
    if hasattr(mudata, "set_options"):
        previous = mudata.set_options(pull_on_update=False).opts["pull_on_update"]
        if previous is not None:
            mudata.set_options(pull_on_update=previous)
    with silent():
        mdata.obsm[MASK] = mask


def _bare(table: pd.DataFrame) -> pd.DataFrame:
    """Index of a table, nameless, as a table without columns: mudata joins it without touching any dtype."""
    return pd.DataFrame(index=table.index.rename(None))


def make_mudata(
    mods: Mapping[str, ad.AnnData],
    obs: pd.DataFrame | None = None,
    var: pd.DataFrame | None = None,
    *,
    slots: Mapping[str, Mapping[str, Any]] | None = None,
    uns: Mapping[str, Any] | None = None,
) -> MuData:
    """Build a MuData (axis 0) with cells and features in the order of `obs` and `var`, columns untouched.

    Parameters
    ----------
    mods
        Modality name to AnnData (shared, not copied).
    obs, var
        Tables of all cells and all features; each index holds every one of every modality. Without them the order is
        that in which the modalities bring them.
    slots
        ``{"obsm": {...}, "varm": {...}, "obsp": {...}, "varp": {...}}``, aligned with `obs` and `var`. Entries named
        like a modality are left out: MuData keeps its membership there.
    uns
        Unstructured annotation.
    """
    index = {}
    for axis, table in (("obs", obs), ("var", var)):
        if table is not None and table.index.is_unique:
            index[axis] = _bare(table)
    with quiet():
        mdata = MuData(dict(mods), **index)
        for axis, table in (("obs", obs), ("var", var)):
            if table is None:
                continue
            names = getattr(mdata, f"{axis}_names")
            table = table.set_axis(table.index.rename(None), axis=0)
            if not names.equals(table.index):
                if not table.index.is_unique:
                    raise ValueError(f"{axis} names are not unique and cannot be put in order")
                table = table.reindex(names)
            setattr(mdata, axis, table)
        for slot, entries in (slots or {}).items():
            for key, value in entries.items():
                if key not in mods:
                    getattr(mdata, slot)[key] = value
        if uns:
            mdata.uns = dict(uns)
    return mdata


def add_modality(mdata: MuData, name: str, adata: ad.AnnData) -> None:
    """Add a modality in place; cells keep their order, columns of obs stay as they are."""
    names, obs = mdata.obs_names.copy(), pd.DataFrame(mdata.obs)
    with quiet():
        if name in mdata.mod:
            del mdata.mod[name]
            mdata.update()
        mdata.mod[name] = adata
        mdata.update()
        if not mdata.obs_names.equals(names):
            raise ValueError("the new modality holds cells that are not in mdata.obs")
        mdata.obs = obs


def _own(value: Any) -> Any:
    """Copy an aligned entry; deepcopy fails on those of mudata's views."""
    if isinstance(value, pd.DataFrame):
        return pd.DataFrame(value, copy=True)
    return np.array(value) if isinstance(value, np.ndarray) else value.copy()


def rebuild(mdata: MuData, *, deep: bool, drop: Collection[str] = ()) -> MuData:
    """Build `mdata` anew from its parts: a view becomes real, stale indices and odd types are gone.

    Parameters
    ----------
    mdata
        Any MuData with axis 0.
    deep
        Copy everything (not for backed data); otherwise share what can be shared.
    drop
        Modalities to leave out; ``mdata.var`` must not hold their features any more.
    """
    with quiet():
        mods = {name: adata.copy() if deep else adata for name, adata in mdata.mod.items() if name not in drop}
        slots = {
            slot: {k: _own(v) if deep else v for k, v in getattr(mdata, slot).items() if k not in mdata.mod}
            for slot in SLOTS
        }
        uns = {key: deepcopy(value) if deep else value for key, value in mdata.uns.items()}
        return make_mudata(mods, pd.DataFrame(mdata.obs), pd.DataFrame(mdata.var), slots=slots, uns=uns)


def read_h5mu_backed(path: Path) -> MuData:
    """Open an h5mu file with its matrices left on disk."""
    with quiet():
        return mudata.read_h5mu(path, backed=True)


def read_h5ad(path: Path, *, backed: bool = False) -> ad.AnnData:
    """Read an h5ad file."""
    with quiet():
        return ad.read_h5ad(path, backed="r" if backed else None)


def read_elem(group: Any) -> Any:
    """Read one anndata element from an open HDF5 or zarr group."""
    with quiet():
        return ad.io.read_elem(group)


def write(mdata: MuData, path: Path) -> None:
    """Write a MuData to `path`, an h5mu file or a zarr directory by its suffix.

    The mask goes to disk as a bare array, columns in the order of the modalities: mudata 0.3 cannot read a file with a
    table in obsm whose cells are in another order than its own.
    """
    fresh = rebuild(mdata, deep=False)
    with quiet():
        mask = fresh.obsm.get(MASK)
        if isinstance(mask, pd.DataFrame):
            if set(mask.columns) == set(fresh.mod):
                fresh.obsm[MASK] = mask[list(fresh.mod)].to_numpy(dtype=bool)
            else:
                del fresh.obsm[MASK]  # stale: a modality came or went
        try:
            with _plain_text():
                _write(fresh, path)
        except ValueError as err:
            if "allow_write_nullable_strings" not in str(err):
                raise
            _write(fresh, path)  # some text is missing, outside of obs and var: only the newer kind can say so


def _write(mdata: MuData, path: Path) -> None:
    if path.suffix == ".zarr":
        mudata.write_zarr(str(path), mdata)
    else:
        mudata.write_h5mu(path, mdata)


@contextmanager
def _plain_text() -> Iterator[None]:
    """Write text as anndata always has: with pandas 3, 0.13 takes a newer kind that readers in R may not know."""
    if ad.settings.allow_write_nullable_strings is None:
        with ad.settings.override(allow_write_nullable_strings=False):
            yield
    else:  # anndata 0.12, or the user's own choice
        yield
