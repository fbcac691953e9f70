"""Matthews correlation of given labels, of two classes or more."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm.metrics._check import codes, same_shape


def matthews(truth: Any, predicted: Any) -> float:
    """Correlation of true and given labels: 1 is all right, 0 is no better than their frequencies.

    Parameters
    ----------
    truth, predicted
        (n,) true and given labels.

    Returns
    -------
    -1 to 1; 0 where either has a single label.

    Raises
    ------
    InputError
        On missing labels or different lengths.

    References
    ----------
    Matthews (1975), doi:10.1016/0005-2795(75)90109-9; Gorodkin (2004), doi:10.1016/j.compbiolchem.2004.09.006,
    equation 8 (more than two classes).
    """
    return float(matthews_of_counts(label_counts("matthews", truth, predicted).sum(axis=0)))


def label_counts(function: str, truth: Any, predicted: Any, units: Any = None) -> np.ndarray:
    """Count (n_units, n_labels, n_labels): true labels down, given labels across, of each unit (None: one for all)."""
    truth_n, truth_levels = codes(function, "truth", truth)
    predicted_n, predicted_levels = codes(function, "predicted", predicted)
    same_shape(function, truth=truth_n, predicted=predicted_n)
    both, levels = codes(function, "labels", np.concatenate([truth_levels[truth_n], predicted_levels[predicted_n]]))
    truth_n, predicted_n = np.split(both, 2)
    unit_n = np.zeros_like(truth_n) if units is None else np.unique(np.asarray(units), return_inverse=True)[1]
    n_labels = len(levels)
    cell = (unit_n * n_labels + truth_n) * n_labels + predicted_n
    n_units = int(unit_n.max()) + 1
    return np.bincount(cell, minlength=n_units * n_labels**2).reshape(n_units, n_labels, n_labels)


def matthews_of_counts(count_tp: np.ndarray) -> np.ndarray:
    """Give the correlation (...) of tables of counts (..., true, given)."""
    count_tp = np.asarray(count_tp, dtype=np.float64)
    n = count_tp.sum(axis=(-2, -1))
    true, given = count_tp.sum(axis=-1), count_tp.sum(axis=-2)
    right = np.trace(count_tp, axis1=-2, axis2=-1)
    covariance = right * n - (true * given).sum(axis=-1)
    spread = (n**2 - (true**2).sum(axis=-1)) * (n**2 - (given**2).sum(axis=-1))
    return np.where(spread > 0, covariance / np.sqrt(np.where(spread > 0, spread, 1.0)), 0.0)
