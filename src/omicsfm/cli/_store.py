"""Put a model's answers into a MuData, each where it cannot be taken for a measurement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from omicsfm import _compat, contract

if TYPE_CHECKING:
    from mudata import MuData

    from omicsfm.models import Imputation


def put_embedding(mdata: MuData, mean: np.ndarray, sd: np.ndarray, **made_by: Any) -> None:
    """Store the cell state as ``obsm["X_mosaic"]`` and its sd as ``obsm["X_mosaic_sd"]`` (float32)."""
    with _compat.silent():
        mdata.obsm["X_mosaic"] = np.asarray(mean, dtype=np.float32)
        mdata.obsm["X_mosaic_sd"] = np.asarray(sd, dtype=np.float32)
    contract.record(mdata, "embed", slots=["X_mosaic", "X_mosaic_sd"], **made_by)


def put_imputation(mdata: MuData, modality: str, imputation: Imputation, **made_by: Any) -> None:
    """Store mean and interval as tables ``obsm["imputed_<modality>"]``, ``..._lower`` and ``..._upper`` (float32).

    Cells that were not asked about hold NaN. A '/' in a feature's name becomes '_': no file format holds such a column.
    """
    names = [f"imputed_{modality}{end}" for end in ("", "_lower", "_upper")]
    with _compat.silent():
        for name, table in zip(names, (imputation.mean, imputation.lower, imputation.upper), strict=True):
            out = table.reindex(mdata.obs_names).astype(np.float32)
            mdata.obsm[name] = out.set_axis([str(column).replace("/", "_") for column in out.columns], axis=1)
    contract.record(mdata, "impute", slots=names, level=imputation.level, n_obs=len(imputation.mean), **made_by)


def put_labels(mdata: MuData, labels: pd.DataFrame, **made_by: Any) -> None:
    """Store labels as ``obs["label_mosaic"]``, ``..._confidence`` and ``..._unknown``."""
    table = labels.reindex(mdata.obs_names)
    with _compat.silent():
        mdata.obs["label_mosaic"] = pd.Categorical(table["label"])
        mdata.obs["label_mosaic_confidence"] = table["confidence"].to_numpy(dtype=np.float32)
        mdata.obs["label_mosaic_unknown"] = table["unknown"].to_numpy(dtype=bool)
    contract.record(mdata, "annotate", columns=["label_mosaic"], **made_by)
