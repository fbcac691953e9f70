"""Average silhouette width of labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.metrics import silhouette_samples

from omicsfm.metrics._check import codes, real, same_rows


def label_asw(x: Any, labels: Any) -> np.ndarray:
    """Silhouette width of each cell's label, rescaled to (s + 1) / 2 as in scib; its mean is the label ASW.

    Parameters
    ----------
    x
        (n, d) embedding; Euclidean distances. Time grows with n squared, memory does not.
    labels
        (n,) labels.

    Returns
    -------
    (n,) values 0 to 1; 0.5 for the only cell of a label (a silhouette of 0). All NaN if there is a single label or
    every cell has its own.

    Raises
    ------
    InputError
        On NaN, missing labels or rows that do not agree.

    References
    ----------
    Rousseeuw 1987, doi:10.1016/0377-0427(87)90125-7; Luecken et al. 2022, doi:10.1038/s41592-021-01336-8.
    """
    x_nd = real("label_asw", "x", x)
    label_n, levels = codes("label_asw", "labels", labels)
    same_rows("label_asw", x=x_nd, labels=label_n)
    if not 1 < len(levels) < len(x_nd):
        return np.full(len(x_nd), np.nan)
    with config_context(working_memory=128):  # MB; scikit-learn would take 1 GB
        return (silhouette_samples(x_nd, label_n) + 1) / 2
