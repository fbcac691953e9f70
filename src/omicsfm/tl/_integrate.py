"""integrate: a cell state for every cell."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from mudata import MuData

from omicsfm.tl._model import fitted, made_by
from omicsfm.tl._store import put_embedding


def integrate(mdata: MuData, model: Any = "auto", *, key_added: str = "X_mosaic", seed: int = 0) -> Any:
    """Give every cell a state that can be compared across modalities and batches: ``obsm[key_added]``.

    Where the model says how sure it is, ``obsm["<key_added>_sd"]`` holds the sd. What was done is written to the
    history (``ofm.contract.history``).

    Parameters
    ----------
    mdata
        Satisfies the contract; batches, if any, as told to ``ofm.setup(batch_key=...)``. Written to.
    model
        "auto" (the stack of :func:`omicsfm.models.auto_model`), a registered name, or an estimator. One that is
        fitted already is only asked; another is fitted here.
    key_added
        Slot of obsm.
    seed
        Seed of a model made here by name.

    Returns
    -------
    The fitted estimator: give it to :func:`impute` and :func:`annotate`, save it, map other cells with it.

    Raises
    ------
    InputError
        For a MuData that breaks the contract, or a model that does not embed.
    """
    found = fitted(mdata, model, "embed", seed=seed)
    put_embedding(mdata, *states(found, mdata), key=key_added, **made_by(found))
    return found


def states(model: Any, mdata: MuData) -> tuple[np.ndarray, np.ndarray | None]:
    """Give the states of cells (n_obs, n_latent), and their sd where the model knows it."""
    if "return_sd" not in inspect.signature(model.embed).parameters:
        return model.embed(mdata), None
    mean, sd = model.embed(mdata, return_sd=True)
    return mean, sd if np.isfinite(sd).all() else None
