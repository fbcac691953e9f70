"""Cells grouped by which modalities they were measured in, in blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from omicsfm.models._factor import Pattern
from omicsfm.pp import Tokens

BLOCK_ROWS = 16_384


@dataclass(frozen=True)
class Block:
    """Some cells of one pattern: their positions in obs, and in the rows of each modality."""

    pattern: Pattern
    obs: np.ndarray
    rows: dict[str, np.ndarray]

    def only(self, pattern: Pattern) -> Block:
        """Give the same cells as if they had been measured in `pattern` alone."""
        return Block(pattern, self.obs, {m: self.rows[m] for m in pattern})

    def without(self, mod: str) -> Pattern:
        """Give the pattern less one modality."""
        return tuple(m for m in self.pattern if m != mod)


def positions(names: Sequence[str], values: np.ndarray) -> np.ndarray:
    """Position of every value among the names, int64; -1 for one that is not there."""
    return pd.Index(names, dtype=object).get_indexer(pd.Index(values, dtype=object)).astype(np.int64)


def row_of(rows: np.ndarray, n_obs: int) -> np.ndarray:
    """Turn positions in obs of the rows of a table into the row of every cell, int64 (n_obs,); -1 without one."""
    out = np.full(n_obs, -1, dtype=np.int64)
    out[rows] = np.arange(len(rows))
    return out


def blocks(tokens: Tokens, *, obs: np.ndarray | None = None, n_rows: int = BLOCK_ROWS) -> Iterator[Block]:
    """Walk through cells (all, or the positions `obs`) pattern by pattern; the pattern of a cell may be empty."""
    mods = sorted(tokens.values)
    row = {mod: row_of(tokens.rows[mod], tokens.n_obs) for mod in mods}
    obs = np.arange(tokens.n_obs) if obs is None else obs
    code = np.zeros(len(obs), dtype=np.int64)
    for i, mod in enumerate(mods):
        code += (row[mod][obs] >= 0).astype(np.int64) << i
    for value in np.unique(code):
        pattern = tuple(mod for i, mod in enumerate(mods) if value >> i & 1)
        cells = obs[code == value]
        for start in range(0, len(cells), n_rows):
            part = cells[start : start + n_rows]
            yield Block(pattern, part, {mod: row[mod][part] for mod in pattern})
