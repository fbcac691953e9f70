"""The control of every embedding: states drawn at random."""

from __future__ import annotations

import hashlib

import numpy as np
from mudata import MuData

from omicsfm import hub
from omicsfm.models.baselines._base import Embedder
from omicsfm.pp import Tokens


@hub.saveable
class Chance(Embedder):
    """Random normal states, which know nothing: what a score is worth is its distance from this one's.

    A cell's state depends on its tokens, so that the same cell gets the same state wherever it is asked about.

    Parameters
    ----------
    n_latent
        Length of the state.
    n_tokens
        Tokens per modality.
    seed
        Seed of the states.
    """

    _joint = False
    _needs_two = False

    def __init__(self, n_latent: int = 10, *, n_tokens: int = 30, seed: int = 0) -> None:
        self.n_latent = n_latent
        self.n_tokens = n_tokens
        self.seed = seed

    def _fit(self, mdata: MuData, tokens: Tokens) -> None:
        """Nothing to learn."""

    def _compute(self, tokens: Tokens) -> np.ndarray:
        key: list[bytes] = [b""] * tokens.n_obs
        for mod in sorted(tokens.values):
            for row, x in zip(tokens.rows[mod], tokens.values[mod].astype(np.float32), strict=True):
                # Rounded: the last bits of a projection may depend on which cells were projected together.
                key[row] += mod.encode() + np.round(x, 3).tobytes()
        out = np.empty((tokens.n_obs, self.n_latent))
        for i, k in enumerate(key):
            digest = hashlib.blake2b(k, digest_size=8).digest()
            out[i] = np.random.default_rng([self.seed, int.from_bytes(digest)]).standard_normal(self.n_latent)
        return out
