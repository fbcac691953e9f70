"""Rank correlation within blocks of a genome, which are what intervals are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import rankdata

from omicsfm.metrics._check import codes, real, same_shape


def spearman_by_block(truth: Any, predicted: Any, block: Any) -> np.ndarray:
    """Spearman correlation of truth and prediction, within each block.

    Places of one block share their surroundings, so blocks, not pairs of places, are the units of an interval.

    Parameters
    ----------
    truth, predicted
        (n,) values, such as contact strengths of pairs.
    block
        (n,) block of each.

    Returns
    -------
    (n_blocks,) values -1 to 1, blocks in sorted order; NaN for fewer than three values or a constant truth; 0 for a
    constant prediction, which explains nothing.

    Raises
    ------
    InputError
        If lengths differ, a value is NaN or infinite, or a block is missing.

    References
    ----------
    Spearman (1904), Am. J. Psychol. 15:72.
    """
    name = "spearman_by_block"
    t, p = real(name, "truth", truth, ndim=1), real(name, "predicted", predicted, ndim=1)
    which, levels = codes(name, "block", block)
    same_shape(name, truth=t, predicted=p, block=which)
    out = np.full(len(levels), np.nan)
    for b in range(len(levels)):
        mine = which == b
        if mine.sum() < 3 or np.ptp(t[mine]) == 0:
            continue
        out[b] = 0.0 if np.ptp(p[mine]) == 0 else np.corrcoef(rankdata(t[mine]), rankdata(p[mine]))[0, 1]
    return out
