"""NMI and ARI: agreement of clusters with labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from omicsfm._errors import InputError
from omicsfm.metrics._check import codes, real, same_rows


def kmeans_clusters(x: Any, n_clusters: int, *, seed: int = 0) -> np.ndarray:
    """Cluster rows by k-means (10 starts); the same seed gives the same clusters.

    Parameters
    ----------
    x
        (n, d) embedding.
    n_clusters
        Number of clusters, 1 to the number of different rows; usually the number of labels, as in scib-metrics.
    seed
        Seed of the starts.

    Returns
    -------
    (n,) cluster codes.

    Raises
    ------
    InputError
        On NaN or fewer different rows than clusters.
    """
    x_nd = real("kmeans_clusters", "x", x)
    n_different = len(np.unique(x_nd, axis=0))
    if not 1 <= n_clusters <= n_different:
        raise InputError(
            f"kmeans_clusters: n_clusters must be 1 to the {n_different} different rows of `x`, found {n_clusters}. "
            "Fix: ask for fewer clusters."
        )
    return KMeans(n_clusters=n_clusters, n_init=10, random_state=seed).fit_predict(x_nd)


def nmi(labels: Any, clusters: Any) -> float:
    """Normalised mutual information (arithmetic mean) of labels and given clusters.

    Parameters
    ----------
    labels, clusters
        (n,) label and cluster of each cell, such as ``kmeans_clusters(x, n_labels)``.

    Returns
    -------
    0 to 1; NaN if there is a single label (nothing to recover).

    Raises
    ------
    InputError
        On missing labels or different lengths.
    """
    label_n, cluster_n, n_labels = _pair("nmi", labels, clusters)
    return float(normalized_mutual_info_score(label_n, cluster_n)) if n_labels > 1 else float("nan")


def ari(labels: Any, clusters: Any) -> float:
    """Rand index of labels and given clusters, adjusted for chance (Hubert and Arabie 1985).

    Parameters
    ----------
    labels, clusters
        (n,) label and cluster of each cell, such as ``kmeans_clusters(x, n_labels)``.

    Returns
    -------
    -0.5 to 1, 0 at chance; NaN if there is a single label (nothing to recover).

    Raises
    ------
    InputError
        On missing labels or different lengths.
    """
    label_n, cluster_n, n_labels = _pair("ari", labels, clusters)
    return float(adjusted_rand_score(label_n, cluster_n)) if n_labels > 1 else float("nan")


def _pair(function: str, labels: Any, clusters: Any) -> tuple[np.ndarray, np.ndarray, int]:
    label_n, levels = codes(function, "labels", labels)
    cluster_n, _ = codes(function, "clusters", clusters)
    same_rows(function, labels=label_n, clusters=cluster_n)
    return label_n, cluster_n, len(levels)
