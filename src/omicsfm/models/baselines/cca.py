"""CCA: regularised canonical correlation of two or more modalities, on tokens."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from mudata import MuData
from scipy import linalg

from omicsfm import hub
from omicsfm.models._cells import blocks
from omicsfm.models.baselines._base import Embedder
from omicsfm.models.baselines._views import Views, block_of
from omicsfm.pp import Tokens


@hub.saveable
class CCA(Embedder):
    """Regularised canonical correlation analysis of cells measured in at least two modalities.

    For more than two modalities it is the generalised form (MAXVAR): the eigenvectors of all covariances against those
    within modalities, each covariance from the cells that have both. With two it is CCA. Variates are weighted by
    their canonical correlation. A cell takes the mean of the variates of the modalities it has, so unpaired cells need
    nothing more. Nothing is done about batches.

    Parameters
    ----------
    n_components
        Largest number of canonical variates; those without positive correlation are dropped.
    ridge
        Added to each modality's covariance, as a share of its mean variance.
    n_tokens
        Tokens per modality.
    seed
        Seed of the randomised SVD behind the tokens.

    Attributes
    ----------
    correlation_ : (n_components,) canonical correlations; for more than two modalities their mean over pairs.
    weights_ : modality -> (n_tokens, n_components), variates of unit (regularised) variance.
    views_ : centre and scale of each modality, over the cells with at least two.

    References
    ----------
    Vinod (1976), J. Econom. 4:147 (ridge); Kettenring (1971), Biometrika 58:433 (MAXVAR).
    """

    def __init__(self, n_components: int = 15, *, ridge: float = 0.05, n_tokens: int = 30, seed: int = 0) -> None:
        self.n_components = n_components
        self.ridge = ridge
        self.n_tokens = n_tokens
        self.seed = seed

    def _fit(self, mdata: MuData, tokens: Tokens) -> None:
        linked = np.concatenate([b.obs for b in blocks(tokens) if len(b.pattern) > 1])
        mods = sorted(tokens.values)
        obs = {m: np.intersect1d(linked, tokens.rows[m]) for m in mods}
        part = {m: tokens.values[m][block_of(tokens, obs[m], (m,)).rows[m]] for m in mods}
        self.views_ = Views.fit(Tokens(part, obs, tokens.obs_names, tokens.batch))
        edge = np.cumsum([0, *(part[m].shape[1] for m in mods)])
        span = {m: slice(edge[i], edge[i + 1]) for i, m in enumerate(mods)}
        within = np.zeros((edge[-1], edge[-1]))
        for m in mods:
            x_nd = self.views_.one(tokens, block_of(tokens, obs[m], (m,)), m)
            cov = x_nd.T @ x_nd / len(x_nd)
            ridge = self.ridge * np.trace(cov) / len(cov) + 1e-9  # the total variance is 1: a guard for one cell
            within[span[m], span[m]] = cov + ridge * np.eye(len(cov))
        every = within.copy()
        for a, b in combinations(mods, 2):
            both = np.intersect1d(obs[a], obs[b])
            if len(both):
                block = block_of(tokens, both, (a, b))
                cross = self.views_.one(tokens, block, a).T @ self.views_.one(tokens, block, b) / len(both)
                every[span[a], span[b]], every[span[b], span[a]] = cross, cross.T
        value, vector = linalg.eigh(every, within)
        correlation = (value[::-1] - 1) / (len(mods) - 1)
        k = max(1, min(self.n_components, *(len(self.views_.mean[m]) for m in mods), int((correlation > 0).sum())))
        vector = vector[:, ::-1][:, :k] * len(mods) ** 0.5
        vector = vector * np.sign(vector[np.abs(vector).argmax(axis=0), np.arange(k)])
        self.correlation_ = np.clip(correlation[:k], 0, 1)
        self.weights_ = {m: vector[span[m]] for m in mods}

    def _compute(self, tokens: Tokens) -> np.ndarray:
        out = np.zeros((tokens.n_obs, len(self.correlation_)))
        for block in blocks(tokens):
            for m in block.pattern:
                out[block.obs] += self.views_.one(tokens, block, m) @ self.weights_[m] / len(block.pattern)
        return out * self.correlation_
