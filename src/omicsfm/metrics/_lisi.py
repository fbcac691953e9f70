"""Local inverse Simpson's index: how many batches (iLISI) or labels (cLISI) a neighbourhood holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm._errors import InputError
from omicsfm.metrics._check import codes
from omicsfm.metrics._neighbors import Neighbors, check_neighbors

_ROWS = 4096  # rows handled at once


def lisi(neighbors: Neighbors, labels: Any, *, perplexity: float | None = None) -> np.ndarray:
    """Effective number of labels in each cell's neighbourhood.

    Neighbours are weighted by a Gaussian kernel whose width gives the weights the wanted perplexity; LISI is one over
    the sum of the squared weight shares of the labels.

    Parameters
    ----------
    neighbors
        Neighbours among the cells themselves, from ``neighbors(x, k)``; scib uses k = 90.
    labels
        (n,) labels, or batches.
    perplexity
        Effective number of neighbours, at least 1 and below k; None: a third of k, rounded down.

    Returns
    -------
    (n,) values from 1 to the number of labels. With a single label: all 1.

    Raises
    ------
    InputError
        On missing labels, neighbours that are not among these cells, or fewer than 3 neighbours.

    References
    ----------
    Korsunsky et al. 2019, doi:10.1038/s41592-019-0619-0.
    """
    label_n, levels = codes("lisi", "labels", labels)
    check_neighbors("lisi", neighbors, labels=label_n)
    target = float(neighbors.k // 3) if perplexity is None else float(perplexity)
    if not 1 <= target < neighbors.k:
        raise InputError(
            f"lisi: perplexity must be at least 1 and below the number of neighbours, found {target:g} with "
            f"k={neighbors.k}. Fix: compute at least {max(3, 3 * int(max(target, 1)))} neighbours."
        )
    out = np.empty(len(label_n))
    for start in range(0, len(out), _ROWS):
        part = slice(start, start + _ROWS)
        weights = _weights(neighbors.distances[part], target)
        rows = np.arange(len(weights))[:, None] * len(levels)
        flat = (rows + label_n[neighbors.indices[part]]).ravel()
        shares = np.bincount(flat, weights=weights.ravel(), minlength=len(weights) * len(levels))
        out[part] = 1 / np.square(shares.reshape(len(weights), -1)).sum(axis=1)
    return np.clip(out, 1, len(levels))


def ilisi(neighbors: Neighbors, batches: Any, *, perplexity: float | None = None) -> np.ndarray:
    """Batch mixing around each cell: LISI of batches scaled to (LISI - 1) / (n_batches - 1).

    Parameters
    ----------
    neighbors, perplexity
        As in :func:`lisi`.
    batches
        (n,) batch of each cell.

    Returns
    -------
    (n,) values from 0 (no mixing) to 1 (all batches in equal shares); the median is scib's iLISI. All NaN if there is
    one batch only.
    """
    n_batches = len(codes("ilisi", "batches", batches)[1])
    values = lisi(neighbors, batches, perplexity=perplexity)
    return (values - 1) / (n_batches - 1) if n_batches > 1 else np.full(len(values), np.nan)


def clisi(neighbors: Neighbors, labels: Any, *, perplexity: float | None = None) -> np.ndarray:
    """Label purity around each cell: LISI of labels scaled to (n_labels - LISI) / (n_labels - 1).

    Parameters
    ----------
    neighbors, perplexity
        As in :func:`lisi`.
    labels
        (n,) label of each cell.

    Returns
    -------
    (n,) values from 0 (all labels in equal shares) to 1 (one label); the median is scib's cLISI. All NaN if there is
    one label only.
    """
    n_labels = len(codes("clisi", "labels", labels)[1])
    values = lisi(neighbors, labels, perplexity=perplexity)
    return (n_labels - values) / (n_labels - 1) if n_labels > 1 else np.full(len(values), np.nan)


def _weights(distances: np.ndarray, perplexity: float) -> np.ndarray:
    """Weights exp(-beta d), beta by bisection so that their entropy is log(perplexity); each row sums to 1."""
    gap = distances - distances.min(axis=1, keepdims=True)  # the same weights, and never all of them underflow
    n = len(gap)
    beta, low, high = np.ones(n), np.zeros(n), np.full(n, np.inf)
    # Equally near neighbours have no such beta: the bound on the steps leaves them equal weights.
    for _ in range(50):
        weights = np.exp(-gap * beta[:, None])
        total = weights.sum(axis=1)
        excess = np.log(total) + beta * (gap * weights).sum(axis=1) / total - np.log(perplexity)
        open_ = np.abs(excess) >= 1e-5
        if not open_.any():
            break
        wide = open_ & (excess > 0)
        narrow = open_ & (excess <= 0)
        low[wide], high[narrow] = beta[wide], beta[narrow]
        beta[wide] = np.where(np.isinf(high[wide]), beta[wide] * 2, (beta[wide] + high[wide]) / 2)
        beta[narrow] = (beta[narrow] + low[narrow]) / 2
    return weights / total[:, None]
