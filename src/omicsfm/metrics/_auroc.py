"""Area under the ROC curve of class probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from omicsfm._errors import InputError
from omicsfm.metrics._check import codes, real, same_rows


def macro_auroc(truth: Any, probability: Any, classes: Any) -> float:
    """Chance that a sequence of a class is given a higher probability of it than one of another class; mean of classes.

    Parameters
    ----------
    truth
        (n,) true labels.
    probability
        (n, n_classes).
    classes
        (n_classes,) labels of the columns.

    Returns
    -------
    0 to 1; a constant scores 0.5. Classes that no or every truth has are left out.

    Raises
    ------
    InputError
        If shapes do not fit, or a true label is no column, or all truths are of one label.
    """
    truth_n, levels = codes("macro_auroc", "truth", truth)
    p_nc = real("macro_auroc", "probability", probability)
    same_rows("macro_auroc", truth=truth_n, probability=p_nc)
    columns = np.asarray(classes).tolist()
    missing = [label for label in levels.tolist() if label not in columns]
    if p_nc.shape[1] != len(columns) or missing or len(levels) < 2:
        raise InputError(
            f"macro_auroc: one column for each class of {columns}, and 2 true labels of them at least, are needed, "
            f"found {p_nc.shape[1]} columns and labels {levels.tolist()}. Fix: pass predict_proba and classes_."
        )
    score = [roc_auc_score(truth_n == i, p_nc[:, columns.index(label)]) for i, label in enumerate(levels.tolist())]
    return float(np.mean(score))
