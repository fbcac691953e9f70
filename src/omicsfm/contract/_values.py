"""One cheap pass over X: what kind of numbers it holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from omicsfm import io

_CHUNK = 1 << 22


@dataclass
class Scan:
    """What a pass over X found; counts are of stored entries."""

    n_nan: int = 0
    n_inf: int = 0
    n_negative: int = 0
    n_fractional: int = 0
    low: float = np.inf
    high: float = -np.inf
    negative: float = np.nan
    fractional: float = np.nan
    empty_rows: int = 0

    @property
    def counts(self) -> bool:
        """Whether all entries are non-negative integers."""
        return not (self.n_nan or self.n_inf or self.n_negative or self.n_fractional)

    @property
    def log_like(self) -> bool:
        """Whether this looks like log1p of normalised counts: fractions, none negative, up to log1p(1e10)."""
        return bool(self.n_fractional and not self.n_negative and 1 < self.high < 24)

    def add(self, values: np.ndarray) -> None:
        """Take in a one-axis array of entries."""
        if not values.size or values.dtype.kind == "b":
            return
        if values.dtype.kind == "f":
            # Two reductions tell whether anything is wrong; only then is it counted.
            with np.errstate(invalid="ignore"):
                low, high = values.min(), values.max()
            if not (np.isfinite(low) and np.isfinite(high)):
                self.n_nan += int(np.isnan(values).sum())
                self.n_inf += int(np.isinf(values).sum())
                values = values[np.isfinite(values)]
                if not values.size:
                    return
                low, high = values.min(), values.max()
            odd = values != np.floor(values)
            if odd.any():
                self.n_fractional += int(odd.sum())
                self.fractional = float(values[odd.argmax()])
        else:
            low, high = values.min(), values.max()
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))
        if low < 0:
            self.n_negative += int((values < 0).sum())
            self.negative = float(low)


def _chunks(values: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


def scan(X: Any) -> Scan:
    """Look at every stored entry of X once; sparse stays sparse, backed matrices come in row blocks.

    A row is empty where nothing but zeros was measured, or, in a dense matrix, nothing but NaN.
    """
    found = Scan()
    if sp.issparse(X):
        for values in _chunks(X.data):
            found.add(values)
        stored = X if found.low > 0 else X != 0  # explicit zeros are stored too
        found.empty_rows = int((np.diff(sp.csr_matrix(stored).indptr) == 0).sum())
        return found
    for block in io.raw_blocks(X, max(1, _CHUNK // max(1, X.shape[1]))):
        if sp.issparse(block):
            found.add(block.data)
            found.empty_rows += int((np.diff(sp.csr_matrix(block != 0).indptr) == 0).sum())
        else:
            found.add(block.ravel())
            zero = block == 0
            if block.dtype.kind == "f":
                zero |= np.isnan(block)
            found.empty_rows += int(zero.all(axis=1).sum())
    return found
