"""Which peaks lie near others."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from omicsfm.seq._intervals import near


def neighbours(table: pd.DataFrame, peaks: pd.DataFrame, reach: int, *, others: bool = False) -> sparse.csr_matrix:
    """Weigh the peaks for each interval of a table (chrom, start, end), CSR (n_table, n_peaks).

    With `others`, `table` is that of the peaks, and no peak counts for itself.

    Where peaks overlap an interval, they count the same and all others nothing; else those at most `reach` bases away
    count ``exp(-3 gap / reach)``. Rows sum to 1, or hold nothing.
    """
    i, j, apart = near(table, peaks, reach)
    # Half-open intervals that share no base but touch are neighbours: 1 base apart.
    gap = np.maximum(0, 1 + apart)
    kept = gap <= reach
    if others:
        kept &= j != i
    i, j, gap = i[kept], j[kept], gap[kept]
    covered = np.zeros(len(table), dtype=bool)
    covered[i[gap == 0]] = True
    weight = np.where(covered[i], gap == 0, np.exp(-3.0 * gap / max(reach, 1)))
    total = np.bincount(i, weight, len(table))
    out = sparse.csr_matrix((weight / total[i], (i, j)), shape=(len(table), len(peaks)))
    out.eliminate_zeros()
    return out
