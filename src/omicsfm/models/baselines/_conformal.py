"""Held-out error of a regressor, and the intervals it allows: arrays only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy import sparse, stats

N_FOLDS = 5
MAX_NUMBERS = 20_000_000  # held-out residuals kept at a time: fewer cells where there are many features


def folds(batch: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Give the positions held out together: whole batches where that leaves enough to learn from, else random fifths.

    A batch of its own has a shift of its own, and the error for a new batch must hold that shift. Where one batch is
    more than two thirds of the cells, too little would be left without it.
    """
    names, code = np.unique(batch, return_inverse=True)
    if len(names) > 1 and np.bincount(code).max() <= len(batch) * 2 / 3:
        group = code % N_FOLDS
    else:
        group = rng.permutation(len(batch)) % N_FOLDS
    for i in np.unique(group):
        yield np.flatnonzero(group == i)


def held_out_residuals(
    fit: Callable[[np.ndarray, Any], Any],
    x_nd: np.ndarray,
    y_ng: Any,
    truth_ng: Any,
    *,
    batch: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Predict cells with a regressor that never saw their fold.

    Parameters
    ----------
    fit
        Gives a regressor from inputs and targets.
    x_nd, y_ng
        Inputs and targets of training cells, without missing values.
    truth_ng
        The targets as observed, NaN where there is none.
    batch
        (n,) batch of each cell.

    Returns
    -------
    float64 array (n_held, n_vars): observed minus predicted, of all cells or a random part of them.
    """
    n, n_vars = y_ng.shape
    keep = np.zeros(n, dtype=bool)
    keep[rng.permutation(n)[: max(200, MAX_NUMBERS // n_vars)]] = True
    parts = []
    for held in folds(batch, rng):
        train = np.setdiff1d(np.arange(n), held, assume_unique=True)
        asked = held[keep[held]]
        if len(train) and len(asked):
            parts.append(_dense(truth_ng[asked]) - fit(x_nd[train], y_ng[train])(x_nd[asked]))
    return np.vstack([np.zeros((0, n_vars)), *parts])


def spread_and_half_width(residual_ng: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Turn held-out residuals into a standard deviation and half an interval per feature.

    Parameters
    ----------
    residual_ng
        Observed minus predicted; NaN is left out. A feature with none takes the mean square of the others.
    level
        Nominal coverage.

    Returns
    -------
    sd_g, half_g

    References
    ----------
    Vovk (2015), Ann. Math. Artif. Intell. 74:9 (cross-conformal); the quantile as in Lei et al. (2018), JASA 113:1094.
    """
    size = np.sort(np.abs(residual_ng), axis=0)  # NaN goes last
    n_g = (~np.isnan(size)).sum(axis=0)
    variance_g = np.nansum(size**2, axis=0) / np.maximum(n_g, 1)
    known = n_g > 0
    variance_g[~known] = variance_g[known].mean() if known.any() else 1.0
    rank_g = np.clip(np.ceil((n_g + 1) * level).astype(int), 1, np.maximum(n_g, 1)) - 1
    half_g = np.sqrt(variance_g) * stats.norm.ppf((1 + level) / 2)
    if known.any():
        half_g[known] = np.take_along_axis(size, rank_g[None], axis=0)[0, known]
    return np.sqrt(variance_g), half_g


def _dense(y_ng: Any) -> np.ndarray:
    """Give a dense array."""
    return y_ng.toarray() if sparse.issparse(y_ng) else np.asarray(y_ng)
