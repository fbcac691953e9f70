"""annotate: a label for every cell, with calibrated confidence."""

from __future__ import annotations

from typing import Any

from mudata import MuData

from omicsfm import contract
from omicsfm._errors import InputError
from omicsfm.tl._model import fitted, is_fitted, made_by, make, need_mudata
from omicsfm.tl._store import put_labels


def annotate(mdata: MuData, model: Any = "auto", *, key_added: str = "label_mosaic", seed: int = 0) -> Any:
    """Label every cell: ``obs[key_added]``, ``obs["<key_added>_confidence"]`` and ``obs["<key_added>_unknown"]``.

    Labels are learnt from the cells that have one (``ofm.setup(label_key=...)``; NaN: unlabelled). A cell is unknown
    where its confidence is low or it is far from every training cell of its label.

    Parameters
    ----------
    mdata
        Satisfies the contract. Written to; the labels it came with stay as they are.
    model
        As in :func:`integrate`; a model fitted there on labelled cells can be given here.
    key_added
        Column of obs, and start of the other two.
    seed
        Seed of a model made here by name.

    Returns
    -------
    The fitted estimator.

    Raises
    ------
    InputError
        For a MuData that breaks the contract, no labels to learn from, or a model that does not annotate.
    """
    made = make(model, "annotate", seed=seed)
    if not is_fitted(made):
        need_mudata(mdata, "annotate")
        if contract.keys(mdata).label is None or not contract.labels(mdata).notna().any():
            raise InputError(
                "annotate: there are no labels to learn from. Fix: ofm.setup(mdata, label_key=...) with a column in "
                "which some cells are labelled, or give a model fitted on labelled cells."
            )
    found = fitted(mdata, made, "annotate", seed=seed)
    put_labels(mdata, found.annotate(mdata), key=key_added, **made_by(found))
    return found
