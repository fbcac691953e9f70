"""observed: what was measured, on the scale on which a model predicts it."""

from __future__ import annotations

from typing import Any

import pandas as pd
from mudata import MuData

from omicsfm._errors import InputError
from omicsfm.tl._store import column_names


def observed(mdata: MuData, modality: str, model: Any) -> pd.DataFrame:
    """Give what was measured of a modality on the scale on which a model imputes it, to hold predictions against.

    Parameters
    ----------
    mdata
        Cells, some of them measured in `modality`, in raw values. Not written to.
    modality
        By its name in training.
    model
        The fitted estimator that imputes: what :func:`impute` gave back.

    Returns
    -------
    DataFrame
        (n_obs, n_vars): cells of `mdata`, features and their names as in ``obsm["imputed_<modality>"]``; rna:
        normalised, log; protein: CLR. NaN where nothing was measured.

    Raises
    ------
    InputError
        If the model is not fitted or does not know the modality, or no cell was measured in it.
    """
    tokenizer = getattr(model, "tokenizer_", None)
    if tokenizer is None:
        raise InputError(
            f"observed: a fitted model is needed, found {type(model).__name__}. "
            "Fix: model = ofm.tl.impute(mdata, modality)."
        )
    known = [mod for mod in tokenizer.var_names_ if mod in mdata.mod]
    if modality not in known:
        raise InputError(
            f"observed: '{modality}' is not measured here, or the model does not know it. "
            f"Fix: choose one of {', '.join(known) or 'the modalities it was fitted on'}."
        )
    table = tokenizer.table(mdata, modality)
    return table.set_axis(column_names(table.columns), axis=1)
