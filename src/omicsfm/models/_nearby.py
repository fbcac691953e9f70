"""Which peaks lie near others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse


@dataclass(frozen=True)
class Places:
    """Peaks on a genome, sorted by chromosome and start.

    Attributes
    ----------
    chrom : names of chromosomes, by code.
    code, start, end : int64 (n,).
    row : int64 (n,), position of each in the table that it came from.
    """

    chrom: list[str]
    code: np.ndarray
    start: np.ndarray
    end: np.ndarray
    row: np.ndarray

    @classmethod
    def of(cls, table: pd.DataFrame) -> Places:
        """Sort intervals (chrom, start, end)."""
        chrom, code = np.unique(table["chrom"].to_numpy(dtype=str), return_inverse=True)
        start, end = (table[name].to_numpy(dtype=np.int64) for name in ("start", "end"))
        row = np.lexsort((start, code)).astype(np.int64)
        return cls([str(name) for name in chrom], code[row].astype(np.int64), start[row], end[row], row)

    def near(self, table: pd.DataFrame, reach: int, *, others: bool = False) -> sparse.csr_matrix:
        """Weigh these peaks for each interval of a table, CSR (n_table, n); columns are rows of what `of` was given.

        With `others`, `table` is that very table, and no peak counts for itself.

        Where peaks overlap an interval, they count the same and all others nothing; else those at most `reach` bases
        away count ``exp(-3 gap / reach)``. Rows sum to 1, or hold nothing.
        """
        code_of = {name: i for i, name in enumerate(self.chrom)}
        code = np.array([code_of.get(str(name), -1) for name in table["chrom"]], dtype=np.int64)
        first, last = (table[name].to_numpy(dtype=np.int64) for name in ("start", "end"))
        longest = int((self.end - self.start).max(initial=0))
        # One line for all chromosomes, each longer than any of them.
        line = int(max(self.end.max(initial=0), last.max(initial=0))) + 2 * (reach + longest + 1)
        at = self.code * line + self.start
        low = np.searchsorted(at, code * line + first - reach - longest)
        high = np.searchsorted(at, code * line + last + reach, side="right")
        n = np.where(code >= 0, np.maximum(high - low, 0), 0)
        i = np.repeat(np.arange(len(table)), n)
        j = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n) + low[i]
        # Half-open intervals that share no base but touch are neighbours: 1 base apart.
        gap = np.maximum(0, 1 + np.maximum(self.start[j] - last[i], first[i] - self.end[j]))
        kept = (gap <= reach) & (self.code[j] == code[i])
        if others:
            kept &= self.row[j] != i
        i, j, gap = i[kept], j[kept], gap[kept]
        covered = np.zeros(len(table), dtype=bool)
        covered[i[gap == 0]] = True
        weight = np.where(covered[i], gap == 0, np.exp(-3.0 * gap / max(reach, 1)))
        total = np.bincount(i, weight, len(table))
        weight = weight / total[i]
        out = sparse.csr_matrix((weight, (i, self.row[j])), shape=(len(table), len(self.row)))
        out.eliminate_zeros()
        return out
