"""Who was measured where, rebuilt from names each time: never from zeros, never from a stale mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData

from omicsfm import _compat
from omicsfm._errors import InputError
from omicsfm.contract._state import keys, measured_by


def _modality(mdata: MuData, mod: str, caller: str) -> Any:
    if mod not in mdata.mod:
        raise InputError(f"{caller}: there is no modality '{mod}'. Fix: choose one of {', '.join(mdata.mod)}.")
    return mdata.mod[mod]


def rows(mdata: MuData, mod: str) -> np.ndarray:
    """Give the position in ``mdata.obs_names`` of every row of a modality.

    Returns
    -------
    int64 array (n_obs of the modality,).

    Raises
    ------
    InputError
        If there is no such modality, names repeat, or it holds cells that ``mdata.obs`` does not.
    """
    names = _modality(mdata, mod, "rows").obs_names
    if not (mdata.obs_names.is_unique and names.is_unique):
        raise InputError("rows: obs names must be unique. Fix: run ofm.check(mdata), which lists where they repeat.")
    found = mdata.obs_names.get_indexer(names).astype(np.int64, copy=False)
    if (found < 0).any():
        raise InputError(
            f"rows: {int((found < 0).sum())} cells of modality '{mod}' are not in mdata.obs. Fix: mdata.update()."
        )
    return found


def modality_mask(mdata: MuData) -> pd.DataFrame:
    """Tell which cell was measured in which modality.

    Returns
    -------
    bool DataFrame (n_obs x n_mod), index ``mdata.obs_names``, columns in the order of ``mdata.mod``.

    Raises
    ------
    InputError
        As :func:`rows`.
    """
    mask = np.zeros((mdata.n_obs, len(mdata.mod)), dtype=bool)
    for j, mod in enumerate(mdata.mod):
        mask[rows(mdata, mod), j] = True
    return pd.DataFrame(mask, index=mdata.obs_names, columns=list(mdata.mod))


def column(mdata: MuData, name: str, caller: str) -> pd.Series:
    """Give a column of ``mdata.obs`` as objects, text where not missing, NaN where missing."""
    if name not in mdata.obs.columns:
        raise InputError(
            f"{caller}: obs has no column '{name}', which setup() was told of. "
            "Fix: run ofm.setup(mdata, ...) again with a column that is there."
        )
    values = mdata.obs[name].astype(object)
    missing = values.isna().to_numpy()
    return pd.Series(
        np.where(missing, np.nan, values.astype(str).to_numpy(dtype=object)), index=mdata.obs_names, dtype=object
    )


def batches(mdata: MuData) -> pd.Series:
    """Give the batch of every cell.

    Returns
    -------
    Categorical Series (n_obs,) of text, categories sorted and all in use; the constant ``"all"`` where `setup` was
    given no batch key.
    """
    key = keys(mdata).batch
    if key is None:
        return pd.Series(pd.Categorical(["all"] * mdata.n_obs, categories=["all"]), index=mdata.obs_names, name="batch")
    values = column(mdata, key, "batches")
    if values.isna().any():
        raise InputError(
            f"batches: {int(values.isna().sum())} cells have no '{key}'. Fix: give every cell a batch in mdata.obs."
        )
    levels = sorted(set(values))
    return pd.Series(pd.Categorical(values, categories=levels), index=mdata.obs_names, name=key)


def labels(mdata: MuData) -> pd.Series:
    """Give the label of every cell.

    Returns
    -------
    Series (n_obs,) of text; NaN = unlabelled.

    Raises
    ------
    InputError
        If `setup` was given no label key.
    """
    key = keys(mdata).label
    if key is None:
        raise InputError('labels: no label key was set. Fix: ofm.setup(mdata, label_key="...").')
    return column(mdata, key, "labels").rename(key)


def measured(mdata: MuData, mod: str) -> np.ndarray | None:
    """Tell which features of a modality were measured for which of its cells.

    Returns
    -------
    bool array (n_obs of the modality, n_vars), from ``varm["measured"]`` (n_vars x batch levels); None = all of them.

    Raises
    ------
    InputError
        If the table has no column for the batch of a cell.
    """
    adata = _modality(mdata, mod, "measured")
    table = adata.varm.get("measured")
    if table is None:
        return None
    key = measured_by(mdata)
    if key is None:
        raise InputError(
            f"measured: varm['measured'] of '{mod}' goes by batch, and no batch key was set. "
            'Fix: ofm.setup(mdata, batch_key="...").'
        )
    levels = column(mdata, key, "measured").to_numpy()[rows(mdata, mod)]
    position = pd.Index(table.columns.astype(str)).get_indexer(pd.Index(levels, dtype=object))
    if (position < 0).any():
        missing = sorted({str(level) for level in levels[position < 0]})
        raise InputError(
            f"measured: varm['measured'] of '{mod}' has no column for {key} = {', '.join(missing[:5])}. "
            "Fix: add a bool column per level: which features were measured there."
        )
    return np.asarray(table, dtype=bool).T[position]


def subset(mdata: MuData, cells: Any) -> MuData:
    """Copy some of the cells, with `modality_mask` rebuilt and without the modalities that none of them has.

    Parameters
    ----------
    mdata
        The MuData; unchanged.
    cells
        Names, positions, a bool mask or a slice, as in ``mdata[cells]``.

    Returns
    -------
    MuData in memory, cells in the order asked for.
    """
    with _compat.quiet():
        view = mdata[cells]
        gone = {name for name, adata in view.mod.items() if not adata.n_obs}
        if gone and len(gone) < len(view.mod):
            kept = np.concatenate([adata.var_names for name, adata in view.mod.items() if name not in gone])
            view = mdata[cells, kept]
        else:
            gone = set()
        out = _compat.rebuild(view, deep=True, drop=gone)
    _compat.store_mask(out, modality_mask(out))
    return out
