"""Label transfer: label query cells by their neighbours in a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from omicsfm.metrics._check import codes, real, same_rows
from omicsfm.metrics._neighbors import neighbors
from omicsfm.metrics._vote import vote


@dataclass(frozen=True, slots=True, eq=False)
class LabelTransfer:
    """Labels given to query cells.

    Attributes
    ----------
    labels
        (m,) object array of reference labels.
    confidence
        (m,) share of the k neighbours with that label, 1/k to 1. Not calibrated.
    """

    labels: np.ndarray
    confidence: np.ndarray


def label_transfer(reference: Any, labels: Any, query: Any, *, k: int = 15) -> LabelTransfer:
    """Give each query cell the majority label of its `k` nearest reference cells.

    For the other direction call it again with the two sides exchanged.

    Parameters
    ----------
    reference
        (n, d) embedding of labelled cells.
    labels
        (n,) their labels. A single label is given to all query cells.
    query
        (m, d) embedding of the cells to label.
    k
        Number of neighbours.

    Returns
    -------
    Labels and confidence. Ties in the vote go to the label of the nearest neighbour.

    Raises
    ------
    InputError
        On NaN, missing labels, shapes that do not agree, or fewer than `k` reference cells.
    """
    reference_nd = real("label_transfer", "reference", reference)
    label_n, levels = codes("label_transfer", "labels", labels)
    same_rows("label_transfer", reference=reference_nd, labels=label_n)
    found = neighbors(reference_nd, k, query=query)
    winner, share = vote(label_n[found.indices], len(levels))
    return LabelTransfer(levels[winner], share)


def label_transfer_accuracy(reference: Any, labels: Any, query: Any, *, truth: Any, k: int = 15) -> np.ndarray:
    """Whether :func:`label_transfer` gave each query cell its true label.

    Parameters
    ----------
    reference, labels, query, k
        As in :func:`label_transfer`.
    truth
        (m,) true labels of the query cells; one that the reference lacks counts as wrong.

    Returns
    -------
    (m,) values 0 or 1.

    Raises
    ------
    InputError
        As :func:`label_transfer`, and if `truth` has missing labels or another length than `query`.
    """
    truth_m, levels = codes("label_transfer_accuracy", "truth", truth)
    query_md = real("label_transfer_accuracy", "query", query)
    same_rows("label_transfer_accuracy", query=query_md, truth=truth_m)
    given = label_transfer(reference, labels, query_md, k=k)
    return (given.labels == levels[truth_m]).astype(np.float64)
