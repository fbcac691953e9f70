"""Cells and modalities chosen one by one, as if the rest had not been measured."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from mudata import MuData

from omicsfm import _compat
from omicsfm._errors import InputError
from omicsfm.contract._rows import labels, modality_mask
from omicsfm.contract._rows import rows as rows_of
from omicsfm.contract._setup import setup
from omicsfm.contract._state import keys


def select(mdata: MuData, has: Mapping[str, np.ndarray], *, unlabelled: np.ndarray | None = None) -> MuData:
    """Give a copy in which a cell was measured in a modality only where `has` (bool over obs) says so.

    Cells and modalities that are left with nothing are gone; what `setup` recorded stays.

    Parameters
    ----------
    has
        Modality to bool array (n_obs,); modalities not named are left out.
    unlabelled
        bool array (n_obs,): cells whose label is hidden.
    """
    obs = pd.DataFrame(mdata.obs)
    key = keys(mdata).label
    hide = unlabelled is not None and key is not None
    if hide:
        obs = obs.assign(**{str(key): labels(mdata).where(~np.asarray(unlabelled))})
    mods, left = {}, np.zeros(mdata.n_obs, dtype=bool)
    with _compat.silent():  # anndata sets a deprecated pandas option where a view loses categories
        for mod, cells in has.items():
            rows = rows_of(mdata, mod)
            keep = cells[rows]
            if not keep.any():
                continue
            part = mdata.mod[mod][keep]
            mods[mod] = part.to_memory() if part.isbacked else part.copy()
            if hide and key in mods[mod].obs.columns:
                del mods[mod].obs[key]
            left[rows[keep]] = True
    out = _compat.make_mudata(mods, obs[left], uns=dict(mdata.uns))
    setup(out)  # the mask anew, with the keys and recipes that stand in uns
    return out


def hide(mdata: MuData, modality: str, cells: np.ndarray) -> MuData:
    """Give a copy in which some cells were not measured in a modality: to hold it out, and ask for it.

    The values are out of reach there, not merely unused; a cell that is left with nothing is gone.

    Parameters
    ----------
    mdata
        Satisfies the contract.
    modality
        What is hidden; the others stay.
    cells
        bool array (n_obs,).

    Raises
    ------
    InputError
        If there is no such modality, `cells` is no bool array over obs, or nothing would be left.
    """
    chosen = np.asarray(cells)
    if modality not in mdata.mod:
        raise InputError(f"hide: there is no modality '{modality}'. Fix: choose one of {', '.join(mdata.mod)}.")
    if chosen.dtype != bool or chosen.shape != (mdata.n_obs,):
        raise InputError(
            f"hide: a bool for each of {mdata.n_obs:,} cells is needed, found {chosen.dtype} of shape {chosen.shape}. "
            "Fix: such as (mdata.obs['batch'] == 'p4').to_numpy()."
        )
    mask = modality_mask(mdata)
    if not (mask.drop(columns=modality).any(axis=1).to_numpy() | (mask[modality].to_numpy() & ~chosen)).any():
        raise InputError(f"hide: without '{modality}' no cell is left. Fix: hide it from fewer cells.")
    return select(mdata, {mod: mask[mod].to_numpy() & ~(chosen & (mod == modality)) for mod in mdata.mod})
