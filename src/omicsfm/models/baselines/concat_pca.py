"""ConcatPCA: scaled tokens side by side, and their principal components."""

from __future__ import annotations

import numpy as np
from mudata import MuData

from omicsfm import hub
from omicsfm.models._cells import Block, blocks
from omicsfm.models.baselines._base import Embedder
from omicsfm.models.baselines._views import Views
from omicsfm.pp import Tokens


@hub.saveable
class ConcatPCA(Embedder):
    """Principal components of all modalities side by side, each scaled to the same total variance.

    A modality that a cell lacks is filled with its mean (zeros after centring): cells measured in different modalities
    therefore come to lie apart, which is what this baseline is there to show.

    Parameters
    ----------
    n_components
        Number of components.
    n_tokens
        Tokens per modality.
    seed
        Seed of the randomised SVD behind the tokens.

    Attributes
    ----------
    views_ : centre and scale of each modality.
    mean_, components_ : (n_all_tokens,), (n_components, n_all_tokens); modalities in alphabetical order.
    """

    _needs_two = False

    def __init__(self, n_components: int = 30, *, n_tokens: int = 30, seed: int = 0) -> None:
        self.n_components = n_components
        self.n_tokens = n_tokens
        self.seed = seed

    def _fit(self, mdata: MuData, tokens: Tokens) -> None:
        self.views_ = Views.fit(tokens)
        width = sum(len(mean) for mean in self.views_.mean.values())
        total_d, square_dd = np.zeros(width), np.zeros((width, width))
        for block in blocks(tokens):
            x_nd = self._filled(tokens, block)
            total_d += x_nd.sum(axis=0)
            square_dd += x_nd.T @ x_nd
        self.mean_ = total_d / tokens.n_obs
        value, vector = np.linalg.eigh(square_dd / tokens.n_obs - np.outer(self.mean_, self.mean_))
        rank = max(1, int((value > value[-1] * 1e-10).sum()))
        components = vector.T[::-1][: min(self.n_components, rank)]
        largest = components[np.arange(len(components)), np.abs(components).argmax(axis=1)]
        self.components_ = components * np.sign(largest)[:, None]

    def _compute(self, tokens: Tokens) -> np.ndarray:
        out = np.zeros((tokens.n_obs, len(self.components_)))
        for block in blocks(tokens):
            out[block.obs] = (self._filled(tokens, block) - self.mean_) @ self.components_.T
        return out

    def _filled(self, tokens: Tokens, block: Block) -> np.ndarray:
        """Tokens of all modalities, zeros for those the cells lack."""
        n = len(block.obs)
        return np.hstack(
            [
                self.views_.one(tokens, block, m) if m in block.rows else np.zeros((n, len(self.views_.mean[m])))
                for m in sorted(self.views_.mean)
            ]
        )
