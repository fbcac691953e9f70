"""Calibration of a classifier's confidence."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm._errors import InputError
from omicsfm.metrics._check import real, same_shape


def expected_calibration_error(correct: Any, confidence: Any, *, n_bins: int = 15) -> float:
    """Mean distance between confidence and accuracy, over bins of equal width in confidence (ECE).

    Parameters
    ----------
    correct
        (n,) 1 where the label given is right, 0 where not, such as ``accuracy(truth, predicted)``.
    confidence
        (n,) probability claimed for the label given, 0 to 1.
    n_bins
        Number of bins ((0, 1/n], (1/n, 2/n], ...; 0 falls into the first).

    Returns
    -------
    0 (calibrated) to 1.

    Raises
    ------
    InputError
        On NaN, different lengths, or values out of range.

    References
    ----------
    Guo et al., ICML 2017, eq. 3 (arXiv:1706.04599).
    """
    function = "expected_calibration_error"
    correct_n = real(function, "correct", correct, ndim=1)
    confidence_n = real(function, "confidence", confidence, ndim=1)
    same_shape(function, correct=correct_n, confidence=confidence_n)
    if not np.isin(correct_n, (0, 1)).all():
        raise InputError(f"{function}: `correct` must hold 0 and 1 only. Fix: pass accuracy(truth, predicted).")
    if confidence_n.min() < 0 or confidence_n.max() > 1 or n_bins < 1:
        raise InputError(
            f"{function}: `confidence` must lie in 0 to 1 and n_bins be at least 1, found {confidence_n.min():g} to "
            f"{confidence_n.max():g} and n_bins={n_bins}. Fix: pass probabilities."
        )
    bin_n = np.maximum(np.ceil(confidence_n * n_bins).astype(int) - 1, 0)
    gap = np.bincount(bin_n, weights=correct_n - confidence_n, minlength=n_bins)
    return float(np.abs(gap).sum() / len(correct_n))
