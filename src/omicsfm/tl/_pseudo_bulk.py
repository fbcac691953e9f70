"""Cells of like state pooled, each modality over the cells that have it."""

from __future__ import annotations

import warnings

import numpy as np
import scipy.sparse as sp
from mudata import MuData
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from omicsfm import contract, io

_FIT_ROWS = 20_000  # cells that k-means looks at


def state_of_cells(state_nk: np.ndarray, n_states: int, *, seed: int) -> np.ndarray:
    """Give each cell the number of its state, int64 (n_obs,), by k-means on a sample."""
    rng = np.random.default_rng(seed)
    sample = state_nk
    if len(state_nk) > _FIT_ROWS:
        sample = state_nk[np.sort(rng.choice(len(state_nk), _FIT_ROWS, replace=False))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct cells than states: some stay empty
        found = KMeans(n_states, n_init=1, max_iter=50, random_state=seed).fit(sample.astype(np.float64))
    return found.predict(state_nk.astype(np.float64)).astype(np.int64)


def pooled_expression(mdata: MuData, mod: str, state_n: np.ndarray, n_states: int) -> np.ndarray:
    """Give log1p of counts per 10,000 of each state, (n_states, n_vars), from the cells measured in a modality.

    NaN where no cell of the state has the feature.
    """
    of_row = state_n[contract.rows(mdata, mod)]
    seen = contract.measured(mdata, mod)
    adata = mdata.mod[mod]
    total, n = np.zeros((n_states, adata.n_vars)), np.zeros((n_states, adata.n_vars))
    start = 0
    for block in io.raw_blocks(adata.X):
        span = slice(start, start + block.shape[0])
        start = span.stop
        m = block.shape[0]
        pool = sp.csr_matrix((np.ones(m), (of_row[span], np.arange(m))), shape=(n_states, m))
        if seen is None:
            total += np.asarray((pool @ sp.csr_matrix(block)).todense())
            n += np.asarray(pool.sum(axis=1)).reshape(-1, 1)
        else:
            kept = sp.csr_matrix(seen[span].astype(np.float64))
            values = sp.csr_matrix(np.nan_to_num(block.toarray() if sp.issparse(block) else block))
            total += np.asarray((pool @ values.multiply(kept)).todense())
            n += np.asarray((pool @ kept).todense())
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(n > 0, total / n, np.nan)
        return np.log1p(1e4 * mean / np.nansum(mean, axis=1, keepdims=True))
