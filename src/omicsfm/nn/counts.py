"""Counts and LowRank: a batch's counts as CSR parts, and the low-rank rates that should explain them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from omicsfm._errors import InputError
from omicsfm.nn._precision import no_autocast, widen

# A library size below this counts as this: the log of a rate stays finite for a cell without counts.
MIN_LIBRARY = 1e-8


class Counts(NamedTuple):
    """The three parts of a CSR matrix (cells, features) of counts; a cell names no feature twice.

    Attributes
    ----------
    indptr
        (b + 1,) integers: cell i owns entries ``indptr[i]`` to ``indptr[i + 1]``.
    indices
        Feature of each entry, any integer type.
    data
        Count of each entry.
    """

    indptr: Tensor
    indices: Tensor
    data: Tensor


class LowRank(NamedTuple):
    """Scores ``t_bd w_gd' + bias_g`` and a library size: the rate of a feature is ``library * exp(score)``.

    Attributes
    ----------
    t_bd
        Tokens of the cells.
    w_gd
        Loadings of all features.
    bias_g
        Log share of each feature at tokens of zero.
    library_b
        Library size of each cell, at least 0 (0 counts as 1e-8).
    """

    t_bd: Tensor
    w_gd: Tensor
    bias_g: Tensor
    library_b: Tensor


@dataclass(frozen=True)
class Batch:
    """Scores of the features at hand (all, or a subset), and where the entries of the counts lie among them."""

    score_bm: Tensor
    log_library_b1: Tensor
    rows_n: Tensor
    columns_n: Tensor
    x_n: Tensor
    chosen: Tensor | slice
    weight: float

    def at_entries(self, value_bm: Tensor) -> Tensor:
        """Give the value (cells, features) at each entry."""
        # index_select: the gradient of indexing with brackets sorts the indices first, at several times the cost.
        return value_bm.flatten().index_select(0, self.rows_n * value_bm.shape[1] + self.columns_n)

    def of_feature(self, value_m: Tensor) -> Tensor:
        """Give the value of the feature of each entry."""
        return value_m.index_select(0, self.columns_n)

    def total(self, every_bm: Tensor, entry_n: Tensor) -> Tensor:
        """Add, per cell, terms of every feature and terms of the entries; scaled up to all features."""
        every_b = every_bm.sum(1)
        return self.weight * every_b.index_add(0, self.rows_n, entry_n.to(every_b.dtype))


def batch(where: str, counts: Counts, rates: LowRank, features: Tensor | None) -> Batch:
    """Score the features, and find the counts among them.

    With `features`, the cost is that of these features alone, but for one pass over the entries.
    """
    _check(where, counts, rates)
    n_cells, n_features = len(rates.t_bd), len(rates.w_gd)
    lengths = counts.indptr.diff().long()
    rows = torch.repeat_interleave(torch.arange(n_cells, device=lengths.device), lengths)
    columns, x = counts.indices.long(), counts.data
    chosen: Tensor | slice = slice(None)
    weight = 1.0
    if features is not None:
        place = _places(where, features, n_features)[columns]
        kept = place >= 0
        rows, columns, x = rows[kept], place[kept], x[kept]
        chosen, weight = features.long(), n_features / len(features)
    with no_autocast(rates.t_bd):
        score = widen(rates.t_bd) @ widen(rates.w_gd[chosen]).T + widen(rates.bias_g[chosen])
    log_library = widen(rates.library_b).clamp(min=MIN_LIBRARY).log()[:, None]
    return Batch(score, log_library, rows, columns, x.to(score.dtype), chosen, weight)


def _places(where: str, features: Tensor, n_features: int) -> Tensor:
    """Give the place of every feature among the chosen, -1 for the others."""
    integers = features.dtype in (torch.int16, torch.int32, torch.int64)
    if integers and features.dim() == 1 and len(features) and 0 <= features.min() and features.max() < n_features:
        place = torch.full((n_features,), -1, dtype=torch.long, device=features.device)
        place[features.long()] = torch.arange(len(features), device=features.device)
        if int((place >= 0).sum()) == len(features):
            return place
    raise InputError(
        f"{where}: features must be distinct integers from 0 to {n_features - 1}, at least one, found "
        f"{features.dtype} of shape {tuple(features.shape)}. Fix: pass torch.randperm({n_features})[:n], or None."
    )


def _check(where: str, counts: Counts, rates: LowRank) -> None:
    b, d = rates.t_bd.shape
    g = len(rates.w_gd)
    needed = {"w_gd": (g, d), "bias_g": (g,), "library_b": (b,)}
    found = {name: tuple(getattr(rates, name).shape) for name in needed}
    needed["indptr"], found["indptr"] = (b + 1,), tuple(counts.indptr.shape)
    for name, shape in needed.items():
        if found[name] != shape:
            raise InputError(
                f"{where}: {name} of shape {shape} is needed for {b} cells, {d} tokens and {g} features, found "
                f"{found[name]}. Fix: give the same cells and features in all parts."
            )
