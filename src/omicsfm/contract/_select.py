"""Cells and modalities chosen one by one, as if the rest had not been measured."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from mudata import MuData

from omicsfm import _compat
from omicsfm.contract._rows import labels
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
