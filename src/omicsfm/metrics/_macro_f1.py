"""Macro F1 of given labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm.metrics._check import codes, same_shape


def macro_f1(truth: Any, predicted: Any) -> float:
    """F1 of every label, averaged with equal weight: rare cell types count as much as common ones.

    The average runs over all labels in either array, as in scikit-learn: a label given but never true scores 0. With
    a single label everywhere it is 1.

    Parameters
    ----------
    truth, predicted
        (n,) true and given labels.

    Returns
    -------
    0 to 1.

    Raises
    ------
    InputError
        On missing labels or different lengths.
    """
    truth_n, truth_levels = codes("macro_f1", "truth", truth)
    predicted_n, predicted_levels = codes("macro_f1", "predicted", predicted)
    same_shape("macro_f1", truth=truth_n, predicted=predicted_n)
    both, _ = codes("macro_f1", "labels", np.concatenate([truth_levels[truth_n], predicted_levels[predicted_n]]))
    truth_n, predicted_n = np.split(both, 2)
    n_labels = int(both.max()) + 1
    right = np.bincount(truth_n[truth_n == predicted_n], minlength=n_labels)
    # 2 TP / (2 TP + FP + FN): what is true plus what is given, never 0 for a label that occurs.
    return float((2 * right / np.bincount(both, minlength=n_labels)).mean())
