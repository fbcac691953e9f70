"""FOSCTTM: how many cells stand nearer than the true partner."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm._errors import InputError
from omicsfm.metrics._check import real, same_shape

# Rows of the distance matrix are handled in chunks of about this many numbers (32 MB each, three alive at once).
_CHUNK = 4_000_000


def foscttm(x: Any, y: Any) -> np.ndarray:
    """Fraction of samples closer than the true match, for every cell.

    For cell i: the share of the other cells of `y` that are nearer (Euclidean) to ``x[i]`` than ``y[i]`` is, averaged
    with the same share the other way round. Ties count half: an embedding that puts all cells on one point scores
    0.5, not 0. Distances that differ by less than their rounding error are ties. For cosine distance scale the rows
    to length one first.

    Parameters
    ----------
    x, y
        (n, d) embeddings of the two modalities; row i of `x` and row i of `y` are the same cell.

    Returns
    -------
    (n,) values from 0 (every partner is the nearest) over 0.5 (chance) to 1. Memory grows with n, not with n squared.

    Raises
    ------
    InputError
        On NaN, different shapes, or fewer than two cells.

    References
    ----------
    Liu et al., WABI 2019, doi:10.4230/LIPIcs.WABI.2019.10.
    """
    x_nd, y_nd = real("foscttm", "x", x), real("foscttm", "y", y)
    same_shape("foscttm", x=x_nd, y=y_nd)
    n, d = x_nd.shape
    if n < 2:
        raise InputError(f"foscttm: at least 2 cells are needed, found shape {x_nd.shape}. Fix: pass more cells.")
    centre = (x_nd.mean(axis=0) + y_nd.mean(axis=0)) / 2
    x_nd, y_nd = x_nd - centre, y_nd - centre
    # |x_i - y_j|^2 = |x_i|^2 + |y_j|^2 + cross_ij, whose rounding error stays below slack * (|x_i|^2 + |y_j|^2).
    slack = 4 * (d + 2) * np.finfo(np.float64).eps
    x_n, y_n = np.einsum("nd,nd->n", x_nd, x_nd), np.einsum("nd,nd->n", y_nd, y_nd)
    match = -2 * np.einsum("nd,nd->n", x_nd, y_nd)
    err = slack * (x_n + y_n)

    rank_x, rank_y = np.zeros(n), np.zeros(n)
    step = max(1, _CHUNK // n)
    for start in range(0, n, step):
        part = slice(start, start + step)
        cross = -2 * x_nd[part] @ y_nd.T
        # Each comparison leaves out the term both sides share; closer counts 1, closer-or-tied the same again.
        low, high = (1 + slack) * y_n, (1 - slack) * y_n
        base = (y_n + match)[part, None]
        rank_x[part] = (cross + low < base - err[part, None]).sum(axis=1)
        rank_x[part] += (cross + high <= base + err[part, None]).sum(axis=1)
        low, high = (1 + slack) * x_n[part, None], (1 - slack) * x_n[part, None]
        base = x_n + match
        rank_y += (cross + low < base - err).sum(axis=0)
        rank_y += (cross + high <= base + err).sum(axis=0)
    # The partner ties with itself and was counted once in each direction.
    return (rank_x + rank_y - 2) / (4 * (n - 1))
