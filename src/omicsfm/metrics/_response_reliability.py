"""Whether a stated reliability foretells the error."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import rankdata

from omicsfm.metrics._check import real, same_shape


def reliability_correlation(reliability: Any, error: Any) -> float:
    """Rank correlation of the stated reliability of predictions with how small their errors are.

    Parameters
    ----------
    reliability
        (n,) higher is more reliable.
    error
        (n,) such as squared errors as a share of those of the mean response.

    Returns
    -------
    Spearman correlation of `reliability` with minus `error`, -1 to 1: 1 where the error falls as reliability rises.
    NaN for fewer than three predictions, or where either is constant.

    Raises
    ------
    InputError
        If lengths differ, or a value is NaN or infinite.
    """
    name = "reliability_correlation"
    given, found = real(name, "reliability", reliability, ndim=1), real(name, "error", error, ndim=1)
    same_shape(name, reliability=given, error=found)
    if len(given) < 3 or np.ptp(given) == 0 or np.ptp(found) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(given), rankdata(-found))[0, 1])
