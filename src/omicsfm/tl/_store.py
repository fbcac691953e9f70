"""Put a model's answers into a MuData, each where it cannot be taken for a measurement."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from omicsfm import _compat, contract

if TYPE_CHECKING:
    from mudata import MuData

    from omicsfm.models import Imputation


def put_embedding(
    mdata: MuData, mean: np.ndarray, sd: np.ndarray | None, *, key: str = "X_mosaic", **made_by: Any
) -> None:
    """Store the cell state as ``obsm[key]`` and its sd, if there is one, as ``obsm["<key>_sd"]`` (float32)."""
    slots = [key] if sd is None else [key, f"{key}_sd"]
    _prepare(mdata)
    with _compat.silent():
        mdata.obsm.pop(f"{key}_sd", None)  # of an earlier state
        mdata.obsm[key] = np.asarray(mean, dtype=np.float32)
        if sd is not None:
            mdata.obsm[f"{key}_sd"] = np.asarray(sd, dtype=np.float32)
    contract.record(mdata, "embed", slots=slots, **made_by)


def put_imputation(mdata: MuData, modality: str, imputation: Imputation, **made_by: Any) -> None:
    """Store mean, sd and interval as tables ``obsm["imputed_<modality>"]``, ``..._sd``, ``_lower``, ``_upper``.

    All float32. Cells that were not asked about hold NaN. A '/' in a feature's name becomes '_': no file format holds
    such a column.
    """
    tables = {"": imputation.mean, "_sd": imputation.sd, "_lower": imputation.lower, "_upper": imputation.upper}
    _prepare(mdata)
    with _compat.silent():
        for end, table in tables.items():
            out = table.reindex(mdata.obs_names).astype(np.float32)
            mdata.obsm[f"imputed_{modality}{end}"] = out.set_axis(column_names(out.columns), axis=1)
    slots = [f"imputed_{modality}{end}" for end in tables]
    contract.record(mdata, "impute", slots=slots, level=imputation.level, n_obs=len(imputation.mean), **made_by)


def column_names(features: Iterable[Any]) -> list[str]:
    """Give the names that features have as columns of a table in obsm."""
    return [str(feature).replace("/", "_") for feature in features]


def put_labels(mdata: MuData, labels: pd.DataFrame, *, key: str = "label_mosaic", **made_by: Any) -> None:
    """Store labels as ``obs[key]``, ``obs["<key>_confidence"]`` and ``obs["<key>_unknown"]``."""
    table = labels.reindex(mdata.obs_names)
    _prepare(mdata)
    with _compat.silent():
        mdata.obs[key] = pd.Categorical(table["label"])
        mdata.obs[f"{key}_confidence"] = table["confidence"].to_numpy(dtype=np.float32)
        mdata.obs[f"{key}_unknown"] = table["unknown"].to_numpy(dtype=bool)
    contract.record(mdata, "annotate", columns=[key], **made_by)


def _prepare(mdata: MuData) -> None:
    """Make a view a MuData of its own, and one that was never set up fit to carry tables in obsm."""
    if mdata.is_view:
        with _compat.silent():
            mdata.uns = dict(mdata.uns)
    if _compat.MASK not in mdata.obsm:
        _compat.store_mask(mdata, contract.modality_mask(mdata))
