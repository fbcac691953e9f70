"""Weighted nearest neighbours, arrays only: modality weights of cells, and their neighbours under these weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.special import softmax

from omicsfm import hub

EPS = 1e-4  # in the ratio of affinities, as in Seurat
MAX_RATIO = 200.0  # as in Seurat
SAME_CELL = 1e-5  # between unit vectors: nearer than this, it is the cell itself

Views = Mapping[str, np.ndarray]


@hub.state
@dataclass(frozen=True)
class Reference:
    """Cells with all modalities, among which neighbours are sought.

    Attributes
    ----------
    x : modality -> (n, d), rows of unit length.
    near : modality -> (n, k) positions of each cell's nearest others.
    """

    x: dict[str, np.ndarray]
    near: dict[str, np.ndarray]

    @classmethod
    def fit(cls, x: Views, k: int) -> Reference:
        """Find the `k` nearest others of every cell in every modality."""
        x = {m: unit(v) for m, v in x.items()}
        return cls(x, {m: _nearest_others(v, k) for m, v in x.items()})

    @property
    def n_obs(self) -> int:
        """Number of reference cells."""
        return len(next(iter(self.x.values())))


def unit(x_nd: np.ndarray) -> np.ndarray:
    """Scale rows to length 1; a row of zeros stays."""
    return x_nd / np.maximum(np.linalg.norm(x_nd, axis=1, keepdims=True), 1e-12)


def weighted_neighbors(reference: Reference, x: Views, n_candidates: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the reference cells most similar to each cell, over the modalities that the cells have.

    Parameters
    ----------
    reference
        Cells with all modalities.
    x
        Modality -> (n, d), rows of unit length; a block of cells, small enough for (n, n_obs of the reference).
    n_candidates
        Nearest cells per modality that are compared.

    Returns
    -------
    indices (n, k) and similarities (n, k), most similar first, and modality weights (n, n_modalities) that sum to 1.

    References
    ----------
    Hao et al. (2021), Cell 184:3573, STAR methods "Weighted nearest neighbor analysis"; with more than two modalities
    the best of the cross-modality predictions counts, as in muon (Bredikhin et al. 2022).
    """
    mods = list(x)
    distance = {m: cross_distance(x[m], reference.x[m]) for m in mods}
    _leave_out_self(list(distance.values()))
    k = next(iter(reference.near.values())).shape[1]
    near = {m: _nearest(distance[m], k) for m in mods}
    first = {m: np.take_along_axis(distance[m], near[m][:, :1], axis=1) for m in mods}
    width = {m: np.maximum(_bandwidth(reference.near[m], near[m], distance[m]) - first[m], 1e-6) for m in mods}

    def affinity(m: str, d: np.ndarray) -> np.ndarray:
        return np.exp(-np.maximum(d - first[m], 0) / width[m])

    n = len(x[mods[0]])
    ratio = np.zeros((n, len(mods)))
    for i, m in enumerate(mods):
        found = {o: np.linalg.norm(x[m] - reference.x[m][near[o]].mean(axis=1), axis=1)[:, None] for o in mods}
        cross = [affinity(m, found[o]) for o in mods if o != m]
        best = np.max(cross, axis=0) if cross else np.zeros((n, 1))
        ratio[:, [i]] = np.minimum(affinity(m, found[m]) / (best + EPS), MAX_RATIO)
    weight = softmax(ratio, axis=1)
    n_candidates = min(max(n_candidates, k), reference.n_obs - 1)
    candidate = np.hstack([_nearest(distance[m], n_candidates) for m in mods])
    candidate.sort(axis=1)
    similarity = np.zeros(candidate.shape)
    for i, m in enumerate(mods):
        similarity += weight[:, [i]] * affinity(m, np.take_along_axis(distance[m], candidate, axis=1))
    similarity[:, 1:][candidate[:, 1:] == candidate[:, :-1]] = -1  # a candidate of two modalities counts once
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(candidate, order, axis=1), np.take_along_axis(similarity, order, axis=1), weight


def cross_distance(x_nd: np.ndarray, y_md: np.ndarray) -> np.ndarray:
    """Euclidean distances (n, m)."""
    squared = (x_nd**2).sum(axis=1)[:, None] + (y_md**2).sum(axis=1) - 2 * x_nd @ y_md.T
    return np.sqrt(np.maximum(squared, 0, out=squared))


def _leave_out_self(distances: list[np.ndarray]) -> None:
    """Put a cell that is in the reference infinitely far from itself, so that it is treated as a new one would be."""
    apart = np.max(distances, axis=0)
    closest = apart.argmin(axis=1)
    row = np.flatnonzero(apart[np.arange(len(apart)), closest] < SAME_CELL)
    for distance_nm in distances:
        distance_nm[row, closest[row]] = np.inf


def _nearest_others(x_nd: np.ndarray, k: int) -> np.ndarray:
    step = max(1, 4_000_000 // len(x_nd))
    parts = []
    for start in range(0, len(x_nd), step):
        distance_bn = cross_distance(x_nd[start : start + step], x_nd)
        row = np.arange(len(distance_bn))
        distance_bn[row, start + row] = np.inf
        parts.append(_nearest(distance_bn, k))
    return np.vstack(parts)


def _nearest(distance_nm: np.ndarray, k: int) -> np.ndarray:
    """Positions of the `k` nearest, nearest first."""
    found = np.argpartition(distance_nm, k - 1, axis=1)[:, :k]
    order = np.argsort(np.take_along_axis(distance_nm, found, axis=1), axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1)


def _bandwidth(reference_near: np.ndarray, near: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Mean distance (n, 1) to the k cells that share fewest neighbours, but at least one (of equals, the farthest)."""
    n, k = near.shape
    m = len(reference_near)
    rows, columns = np.repeat(np.arange(n), k), np.repeat(np.arange(m), k)
    query = sparse.csr_array((np.ones(n * k), (rows, near.ravel())), shape=(n, m))
    other = sparse.csr_array((np.ones(m * k), (columns, reference_near.ravel())), shape=(m, m))
    shared = (query @ other.T).tocoo()
    row, column = shared.coords
    far = distance[row, column]
    keep = np.isfinite(far)  # the cell itself shares all
    row, shared_n, far = row[keep], shared.data[keep], far[keep]
    # The Jaccard index, shared / (2k - shared), grows with the number shared.
    order = np.lexsort((-far, shared_n, row))
    row, far = row[order], far[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    chosen = rank < k
    count = np.bincount(row[chosen], minlength=n)
    total = np.bincount(row[chosen], weights=far[chosen], minlength=n)
    last = np.take_along_axis(distance, near[:, -1:], axis=1).ravel()
    return np.where(count > 0, total / np.maximum(count, 1), last)[:, None]
