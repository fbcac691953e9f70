"""Predicted and observed responses of the same perturbations, checked, as differences to their references."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from omicsfm._errors import InputError
from omicsfm.metrics._check import array, real, same_shape


class Delta(NamedTuple):
    """Effects (n_perturbations, n_genes), and what of each row (n_perturbations, 1) may be rounding error."""

    values: np.ndarray
    rounding: np.ndarray


def deltas(
    function: str, pred: Any, obs: Any, reference: Any = None, pred_reference: Any = None
) -> tuple[Delta, Delta]:
    """Give predicted and observed effects; the reference of the prediction is that of the observation unless given."""
    pred_pg, obs_pg = real(function, "pred", pred), real(function, "obs", obs)
    same_shape(function, pred=pred_pg, obs=obs_pg)
    _same_labels(function, pred, obs)
    own, name = (reference, "reference") if pred_reference is None else (pred_reference, "pred_reference")
    return _delta(function, pred, pred_pg, own, name), _delta(function, obs, obs_pg, reference, "reference")


def per_gene(function: str, name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Give float64 of shape (n_perturbations, n_genes) or (n_genes,), whichever it came as."""
    out = real(function, name, values, ndim=array(function, name, values).ndim)
    if out.shape not in (shape, shape[1:]):
        raise InputError(
            f"{function}: `{name}` must have shape {shape[1:]} or {shape}, found {out.shape}. "
            "Fix: pass one value per gene, or a row per perturbation."
        )
    return out


def mask(function: str, name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Give a boolean array of this shape; 0 and 1 are taken, a missing value is an error."""
    out = real(function, name, values, ndim=len(shape))
    if out.shape != shape:
        raise InputError(f"{function}: `{name}` must have shape {shape}, found {out.shape}. Fix: pass the same units.")
    if not np.isin(out, (0, 1)).all():
        raise InputError(f"{function}: `{name}` must be true or false. Fix: pass a mask such as q < 0.05.")
    return out.astype(bool)


def _delta(function: str, given: Any, values: np.ndarray, reference: Any, name: str) -> Delta:
    size, step = np.abs(values).max(axis=1, keepdims=True), _step(given)
    if reference is not None:
        base = per_gene(function, name, reference, values.shape)
        same_genes(function, name, given, reference)
        values = values - base
        size, step = np.maximum(size, np.abs(base).max(axis=-1, keepdims=True)), max(step, _step(reference))
    return Delta(values, 16 * step * size)


def _step(given: Any) -> float:
    """Relative rounding error of the numbers as they were given: a float32 model repeats the control only to 1e-7."""
    if hasattr(given, "detach"):
        given = given.detach().cpu()
    dtype = np.asarray(given).dtype
    return float(np.finfo(dtype if dtype.kind == "f" else np.float64).eps)


def _same_labels(function: str, pred: Any, obs: Any) -> None:
    """Raise where two frames name the same rows in another order, or genes that do not match."""
    if not (isinstance(pred, pd.DataFrame) and isinstance(obs, pd.DataFrame)):
        return
    if not pred.index.equals(obs.index) and sorted(map(str, pred.index)) == sorted(map(str, obs.index)):
        raise InputError(
            f"{function}: the rows of `pred` and `obs` have the same names in another order. "
            "Fix: pred.loc[obs.index]; metrics compare by position."
        )
    same_genes(function, "pred", obs, pred)


def same_genes(function: str, name: str, given: Any, other: Any) -> None:
    """Raise where the genes of `other` are some of those of `given`, but not the same in the same order."""
    genes = other.columns if isinstance(other, pd.DataFrame) else other.index if isinstance(other, pd.Series) else None
    if genes is None or not isinstance(given, pd.DataFrame) or genes.equals(given.columns):
        return
    if genes.isin(given.columns).any():
        raise InputError(
            f"{function}: the genes of `{name}` are not those of the responses in the same order. "
            "Fix: reindex it to their columns; metrics compare by position."
        )
