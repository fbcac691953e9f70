"""Root mean squared error of imputed values."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm.metrics._pearson import measured_pair


def rmse_per_feature(truth: Any, predicted: Any) -> np.ndarray:
    """Root mean squared error over cells, for every feature, on the scale of the data given.

    Parameters
    ----------
    truth
        (n_obs, n_vars) measured values; NaN = not measured, skipped.
    predicted
        (n_obs, n_vars) imputed values, finite wherever `truth` is measured.

    Returns
    -------
    (n_vars,) values from 0; NaN where no cell was measured.

    Raises
    ------
    InputError
        If shapes differ, or a prediction is NaN or infinite where the truth was measured.
    """
    truth_ng, predicted_ng, measured = measured_pair("rmse_per_feature", truth, predicted)
    n = measured.sum(axis=0)
    mean_square = np.square(truth_ng - predicted_ng).sum(axis=0) / np.maximum(n, 1)
    return np.where(n > 0, np.sqrt(mean_square), np.nan)
