"""The vote of k nearest neighbours, shared by kNN accuracy and label transfer."""

from __future__ import annotations

import numpy as np


def vote(votes_nk: np.ndarray, n_labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Label code with most votes, and its share of the votes.

    Parameters
    ----------
    votes_nk
        (n, k) label codes of the neighbours, nearest first.
    n_labels
        Number of labels.

    Returns
    -------
    Winning code (n,) and its share (n,). Of labels with equally many votes that of the nearest neighbour wins.
    """
    n, k = votes_nk.shape
    counts = np.zeros((n, n_labels))
    rows = np.arange(n)
    for j in range(k):
        # A vote counts a little more the nearer it is, all such extras together less than one vote.
        counts[rows, votes_nk[:, j]] += 1 + 0.5 ** (j + 2)
    winner = counts.argmax(axis=1)
    return winner, (votes_nk == winner[:, None]).mean(axis=1)
