"""Read a MuData from disk, whatever the format."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from mudata import MuData

from omicsfm import _compat
from omicsfm._errors import InputError
from omicsfm.io._split import from_anndata

# What the readers raise on a file that is cut off, altered or of another kind.
_BROKEN = (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, NotImplementedError)
_DAMAGED = "Fix: fetch or write the file again; it is cut off, altered, or not what its suffix says."


def _reason(err: BaseException) -> str:
    words = str(err).strip("\"' ").split()
    return " ".join(words)[:300] or type(err).__name__


def _elements(group: Any, skip: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read every child of a group by itself; groups without an encoding are dictionaries (files of 2020)."""
    out = {}
    for name in group:
        if name in skip:
            continue
        child = group[name]
        if hasattr(child, "keys") and "encoding-type" not in child.attrs:
            out[name] = _elements(child)
        else:
            out[name] = _compat.read_elem(child)
    return out


def _anndata(group: Any) -> ad.AnnData:
    if "encoding-type" in group.attrs:
        adata = _compat.read_elem(group)
    else:
        with _compat.quiet():
            adata = ad.AnnData(**_elements(group, skip=("raw",)))
            if "raw" in group:
                raw = _elements(group["raw"])
                adata.raw = ad.AnnData(X=raw["X"], var=raw["var"], varm=raw.get("varm"), obs=adata.obs[[]])
    for index in (adata.obs.index, adata.var.index):
        index.name = None  # mudata 0.3 cannot join tables by indices of different names
    return adata


def _assemble(group: Any) -> MuData:
    """Build a MuData from an open HDF5 or zarr group that has `mod`."""
    mods = {name: _anndata(group["mod"][name]) for name in group["mod"]}
    order = [str(name) for name in group["mod"].attrs.get("mod-order", mods)]
    if sorted(order) == sorted(mods):
        mods = {name: mods[name] for name in order}
    axis = int(group.attrs.get("axis", 0))
    if axis != 0:
        raise InputError(
            f"read: needed a MuData whose modalities share cells (axis 0), found axis {axis}. "
            "Fix: build MuData({name: adata, ...}) with one AnnData per modality and write that."
        )
    parts = _elements(group, skip=("mod", "obsmap", "varmap"))
    slots = {slot: parts.get(slot, {}) for slot in _compat.SLOTS}
    return _compat.make_mudata(mods, parts["obs"], parts.get("var"), slots=slots, uns=parts.get("uns"))


def _h5mu(path: Path, backed: bool) -> MuData:
    with h5py.File(path, "r") as file:
        if "mod" not in file:
            what = "an h5ad file" if "obs" in file and "var" in file else "no MuData"
            raise InputError(f"read: '{path}' ends in .h5mu but holds {what}. Fix: give it the suffix of what it is.")
        if not backed:
            return _assemble(file)
        if any("encoding-type" not in file["mod"][name].attrs for name in file["mod"]):
            raise InputError(
                f"read: '{path}' is an h5mu file of 2020, which cannot be backed. "
                "Fix: omicsfm.io.write(omicsfm.io.read(path), 'new.h5mu') once, then open the new file."
            )
    return _compat.read_h5mu_backed(path)


def _h5ad(path: Path, backed: bool) -> MuData:
    adata = _compat.read_h5ad(path, backed=backed)
    if backed and "feature_types" in adata.var and adata.var["feature_types"].nunique() > 1:
        adata.file.close()
        raise InputError(
            f"read: '{path}' holds several modalities in one matrix, which cannot be split on disk. "
            "Fix: omicsfm.io.write(omicsfm.io.read(path), 'new.h5mu') once, then open that backed."
        )
    return from_anndata(adata)


def _h5(path: Path, backed: bool) -> MuData:
    with h5py.File(path, "r") as file:
        if "obs" in file and "var" in file:
            return _h5mu(path, backed) if "mod" in file else _h5ad(path, backed)
    if backed:
        raise InputError(
            f"read: '{path}' is a 10x file, which cannot be backed. Fix: read it into memory (backed=False)."
        )
    import scanpy

    with _compat.quiet():
        adata = scanpy.read_10x_h5(path, gex_only=False)
    return from_anndata(adata)


def _zarr(path: Path, backed: bool) -> MuData:
    if backed:
        raise InputError(f"read: '{path}' is zarr, which cannot be backed. Fix: read it into memory (backed=False).")
    import zarr

    with _compat.quiet():
        group = zarr.open_group(str(path), mode="r")
        return _assemble(group) if "mod" in group else from_anndata(_anndata(group))


_READERS: dict[str, Callable[[Path, bool], MuData]] = {".h5mu": _h5mu, ".zarr": _zarr, ".h5ad": _h5ad, ".h5": _h5}


def read(path: str | os.PathLike[str], *, backed: bool = False) -> MuData:
    """Read a MuData from ``.h5mu``, ``.zarr`` (MuData or AnnData), ``.h5ad`` or 10x ``.h5``.

    Parameters
    ----------
    path
        File, or folder for zarr. The suffix says what it is.
    backed
        Leave the matrices on disk (``.h5mu``, ``.h5ad``); the file stays open for reading.

    Returns
    -------
    MuData with axis 0. One AnnData is split by ``var["feature_types"]`` where it has them (Gene Expression -> rna,
    Peaks -> atac, Antibody Capture -> protein, CRISPR Guide Capture -> guide), else it is one modality, ``rna`` or,
    with features named like genome intervals, ``atac``. h5mu files of 2020 without encoding types are read too.

    Raises
    ------
    InputError
        If there is no such file, its suffix is unknown, or it is cut off or of another kind.
    """
    source = Path(path)
    reader = _READERS.get(source.suffix)
    if reader is None:
        raise InputError(
            f"read: unknown suffix '{source.suffix}' of '{source}'. Fix: give one of {', '.join(_READERS)}; "
            "other formats: read them with scanpy and build mudata.MuData({'rna': adata})."
        )
    if not source.exists():
        raise InputError(f"read: there is no '{source}'. Fix: check the path (working folder: '{Path.cwd()}').")
    if source.is_dir() != (source.suffix == ".zarr"):
        kind = "folder" if source.is_dir() else "file"
        raise InputError(f"read: '{source}' is a {kind}, which {source.suffix} is not. {_DAMAGED}")
    try:
        mdata = reader(source, backed)
    except InputError:
        raise
    except _BROKEN as err:
        raise InputError(f"read: could not read '{source}': {_reason(err)}. {_DAMAGED}") from err
    mask = mdata.obsm.get(_compat.MASK)
    if isinstance(mask, np.ndarray) and mask.shape == (mdata.n_obs, len(mdata.mod)):
        _compat.store_mask(mdata, pd.DataFrame(mask.astype(bool), index=mdata.obs_names, columns=list(mdata.mod)))
    return mdata
