"""Statistics of a comparison: paired bootstrap and Holm adjustment. Arrays in, small records out."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm._errors import InputError
from omicsfm.metrics._bootstrap import Comparison, paired_bootstrap

__all__ = ["Comparison", "holm", "paired_bootstrap"]


def holm(p_values: Any) -> np.ndarray:
    """Adjust the p-values of one family of comparisons (Holm 1979): family-wise error, no assumption.

    Parameters
    ----------
    p_values
        (n,) p-values; NaN (no test was made) stays NaN and does not count.

    Returns
    -------
    (n,) adjusted p-values, at most 1.

    Raises
    ------
    InputError
        If a value is not between 0 and 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    tested = np.flatnonzero(~np.isnan(p))
    if p.ndim != 1 or ((p[tested] < 0) | (p[tested] > 1)).any():
        raise InputError(f"holm: p-values must be one axis of values 0 to 1, found {p}. Fix: pass p-values.")
    out = p.copy()
    order = tested[np.argsort(p[tested], kind="stable")]
    out[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return out
