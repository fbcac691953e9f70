"""WNN: weighted nearest neighbours of paired cells, and the leading diffusion components of their graph."""

from __future__ import annotations

import numpy as np
from mudata import MuData
from scipy import sparse
from scipy.sparse.linalg import eigsh

from omicsfm import hub
from omicsfm._errors import InputError
from omicsfm.models._cells import blocks
from omicsfm.models.baselines._base import Embedder
from omicsfm.models.baselines._views import Views, block_of
from omicsfm.models.baselines._wnn import Reference, unit, weighted_neighbors
from omicsfm.pp import Tokens

MAX_REFERENCE = 20_000
MIN_REFERENCE = 10
BLOCK_NUMBERS = 4_000_000  # distances held at a time


@hub.saveable
class WNN(Embedder):
    """Weighted nearest neighbours, as a cell state that new cells can be given.

    Each cell weighs its modalities by how much better its neighbours in a modality predict it there than its
    neighbours in the others do. Cells with all modalities make the graph; its leading diffusion components are their
    state. Any cell, seen or new, takes the mean state of its neighbours among them (one diffusion step, which for a
    cell of the graph is its own state); a cell that lacks modalities spreads its weight over those it has, all of it on
    one where it has one.

    Parameters
    ----------
    n_components
        Number of diffusion components.
    n_neighbors
        Neighbours in each modality and in the graph.
    n_candidates
        Nearest cells per modality among which neighbours in the graph are sought.
    n_tokens
        Tokens per modality.
    seed
        Seed of everything random.

    Attributes
    ----------
    views_ : centre and scale of each modality.
    reference_ : the cells with all modalities (at most 20,000, chosen at random).
    states_ : (n_reference, n_components).

    References
    ----------
    Hao et al. (2021), Cell 184:3573 (weights and graph); Coifman & Lafon (2006), Appl. Comput. Harmon. Anal. 21:5
    (diffusion maps) and 21:31 (extension to new cells).
    """

    def __init__(
        self,
        n_components: int = 20,
        *,
        n_neighbors: int = 20,
        n_candidates: int = 200,
        n_tokens: int = 30,
        seed: int = 0,
    ) -> None:
        self.n_components = n_components
        self.n_neighbors = n_neighbors
        self.n_candidates = n_candidates
        self.n_tokens = n_tokens
        self.seed = seed

    def _fit(self, mdata: MuData, tokens: Tokens) -> None:
        mods = tuple(sorted(tokens.values))
        complete = np.concatenate([[], *(b.obs for b in blocks(tokens) if b.pattern == mods)]).astype(np.int64)
        if len(complete) < MIN_REFERENCE:
            raise InputError(
                f"WNN.fit: at least {MIN_REFERENCE} cells with all of {', '.join(mods)} are needed, found "
                f"{len(complete)}. Fix: leave out a modality, or use CCA, which needs pairs only."
            )
        rng = np.random.default_rng(self.seed)
        complete = np.sort(rng.permutation(complete)[:MAX_REFERENCE])
        self.views_ = Views.fit(tokens)
        block = block_of(tokens, complete, mods)
        x = {m: self.views_.one(tokens, block, m) for m in mods}
        n = len(complete)
        self.reference_ = Reference.fit(x, min(self.n_neighbors, n - 1))
        index, similarity = self._neighbors(self.reference_.x)
        row = np.repeat(np.arange(n), index.shape[1])
        graph = sparse.csr_array((similarity.ravel(), (row, index.ravel())), shape=(n, n))
        graph = (graph + graph.T) / 2
        root = np.sqrt(np.maximum(graph.sum(axis=1), 1e-12))
        walk = sparse.diags_array(1 / root) @ graph @ sparse.diags_array(1 / root)
        k = min(self.n_components, n - 2)
        # k + 1: the first is the same for all cells.
        value, vector = eigsh(walk, k=k + 1, which="LA", v0=rng.random(n))
        order = np.argsort(-value)[1:]
        state = vector[:, order] / root[:, None]
        state *= np.sign(state[np.abs(state).argmax(axis=0), np.arange(k)])
        self.states_ = state / np.maximum(state.std(axis=0), 1e-12)

    def _compute(self, tokens: Tokens) -> np.ndarray:
        out = np.zeros((tokens.n_obs, self.states_.shape[1]))
        for block in blocks(tokens):
            if block.pattern:
                x = {m: unit(self.views_.one(tokens, block, m)) for m in block.pattern}
                index, similarity = self._neighbors(x)
                share = similarity / np.maximum(similarity.sum(axis=1, keepdims=True), 1e-12)
                out[block.obs] = np.einsum("nk,nkd->nd", share, self.states_[index])
        return out

    def _neighbors(self, x: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        n = len(next(iter(x.values())))
        step = max(1, BLOCK_NUMBERS // self.reference_.n_obs)
        parts = [
            weighted_neighbors(self.reference_, {m: v[i : i + step] for m, v in x.items()}, self.n_candidates)
            for i in range(0, n, step)
        ]
        return np.vstack([p[0] for p in parts]), np.vstack([p[1] for p in parts])
