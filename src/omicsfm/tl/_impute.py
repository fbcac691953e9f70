"""impute: a modality that cells lack, predicted from the others."""

from __future__ import annotations

import warnings
from typing import Any

from mudata import MuData

from omicsfm._errors import InputError, OmicsfmWarning
from omicsfm.tl._model import fitted, is_fitted, made_by, make, need_mudata
from omicsfm.tl._store import put_imputation


def impute(mdata: MuData, modality: str, model: Any = "auto", *, seed: int = 0) -> Any:
    """Predict a modality of every cell from its other modalities: ``obsm["imputed_<modality>"]``.

    ``..._sd``, ``..._lower`` and ``..._upper`` hold the sd and the conformal interval; all are tables (cells x
    features, float32) on the scale of the modality's recipe (rna: normalised, log; protein: CLR). Cells that have the
    modality are predicted too, from their other modalities, so that the prediction can be held against the measurement;
    one without any other modality gets the mean and the full spread. X is never touched. A '/' in a feature's name
    becomes '_'.

    Parameters
    ----------
    mdata
        Satisfies the contract. Written to.
    modality
        The modality to predict, by its name in training.
    model
        As in :func:`integrate`; a model fitted there can be given here.
    seed
        Seed of a model made here by name.

    Returns
    -------
    The fitted estimator.

    Raises
    ------
    InputError
        For a MuData that breaks the contract, or a model that cannot predict the modality.
    """
    made = make(model, "impute", seed=seed)
    if not is_fitted(made):
        need_mudata(mdata, "impute")
        if modality not in mdata.mod or len(mdata.mod) == 1:
            raise InputError(
                f"impute: '{modality}' cannot be learnt from {', '.join(mdata.mod)}. Fix: give cells that have it and "
                "another modality, or a model fitted on such cells."
            )
    found = fitted(mdata, made, "impute", seed=seed)
    with warnings.catch_warnings():  # said above, and by the sd
        warnings.filterwarnings("ignore", r"\d+ cells have no modality other than", OmicsfmWarning)
        predicted = found.impute(mdata, modality)
    put_imputation(mdata, modality, predicted, **made_by(found))
    return found
