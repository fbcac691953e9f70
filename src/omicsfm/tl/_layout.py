"""Cells in two dimensions, for looking only."""

from __future__ import annotations

import warnings

import numpy as np

from omicsfm import metrics

MAX_CELLS = 5000


def umap_layout(state_nk: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Lay out states by UMAP: at most 5,000 cells, drawn at random.

    Parameters
    ----------
    state_nk
        (n_obs, k).
    seed
        Of the cells and of the layout.

    Returns
    -------
    Rows that were laid out (m,), in order, and their coordinates (m, 2).

    References
    ----------
    McInnes et al. (2018), arXiv:1802.03426.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap-learn warns about its own threads and its missing tensorflow
        from umap import UMAP

        keep = np.sort(np.random.default_rng(seed).permutation(len(state_nk))[:MAX_CELLS])
        n_neighbors = min(15, len(keep) - 1)
        # Exact neighbours, the cell itself first: umap-learn's own search would be compiled first, for seconds.
        near = metrics.neighbors(state_nk[keep], n_neighbors - 1)
        itself = np.arange(len(keep))[:, None]
        known = (
            np.hstack([itself, near.indices]),
            np.hstack([np.zeros((len(keep), 1)), near.distances]).astype(np.float32),
            None,
        )
        layout = UMAP(n_neighbors=n_neighbors, min_dist=0.3, random_state=seed, n_jobs=1, precomputed_knn=known)
        return keep, layout.fit_transform(state_nk[keep])
