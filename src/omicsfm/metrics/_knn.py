"""Accuracy of a cell's label by the vote of its neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm._errors import InputError
from omicsfm.metrics._check import codes, real, same_rows
from omicsfm.metrics._neighbors import Neighbors, check_neighbors, neighbors
from omicsfm.metrics._vote import vote


def knn_accuracy(neighbors: Neighbors, labels: Any) -> np.ndarray:
    """Leave-one-out kNN accuracy: 1 where the majority of a cell's neighbours has its label.

    Parameters
    ----------
    neighbors
        Neighbours among the cells themselves, from ``neighbors(x, k)``.
    labels
        (n,) labels. With a single label the vote is trivially right: all 1.

    Returns
    -------
    (n,) values 0 or 1. Ties in the vote go to the label of the nearest neighbour.

    Raises
    ------
    InputError
        On missing labels, or neighbours that are not among these cells.
    """
    label_n, levels = codes("knn_accuracy", "labels", labels)
    check_neighbors("knn_accuracy", neighbors, labels=label_n)
    winner, _ = vote(label_n[neighbors.indices], len(levels))
    return (winner == label_n).astype(np.float64)


def knn_accuracy_within_donor(x: Any, labels: Any, donors: Any, *, k: int = 15) -> np.ndarray:
    """Accuracy of kNN with neighbours from the cell's own donor only.

    Parameters
    ----------
    x
        (n, d) embedding.
    labels, donors
        (n,) label and donor of each cell.
    k
        Number of neighbours; all of them where a donor has fewer other cells.

    Returns
    -------
    (n,) values 0 or 1; NaN for the only cell of a donor. One donor gives plain leave-one-out accuracy.

    Raises
    ------
    InputError
        On NaN, missing labels or donors, or rows that do not agree.
    """
    return _by_donor("knn_accuracy_within_donor", x, labels, donors, k=k, across=False)


def knn_accuracy_cross_donor(x: Any, labels: Any, donors: Any, *, k: int = 15) -> np.ndarray:
    """Accuracy of kNN with neighbours from other donors only: each donor held out, its cells labelled by the rest.

    A cell whose label no other donor has cannot be right and counts as wrong.

    Parameters
    ----------
    x
        (n, d) embedding.
    labels, donors
        (n,) label and donor of each cell.
    k
        Number of neighbours; all of them where the other donors have fewer cells.

    Returns
    -------
    (n,) values 0 or 1; all NaN if there is one donor only.

    Raises
    ------
    InputError
        On NaN, missing labels or donors, or rows that do not agree.
    """
    return _by_donor("knn_accuracy_cross_donor", x, labels, donors, k=k, across=True)


def _by_donor(function: str, x: Any, labels: Any, donors: Any, *, k: int, across: bool) -> np.ndarray:
    x_nd = real(function, "x", x)
    label_n, levels = codes(function, "labels", labels)
    donor_n, donor_levels = codes(function, "donors", donors)
    same_rows(function, x=x_nd, labels=label_n, donors=donor_n)
    if k < 1:
        raise InputError(f"{function}: k must be at least 1, found {k}. Fix: raise k.")
    out = np.full(len(x_nd), np.nan)
    for donor in range(len(donor_levels)):
        own = donor_n == donor
        pool = ~own if across else own
        k_here = min(k, int(pool.sum()) - (not across))
        if k_here < 1:
            continue
        found = neighbors(x_nd[pool], k_here, query=x_nd[own] if across else None)
        winner, _ = vote(label_n[pool][found.indices], len(levels))
        out[own] = winner == label_n[own]
    return out
