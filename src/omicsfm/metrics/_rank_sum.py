"""Wilcoxon rank-sum test of every group of cells against one reference group, for all features at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.special import erfc

from omicsfm._errors import InputError
from omicsfm._progress import progress
from omicsfm.metrics._check import array, codes, same_rows

_COLUMNS = 256  # features handled at once
_SKIP = -1


@dataclass(frozen=True)
class RankSum:
    """What :func:`rank_sum` found, one row per group other than the reference.

    Attributes
    ----------
    groups : Index (n_groups), sorted.
    n : (n_groups,) number of cells of each group.
    n_reference : number of cells of the reference.
    statistic : (n_groups, n_features) z; positive where the group is higher than the reference.
    p_value : (n_groups, n_features) two-sided, of the normal approximation.
    auc : (n_groups, n_features) chance that a cell of the group is higher than one of the reference, a tie counting
        half; the Mann-Whitney U is ``auc * n * n_reference``.
    """

    groups: pd.Index
    n: np.ndarray
    n_reference: int
    statistic: np.ndarray
    p_value: np.ndarray
    auc: np.ndarray


def rank_sum(x: Any, groups: Any, *, reference: Any, tie_correct: bool = True) -> RankSum:
    """Compare the values of each group with those of the reference by their ranks.

    Every feature is sorted once, over all cells; one walk through the sorted values then serves all groups. Zeros are
    counted, not sorted, so the time grows with the number of other entries. Values of any sign are ranked rightly.

    Parameters
    ----------
    x
        (n, n_features) values, dense or sparse, on any scale: only their order counts. Absent entries of a sparse
        matrix are zeros.
    groups
        (n,) labels.
    reference
        Label of the group that the others are compared with.
    tie_correct
        Correct the variance for ties. Without it tests of sparse data find less than there is.

    Returns
    -------
    RankSum
        No continuity correction is made. A feature with one value in all cells of both groups has z = 0 and p = 1. All
        as ``scanpy.tl.rank_genes_groups(method="wilcoxon", reference=...)`` has it.

    Raises
    ------
    InputError
        On NaN, missing labels, rows that do not agree, an absent reference or no other group.

    References
    ----------
    Mann and Whitney 1947, doi:10.1214/aoms/1177730491.
    """
    label_n, levels = codes("rank_sum", "groups", groups)
    if not sparse.issparse(x):
        x = array("rank_sum", "x", x)
    same_rows("rank_sum", x=x, groups=label_n)
    if x.ndim != 2 or x.dtype.kind not in "fiub":
        raise InputError(
            f"rank_sum: `x` must be a matrix of numbers, found shape {x.shape} of {x.dtype}. Fix: pass (n, n_features)."
        )
    if reference not in levels or len(levels) < 2:
        raise InputError(
            f"rank_sum: the reference and one more group are needed, found {len(levels)} group(s) and reference "
            f"{reference!r}. Fix: name one of {', '.join(map(repr, levels[:5]))} and give cells of others."
        )
    ref = int(np.flatnonzero(levels == reference)[0])
    order = np.delete(np.arange(len(levels)), ref)
    rank = np.empty(len(levels), dtype=np.int32)  # the reference is group 0 from here on
    rank[[ref, *order]] = np.arange(len(levels))
    code_n = rank[label_n]
    size = np.bincount(code_n)
    u_gf, ties_gf = (np.empty((len(levels) - 1, x.shape[1])) for _ in range(2))
    for start, block in _columns(x):
        bits = block.data.view(f"i{block.data.itemsize}")
        found = slice(start, start + block.shape[1])
        # One set of types, so that there is one compilation.
        indptr, indices, bits_64 = block.indptr.astype(np.int64), block.indices.astype(np.int32), bits.astype(np.int64)
        u_gf[:, found], ties_gf[:, found] = _walk(indptr, indices, bits_64, np.iinfo(bits.dtype).max, code_n, size)
    n_g, m = size[1:, None].astype(np.float64), float(size[0])
    both = n_g + m
    correction = 1 - ties_gf / (both**3 - both) if tie_correct else 1.0
    deviation = np.sqrt(correction * n_g * m * (both + 1) / 12)
    z = np.divide(u_gf - n_g * m / 2, deviation, out=np.zeros_like(u_gf), where=deviation > 0)
    return RankSum(
        pd.Index(levels[order]).infer_objects(), size[1:], int(m), z, erfc(np.abs(z) / np.sqrt(2)), u_gf / (n_g * m)
    )


def _columns(x: Any) -> Iterator[tuple[int, sparse.csc_matrix]]:
    """Blocks of features as CSC of float32 (where the values are) or float64, and the first feature of each."""
    if sparse.issparse(x):
        x = x.tocsc()
        if not x.has_canonical_format:
            x = x.copy()
            x.sum_duplicates()
    for start in progress(range(0, x.shape[1], _COLUMNS), desc="rank_sum"):
        block = sparse.csc_matrix(x[:, start : start + _COLUMNS])
        block.data = np.ascontiguousarray(block.data, dtype=np.float32 if block.dtype == np.float32 else np.float64)
        if np.isnan(block.data).any():
            raise InputError(
                f"rank_sum: `x` must hold no NaN, found {int(np.isnan(block.data).sum())} in features {start} to "
                f"{start + block.shape[1] - 1}. Fix: drop those features or cells."
            )
        yield start, block


@numba.njit(cache=True)
def _sort(key: np.ndarray, code: np.ndarray, key_b: np.ndarray, code_b: np.ndarray, n: int, n_bytes: int) -> bool:
    """Radix sort of the first `n` keys and their codes, byte by byte; True if the result is in the second buffers."""
    count = np.zeros((n_bytes, 256), dtype=np.int64)
    for i in range(n):
        for b in range(n_bytes):
            count[b, (key[i] >> (8 * b)) & 255] += 1
    swapped = False
    for b in range(n_bytes):
        flip = 128 if b == n_bytes - 1 else 0  # the sign bit: negative keys come first
        most, total = 0, 0
        for d in range(256):
            digit = d ^ flip
            c = count[b, digit]
            most = max(most, c)
            count[b, digit] = total
            total += c
        if most == n:  # all keys agree in this byte
            continue
        for i in range(n):
            digit = (key[i] >> (8 * b)) & 255
            to = count[b, digit]
            count[b, digit] = to + 1
            key_b[to] = key[i]
            code_b[to] = code[i]
        key, key_b = key_b, key
        code, code_b = code_b, code
        swapped = not swapped
    return swapped


@numba.njit(cache=True)
def _walk(
    indptr: np.ndarray, indices: np.ndarray, bits: np.ndarray, mask: int, code_n: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mann-Whitney U and sum of t^3 - t over ties, both (groups - 1, features); group 0 is the reference.

    `bits` are those of the values, read as integers. With all but the sign bit of negative ones flipped (`mask`), they
    have the order of the floats they stand for, and zero is zero.
    """
    n_features, n_groups = len(indptr) - 1, len(size)
    u, ties = np.empty((n_features, n_groups)), np.empty((n_features, n_groups))
    longest = np.max(np.diff(indptr))
    keys, codes_ = np.empty((2, longest + 1), dtype=np.int64), np.empty((2, longest + 1), dtype=np.int32)
    n_bytes = 4 if mask < 2**32 else 8
    zeros, run, seen = np.empty(n_groups), np.zeros(n_groups), np.empty(n_groups, dtype=np.int64)
    for f in range(n_features):
        n = 0
        zeros[:] = size
        for p in range(indptr[f], indptr[f + 1]):
            key = bits[p]
            if key & mask:  # neither 0.0 nor -0.0
                keys[0, n] = key ^ mask if key < 0 else key
                codes_[0, n] = code_n[indices[p]]
                zeros[codes_[0, n]] -= 1
                n += 1
        place = 1 if _sort(keys[0], codes_[0], keys[1], codes_[1], n, n_bytes) else 0
        key_n, code = keys[place], codes_[place]
        u[f], ties[f] = 0.0, 0.0
        below, own = 0.0, 0.0  # reference cells passed; ties among them
        i, zero_done = 0, False
        while i < n or not zero_done:
            if not zero_done and (i == n or key_n[i] > 0):
                zero_done = True
                r = zeros[0]
                for g in range(1, n_groups):
                    u[f, g] += zeros[g] * (below + r / 2)
                    t = r + zeros[g]
                    ties[f, g] += t * (t * t - 1) - r * (r * r - 1)
            else:
                start = i
                i += 1
                while i < n and key_n[i] == key_n[start]:
                    i += 1
                r = 0.0
                if i == start + 1:  # a value of its own, as most are: no ties
                    if code[start] == 0:
                        r = 1.0
                    else:
                        u[f, code[start]] += below
                else:
                    n_seen = 0
                    for j in range(start, i):
                        if run[code[j]] == 0:
                            seen[n_seen] = code[j]
                            n_seen += 1
                        run[code[j]] += 1
                    r = run[0]
                    for j in range(n_seen):
                        g, c = seen[j], run[seen[j]]
                        run[g] = 0
                        u[f, g] += c * (below + r / 2)
                        ties[f, g] += (r + c) * ((r + c) * (r + c) - 1) - r * (r * r - 1)
            below += r
            own += r * (r * r - 1)
        ties[f] += own
    return u.T[1:], ties.T[1:]
