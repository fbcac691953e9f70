"""What training data must be before a model looks at them."""

from __future__ import annotations

import warnings
from itertools import combinations

import numpy as np
from mudata import MuData
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from omicsfm import contract
from omicsfm._errors import InputError, OmicsfmWarning
from omicsfm.pp import Tokenizer

FEW_LINKS = 30


def check_training(mdata: MuData, *, joint: bool = True) -> None:
    """Check the contract, and that a model has something to learn from.

    Parameters
    ----------
    joint
        The model ties modalities together, so that some cells must link them.

    Raises
    ------
    InputError
        For a MuData that breaks the contract, one cell, or (`joint`) modalities that no chain of cells links.

    Warns
    -----
    OmicsfmWarning
        For one modality only, pairs linked only through a third, and few linking cells.
    """
    contract.check(mdata).raise_for_errors()
    if mdata.n_obs < 2:
        raise InputError(f"fit: at least 2 cells are needed, found {mdata.n_obs}. Fix: give more cells.")
    mods = list(mdata.mod)
    for mod in mods:
        if mdata.mod[mod].n_obs < 2 or mdata.mod[mod].n_vars < 2:
            raise InputError(
                f"fit: modality '{mod}' has shape {mdata.mod[mod].shape}; at least 2 cells and 2 features are needed. "
                "Fix: drop the modality."
            )
    if not joint:
        return
    if len(mods) == 1:
        warnings.warn(
            f"one modality only ('{mods[0]}'): cells are embedded and annotated, nothing can be imputed",
            OmicsfmWarning,
            stacklevel=3,
        )
        return
    mask = contract.modality_mask(mdata).to_numpy()
    shared = mask.T.astype(np.int64) @ mask
    n_parts, part = connected_components(csr_array(shared > 0), directed=False)
    if n_parts > 1:
        groups = " | ".join(", ".join(m for m, p in zip(mods, part, strict=True) if p == i) for i in range(n_parts))
        raise InputError(
            f"fit: no cell links these groups of modalities: {groups}; a joint state would be made up. Fix: add cells "
            "measured in both (even a few dozen), or model each group alone, for example "
            f"ofm.models.ModalityPCA(modality='{mods[0]}')."
        )
    for i, j in combinations(range(len(mods)), 2):
        if shared[i, j] == 0:
            warnings.warn(
                f"no cell has both '{mods[i]}' and '{mods[j]}': they are linked only through other modalities, and "
                "predictions between them rest on that chain alone",
                OmicsfmWarning,
                stacklevel=3,
            )
        elif shared[i, j] < FEW_LINKS:
            warnings.warn(
                f"only {shared[i, j]} cells have both '{mods[i]}' and '{mods[j]}': expect wide intervals",
                OmicsfmWarning,
                stacklevel=3,
            )


def check_query(mdata: MuData, tokenizer: Tokenizer) -> MuData:
    """Check a query as far as the model's modalities go: names, counts, and at least one cell.

    A query needs no ``ofm.setup``: its modalities are read by the recipes that the model learnt.
    """
    if isinstance(mdata, MuData) and any(adata.n_obs == 0 for adata in mdata.mod.values()) and mdata.n_obs:
        mdata = contract.subset(mdata, np.ones(mdata.n_obs, dtype=bool))  # a view that emptied a modality
    recipes = {mod: kind for mod, kind in tokenizer.recipe_names().items() if mod in getattr(mdata, "mod", {})}
    contract.check(mdata, modalities=recipes).raise_for_errors()
    return mdata
