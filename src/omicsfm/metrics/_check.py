"""Checks shared by the metrics: arrays or tensors in, clean NumPy arrays out, one clear error otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from omicsfm._errors import InputError


def array(function: str, name: str, values: Any) -> np.ndarray:
    """Any array, data frame or tensor (on any device, with or without gradient) as a NumPy array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    out = np.asarray(values)
    if out.ndim == 0:
        raise InputError(
            f"{function}: `{name}` must be a dense array, found {type(values).__name__}. Fix: pass a dense array."
        )
    return out


def real(function: str, name: str, values: Any, *, ndim: int = 2, nan: bool = False, inf: bool = False) -> np.ndarray:
    """Return a float64 array of `ndim` axes with at least one row; NaN and infinite entries only where allowed."""
    out = array(function, name, values)
    if out.dtype.kind not in "fiub":
        try:
            out = out.astype(np.float64)
        except (TypeError, ValueError) as err:
            raise InputError(
                f"{function}: `{name}` must hold numbers, found dtype {out.dtype}. Fix: pass numbers."
            ) from err
    if out.ndim != ndim or 0 in out.shape:
        raise InputError(
            f"{function}: `{name}` must have {ndim} axes, none of them empty, found shape {out.shape}. "
            "Fix: pass one row per unit."
        )
    out = out.astype(np.float64, copy=False)
    if not nan and np.isnan(out).any():
        raise InputError(
            f"{function}: `{name}` must hold no NaN, found {int(np.isnan(out).sum())}. Fix: drop or fill those entries."
        )
    if not inf and np.isinf(out).any():
        raise InputError(
            f"{function}: `{name}` must be finite, found {int(np.isinf(out).sum())} infinite entries. Fix: drop them."
        )
    return out


def codes(function: str, name: str, values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Labels as integer codes (n,) and the sorted levels they stand for; a missing label is an error."""
    out = array(function, name, values)
    if out.ndim != 1 or out.shape[0] == 0:
        raise InputError(
            f"{function}: `{name}` must be one non-empty axis of labels, found shape {out.shape}. "
            "Fix: pass one label per row."
        )
    missing = int(pd.isna(out).sum())
    if missing:
        raise InputError(
            f"{function}: `{name}` must hold no missing label, found {missing} of {len(out)}. "
            "Fix: drop the unlabelled rows first."
        )
    return pd.factorize(out.astype(object), sort=True)


def same_shape(function: str, **arrays: np.ndarray) -> None:
    """Raise unless all arrays have one shape; the error names them and their shapes."""
    if len({a.shape for a in arrays.values()}) > 1:
        raise InputError(f"{function}: shapes must agree, found {_shapes(arrays)}. Fix: pass the same units in all.")


def same_rows(function: str, **arrays: np.ndarray) -> None:
    """Raise unless all arrays have the same number of rows; the error names them and their shapes."""
    if len({a.shape[0] for a in arrays.values()}) > 1:
        raise InputError(f"{function}: rows must agree, found {_shapes(arrays)}. Fix: pass the same units in all.")


def same_columns(function: str, **arrays: np.ndarray) -> None:
    """Raise unless all matrices have the same number of columns; the error names them and their shapes."""
    if len({a.shape[1] for a in arrays.values()}) > 1:
        raise InputError(f"{function}: columns must agree, found {_shapes(arrays)}. Fix: embed all in one space.")


def _shapes(arrays: dict[str, np.ndarray]) -> str:
    return ", ".join(f"`{name}` {a.shape}" for name, a in arrays.items())
