"""Detection of cells whose type the reference lacks."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from omicsfm._errors import InputError
from omicsfm.metrics._check import real, same_shape


def unknown_auroc(unknown: Any, score: Any) -> float:
    """Area under the ROC curve of a score that should be high for cells of unknown type.

    Parameters
    ----------
    unknown
        (n,) true (1) where the cell's type is not in the reference.
    score
        (n,) the higher, the more unknown, such as 1 - confidence. Ties count half.

    Returns
    -------
    0 to 1, 0.5 at chance; NaN if all cells are known or all unknown.

    Raises
    ------
    InputError
        On NaN, different lengths, or `unknown` other than 0 and 1.
    """
    unknown_n = real("unknown_auroc", "unknown", unknown, ndim=1)
    score_n = real("unknown_auroc", "score", score, ndim=1)
    same_shape("unknown_auroc", unknown=unknown_n, score=score_n)
    if not np.isin(unknown_n, (0, 1)).all():
        raise InputError("unknown_auroc: `unknown` must be true or false. Fix: pass a boolean array.")
    return float(roc_auc_score(unknown_n, score_n)) if np.ptp(unknown_n) else float("nan")
