"""Which peaks lie near which genes."""

from __future__ import annotations

import numpy as np
import pandas as pd


def near_pairs(peaks: pd.DataFrame, genes: pd.DataFrame, max_distance: int) -> pd.DataFrame:
    """Pair each gene with the peaks at most `max_distance` bases away.

    Parameters
    ----------
    peaks, genes
        With chrom, start, end (half-open), in any order; a gene is the interval from which distance is counted.
    max_distance
        Largest number of bases between the two intervals.

    Returns
    -------
    DataFrame: peak, gene (positions in the tables), distance (0 where they overlap); by gene, then peak.
    """
    parts = [pd.DataFrame({"peak": [], "gene": [], "distance": []}, dtype=np.int64)]
    gene_chrom = genes["chrom"].to_numpy(dtype=object)
    for chrom, rows in pd.Series(np.arange(len(peaks))).groupby(peaks["chrom"].to_numpy(dtype=object)):
        mine = np.flatnonzero(gene_chrom == chrom)
        if not len(mine):
            continue
        order = rows.to_numpy()[np.argsort(peaks["start"].to_numpy()[rows], kind="stable")]
        start, end = peaks["start"].to_numpy()[order], peaks["end"].to_numpy()[order]
        longest = int((end - start).max())
        first, last = genes["start"].to_numpy()[mine], genes["end"].to_numpy()[mine]
        low = np.searchsorted(start, first - max_distance - longest)
        high = np.searchsorted(start, last + max_distance, side="right")
        n = high - low
        which = np.repeat(np.arange(len(mine)), n)
        at = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n) + low[which]
        distance = np.maximum(0, np.maximum(start[at] - last[which], first[which] - end[at]))
        kept = distance <= max_distance
        parts.append(pd.DataFrame({"peak": order[at[kept]], "gene": mine[which[kept]], "distance": distance[kept]}))
    return pd.concat(parts).astype(np.int64).sort_values(["gene", "peak"], ignore_index=True)


def start_sites(genes: pd.DataFrame, *, stranded: np.ndarray) -> pd.DataFrame:
    """Give where transcription starts, one base at the 5' end, for genes whose strand is told; else the whole gene."""
    minus = genes["minus"].to_numpy()
    site = np.where(minus, genes["end"].to_numpy() - 1, genes["start"].to_numpy())
    start = np.where(stranded, site, genes["start"].to_numpy())
    end = np.where(stranded, site + 1, genes["end"].to_numpy())
    return genes.assign(start=start, end=end)
