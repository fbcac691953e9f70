"""Nearest neighbours, computed once and passed around."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from omicsfm._errors import InputError
from omicsfm.metrics._check import real, same_columns, same_rows

# Rows are handled in chunks whose largest temporary holds about this many numbers (32 MB).
_CHUNK = 4_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Neighbors:
    """The k nearest rows of a reference, for each row of a query (or of the reference itself).

    Attributes
    ----------
    indices
        (n, k) positions in the reference, nearest first; equally near ones in order of position.
    distances
        (n, k) Euclidean distances, not decreasing along a row.
    """

    indices: np.ndarray
    distances: np.ndarray

    def __post_init__(self) -> None:
        if self.indices.ndim != 2 or 0 in self.indices.shape or self.indices.shape != self.distances.shape:
            raise InputError(
                "Neighbors: `indices` and `distances` must be two (n, k) arrays, found shapes "
                f"{self.indices.shape} and {self.distances.shape}. Fix: use neighbors(x, k)."
            )
        if self.indices.dtype.kind not in "iu" or self.indices.min() < 0:
            raise InputError(
                "Neighbors: `indices` must be positions (integers from 0), found "
                f"{self.indices.dtype} from {self.indices.min()}. Fix: use neighbors(x, k)."
            )
        if np.isnan(self.distances).any():
            raise InputError("Neighbors: `distances` must hold no NaN, found some. Fix: use neighbors(x, k).")

    @property
    def n_obs(self) -> int:
        """Number of rows whose neighbours these are."""
        return int(self.indices.shape[0])

    @property
    def k(self) -> int:
        """Number of neighbours of each row."""
        return int(self.indices.shape[1])

    def first(self, k: int) -> Neighbors:
        """Only the `k` nearest of the neighbours held."""
        if not 1 <= k <= self.k:
            raise InputError(f"Neighbors.first: k must be 1 to {self.k}, found {k}. Fix: compute more neighbours.")
        return Neighbors(self.indices[:, :k], self.distances[:, :k])


def neighbors(x: Any, k: int, *, query: Any = None) -> Neighbors:
    """Find the `k` nearest rows of `x` by Euclidean distance, exactly.

    A row is never its own neighbour: it is left out by position, so that of two identical rows each is the other's
    neighbour. For cosine distance scale the rows to length one first. The same input gives the same output.

    Parameters
    ----------
    x
        (n, d) reference.
    k
        Number of neighbours.
    query
        (m, d) rows to find neighbours for; None stands for `x` itself, every row without itself.

    Returns
    -------
    Neighbors with (n, k) or (m, k) arrays.

    Raises
    ------
    InputError
        On NaN, on different widths of `x` and `query`, or if `x` holds fewer than `k` candidates.
    """
    x_nd = real("neighbors", "x", x)
    query_md = x_nd if query is None else real("neighbors", "query", query)
    same_columns("neighbors", x=x_nd, query=query_md)
    wanted = k + (query is None)
    if k < 1 or wanted > len(x_nd):
        raise InputError(
            f"neighbors: k={k} needs k >= 1 and at least {wanted} rows in `x`, found shape {x_nd.shape}. Fix: lower k."
        )
    centre = x_nd.mean(axis=0)  # |a|^2 - 2ab + |b|^2 loses digits far from the origin
    index = NearestNeighbors(n_neighbors=wanted).fit(x_nd - centre)
    found = index.kneighbors(query_md - centre, return_distance=False)
    if query is None:
        found = _without_self(found)
    distances = _distances(x_nd, query_md, found)
    order = np.lexsort((found, distances), axis=-1)
    return Neighbors(
        np.take_along_axis(found, order, axis=1).astype(np.int64), np.take_along_axis(distances, order, axis=1)
    )


def check_neighbors(function: str, neighbors: Neighbors, **values: np.ndarray) -> None:
    """Raise unless `neighbors` are neighbours among the very rows that the one array in `values` describes."""
    if not isinstance(neighbors, Neighbors):
        raise InputError(
            f"{function}: `neighbors` must be Neighbors, found {type(neighbors).__name__}. Fix: pass neighbors(x, k)."
        )
    same_rows(function, **{"neighbors.indices": neighbors.indices}, **values)
    if neighbors.indices.max() >= neighbors.n_obs:
        raise InputError(
            f"{function}: neighbours must lie among the {neighbors.n_obs} rows themselves, found index "
            f"{int(neighbors.indices.max())}. Fix: compute neighbors(x, k) without `query`."
        )


def _without_self(found: np.ndarray) -> np.ndarray:
    """Drop each row's own position; where duplicates crowded it out, drop the farthest instead."""
    n, wanted = found.shape
    is_self = found == np.arange(n)[:, None]
    drop = np.where(is_self.any(axis=1), is_self.argmax(axis=1), wanted - 1)
    keep = np.ones(found.shape, dtype=bool)
    keep[np.arange(n), drop] = False
    return found[keep].reshape(n, wanted - 1)


def _distances(x_nd: np.ndarray, query_md: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Distances by subtraction, so that identical rows are exactly 0 apart."""
    out = np.empty(found.shape)
    step = max(1, _CHUNK // (found.shape[1] * x_nd.shape[1]))
    for start in range(0, len(found), step):
        part = slice(start, start + step)
        gap = x_nd[found[part]] - query_md[part, None, :]
        out[part] = np.sqrt(np.einsum("nkd,nkd->nk", gap, gap))
    return out
