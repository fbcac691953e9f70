"""Which peaks lie near which genes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from omicsfm.seq._intervals import near


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
    gene, peak, apart = near(genes, peaks, max_distance)
    pairs = pd.DataFrame({"peak": peak, "gene": gene, "distance": np.maximum(0, apart)})
    return pairs.sort_values(["gene", "peak"], ignore_index=True)


def start_sites(genes: pd.DataFrame, *, stranded: np.ndarray) -> pd.DataFrame:
    """Give where transcription starts, one base at the 5' end, for genes whose strand is told; else the whole gene."""
    minus = genes["minus"].to_numpy()
    site = np.where(minus, genes["end"].to_numpy() - 1, genes["start"].to_numpy())
    start = np.where(stranded, site, genes["start"].to_numpy())
    end = np.where(stranded, site + 1, genes["end"].to_numpy())
    return genes.assign(start=start, end=end)
