"""Accuracy of given labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm.metrics._check import codes, same_shape


def accuracy(truth: Any, predicted: Any) -> np.ndarray:
    """Whether each label is right.

    Parameters
    ----------
    truth, predicted
        (n,) true and given labels.

    Returns
    -------
    (n,) values 0 or 1; the mean is the accuracy.

    Raises
    ------
    InputError
        On missing labels or different lengths.
    """
    truth_n, truth_levels = codes("accuracy", "truth", truth)
    predicted_n, predicted_levels = codes("accuracy", "predicted", predicted)
    same_shape("accuracy", truth=truth_n, predicted=predicted_n)
    return (truth_levels[truth_n] == predicted_levels[predicted_n]).astype(np.float64)
