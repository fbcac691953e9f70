"""Averages of a function of the distance over all pairs of cells of two groups, block by block."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from omicsfm._errors import InputError
from omicsfm._progress import progress
from omicsfm.metrics._check import codes, real, same_rows

if TYPE_CHECKING:
    import torch

_ROWS, _COLUMNS = 256, 1024  # cells of a block: 1 MB, which stays in the cache


def grouped(function: str, x: Any, groups: Any, reference: Any) -> tuple[np.ndarray, np.ndarray, pd.Index, int | None]:
    """Check what is given: points (n, d), codes (n,), the groups, and the code of the reference if there is one."""
    x_nd = real(function, "x", x)
    label_n, levels = codes(function, "groups", groups)
    same_rows(function, x=x_nd, groups=label_n)
    names = pd.Index(levels).infer_objects()
    if reference is None:
        return x_nd, label_n, names, None
    if reference not in levels:
        raise InputError(
            f"{function}: the reference must be one of the groups, found {reference!r}. "
            f"Fix: name one of {', '.join(map(repr, levels[:5]))}."
        )
    return x_nd, label_n, names, int(np.flatnonzero(levels == reference)[0])


def pair_means(
    x_nd: np.ndarray,
    label_n: np.ndarray,
    kernel: Callable[[torch.Tensor], torch.Tensor],
    *,
    reference: int | None = None,
    device: str | None = None,
) -> np.ndarray:
    """Average `kernel` of the squared distance over pairs of cells, one of each group.

    Squared distances come from a matrix product in float32. Points are centred on the group of the block's rows, so
    that what is near is told apart however far from the origin it lies. Sums are kept in float64.

    Parameters
    ----------
    x_nd
        (n, d) points.
    label_n
        (n,) codes 0, 1, ... of groups, none of them empty.
    kernel
        Changes squared distances in place, and returns them.
    reference
        Only pairs within a group or with this one; the others are NaN.
    device
        Of torch, as "cuda"; None: the CPU.

    Returns
    -------
    (n_groups, n_groups), symmetric; on the diagonal over pairs of distinct cells, NaN for a group of one.
    """
    import torch  # heavy, and the other metrics do without

    size = np.bincount(label_n)
    order = np.arange(len(size))
    if reference is not None:
        order[[0, reference]] = order[[reference, 0]]  # only the first group meets the others
    ends = np.cumsum(size[order])
    x_nd = x_nd[np.argsort(np.argsort(order)[label_n], kind="stable")]
    points = torch.as_tensor(x_nd - x_nd.mean(axis=0), device=device)
    out = np.full((len(size), len(size)), np.nan)
    for i in progress(range(len(size)), desc="pairs of groups"):
        n, start = int(size[order[i]]), ends[i] - size[order[i]]
        others = order[i:] if reference is None or i == 0 else order[i : i + 1]
        near = points[start : start + int(size[others].sum())]
        sums = _column_sums((near - near[:n].mean(dim=0)).float(), n, kernel).cpu().numpy()
        sums = np.add.reduceat(sums, ends[i : i + len(others)] - size[others] - start)
        pairs = n * size[others].astype(np.float64)
        pairs[0] -= n
        out[order[i], others] = out[others, order[i]] = np.divide(
            sums, pairs, out=np.full(len(others), np.nan), where=pairs > 0
        )
    return out


def _column_sums(near: torch.Tensor, n: int, kernel: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """For each point the sum of the kernel to the first `n` points but itself, float64."""
    import torch

    square = (near**2).sum(dim=1)
    total = torch.zeros(len(near), dtype=torch.float64, device=near.device)
    for a in range(0, n, _ROWS):
        rows = slice(a, min(a + _ROWS, n))
        for b in range(0, len(near), _COLUMNS):
            block = square[rows, None] + square[None, b : b + _COLUMNS]
            block = kernel(block.addmm_(near[rows], near[b : b + _COLUMNS].T, alpha=-2).clamp_(min=0))
            if b < n:
                block.diagonal(a - b).zero_()
            total[b : b + _COLUMNS] += block.sum(dim=0)
    return total
