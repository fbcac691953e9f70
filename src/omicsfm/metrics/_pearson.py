"""Pearson correlation of imputed with measured values, per feature and per cell."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm._errors import InputError
from omicsfm.metrics._check import real, same_shape


def pearson_per_feature(truth: Any, predicted: Any, *, constant_prediction: float = np.nan) -> np.ndarray:
    """Pearson correlation over cells, for every feature.

    Parameters
    ----------
    truth
        (n_obs, n_vars) measured values; NaN = not measured, skipped.
    predicted
        (n_obs, n_vars) imputed values, finite wherever `truth` is measured.
    constant_prediction
        Value for a feature that varies but is predicted constant. NaN says "undefined"; 0 says "explains nothing" and
        stops a method from leaving out the features it cannot predict.

    Returns
    -------
    (n_vars,) values -1 to 1; NaN where fewer than two cells were measured or the truth is constant.

    Raises
    ------
    InputError
        If shapes differ, or a prediction is NaN or infinite where the truth was measured.
    """
    return _pearson("pearson_per_feature", truth, predicted, axis=0, constant=constant_prediction)


def pearson_per_cell(truth: Any, predicted: Any, *, constant_prediction: float = np.nan) -> np.ndarray:
    """Pearson correlation over features, for every cell.

    High for any method that knows which features are high on average: read it beside the mean baseline's.

    Parameters
    ----------
    truth, predicted, constant_prediction
        As in :func:`pearson_per_feature`.

    Returns
    -------
    (n_obs,) values -1 to 1; NaN where fewer than two features were measured or the truth is constant.

    Raises
    ------
    InputError
        As :func:`pearson_per_feature`.
    """
    return _pearson("pearson_per_cell", truth, predicted, axis=1, constant=constant_prediction)


def _pearson(function: str, truth: Any, predicted: Any, *, axis: int, constant: float) -> np.ndarray:
    truth_ng, predicted_ng, measured = measured_pair(function, truth, predicted)
    n = measured.sum(axis=axis)
    truth_c, truth_ss, truth_flat = _centred(truth_ng, measured, axis=axis)
    predicted_c, predicted_ss, predicted_flat = _centred(predicted_ng, measured, axis=axis)
    undefined = truth_flat | predicted_flat
    scale = np.where(undefined, 1, np.sqrt(truth_ss) * np.sqrt(predicted_ss))
    r = np.clip((truth_c * predicted_c).sum(axis=axis) / scale, -1, 1)
    r[predicted_flat] = constant
    r[truth_flat | (n < 2)] = np.nan
    return r


def measured_pair(function: str, truth: Any, predicted: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth and prediction with 0 where the truth was not measured, and the mask of what was."""
    truth_ng = real(function, "truth", truth, nan=True)
    predicted_ng = real(function, "predicted", predicted, nan=True, inf=True)
    same_shape(function, truth=truth_ng, predicted=predicted_ng)
    measured = ~np.isnan(truth_ng)
    bad = int((measured & ~np.isfinite(predicted_ng)).sum())
    if bad:
        raise InputError(
            f"{function}: `predicted` must be finite wherever `truth` is measured, found {bad} entries NaN or "
            "infinite. Fix: set `truth` to NaN where the method cannot predict, for all methods alike."
        )
    return np.where(measured, truth_ng, 0), np.where(measured, predicted_ng, 0), measured


def _centred(values: np.ndarray, measured: np.ndarray, *, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values less their mean, the sum of squares, and where that is nothing but rounding error (a constant)."""
    n = measured.sum(axis=axis)
    mean = values.sum(axis=axis) / np.maximum(n, 1)
    centred = np.where(measured, values - np.expand_dims(mean, axis), 0)
    sum_of_squares = np.square(centred).sum(axis=axis)
    rounding = 16 * np.finfo(np.float64).eps * np.abs(values).max(axis=axis)
    return centred, sum_of_squares, sum_of_squares <= n * np.square(rounding)
