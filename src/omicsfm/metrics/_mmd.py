"""Maximum mean discrepancy between groups of cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist

from omicsfm._errors import InputError
from omicsfm.metrics._pairwise_blocks import grouped, pair_means

_SAMPLE = 2000


def mmd(x: Any, groups: Any, *, reference: Any = None, bandwidth: float | None = None) -> pd.DataFrame | pd.Series:
    """Squared maximum mean discrepancy, E k(X, X') + E k(Y, Y') - 2 E k(X, Y), between groups of cells.

    The kernel is ``k(x, y) = exp(-|x - y|^2 / (2 bandwidth^2))``. The estimate is unbiased: X and X' are distinct
    cells; it is 0 on average for two groups of one kind, so that an estimate may be below 0.

    Parameters
    ----------
    x
        (n, d) dense points, as 50 principal components.
    groups
        (n,) labels.
    reference
        A group; only discrepancies to it are computed. None: between all groups.
    bandwidth
        In the unit of `x`. None: the median distance over all pairs of 2,000 cells drawn from all groups together (seed
        0; all cells if there are no more), pairs at distance 0 left out. Values compare only at one bandwidth.

    Returns
    -------
    DataFrame (groups, groups), symmetric, 0 on the diagonal; or with a reference a Series over the other groups. No
    unit, at most 2. NaN where a group has one cell, which has no pair within its group.

    Raises
    ------
    InputError
        On NaN, missing labels, rows that do not agree, an absent reference, or a bandwidth that is not positive.

    References
    ----------
    Gretton et al. 2012, JMLR 13:723-773, equation 3 and section 8 (median).
    """
    x_nd, label_n, names, ref = grouped("mmd", x, groups, reference)
    width = median_distance(x_nd) if bandwidth is None else float(bandwidth)
    if not width > 0:
        raise InputError(f"mmd: the bandwidth must be above 0, found {bandwidth}. Fix: leave it out.")
    mean = pair_means(x_nd, label_n, lambda d2: d2.mul_(-0.5 / width**2).exp_(), reference=ref)
    found = np.diag(mean)[:, None] + np.diag(mean) - 2 * mean
    np.fill_diagonal(found, 0)
    if ref is None:
        return pd.DataFrame(found, index=names, columns=names)
    return pd.Series(found[:, ref], index=names, name="mmd").drop(reference)


def median_distance(x_nd: np.ndarray) -> float:
    """Median distance over the pairs of at most 2,000 rows that differ; 1 where all are the same."""
    rows = np.random.default_rng(0).choice(len(x_nd), min(_SAMPLE, len(x_nd)), replace=False)
    far = pdist(x_nd[rows])
    far = far[far > 0]
    return float(np.median(far)) if len(far) else 1.0
