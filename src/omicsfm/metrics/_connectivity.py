"""Graph connectivity: how far each label is one connected piece of the kNN graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from omicsfm.metrics._check import codes
from omicsfm.metrics._neighbors import Neighbors, check_neighbors


def graph_connectivity(neighbors: Neighbors, labels: Any) -> np.ndarray:
    """Share of each label's cells in its largest strongly connected piece of the directed kNN graph.

    Parameters
    ----------
    neighbors
        Neighbours among the cells themselves, from ``neighbors(x, k)``.
    labels
        (n,) labels.

    Returns
    -------
    (n_labels,) values in (0, 1], labels in sorted order; the mean is scib-metrics' graph connectivity. A label with
    one cell scores 1; a single label is measured like any other.

    Raises
    ------
    InputError
        On missing labels, or neighbours that are not among these cells.

    References
    ----------
    Luecken et al. 2022, doi:10.1038/s41592-021-01336-8; strong connection as in scib-metrics.
    """
    label_n, levels = codes("graph_connectivity", "labels", labels)
    check_neighbors("graph_connectivity", neighbors, labels=label_n)
    n, k = neighbors.n_obs, neighbors.k
    edges = np.ones(n * k, dtype=np.int8)
    graph = csr_matrix((edges, neighbors.indices.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))
    out = np.empty(len(levels))
    for label in range(len(levels)):
        cells = np.flatnonzero(label_n == label)
        _, piece = connected_components(graph[cells][:, cells], directed=True, connection="strong")
        out[label] = np.bincount(piece).max() / len(cells)
    return out
