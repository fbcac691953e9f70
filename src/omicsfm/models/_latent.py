"""The latent part of the mosaic model: tokens in, posterior of the cell state out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omicsfm import hub
from omicsfm.models._batch import BatchAligner
from omicsfm.models._cells import Block, blocks
from omicsfm.models._factor import FactorModel, Moments, Pattern, fit_factors, prune
from omicsfm.models._landmarks import Landmarks
from omicsfm.pp import Tokens

MIN_RELIABILITY = 0.05
CELLS_PER_LANDMARK = 5
RARE_CELLS = 2000  # cells of a modality that landmarks are placed by, at least, where there are as many
MIN_LANDMARKS = 40  # with fewer the kernel is cruder than the tokens themselves


@hub.state
@dataclass(frozen=True)
class Latent:
    """Batch step, landmark lift and factor model, in this order.

    Attributes
    ----------
    aligner, lift, factors : the three fitted steps.
    """

    aligner: BatchAligner
    lift: dict[str, Landmarks]
    factors: FactorModel

    @classmethod
    def fit(cls, tokens: Tokens, *, n_latent: int, n_landmarks: int, ridge: float, seed: int) -> Latent:
        """Fit all three; two passes over the tokens, whatever their number."""
        aligner = BatchAligner.fit(tokens, n_latent=n_latent, ridge=ridge, seed=seed)
        lift = {}
        for mod, aligned in _sample_aligned(aligner, tokens, seed).items():
            n = min(n_landmarks, tokens.values[mod].shape[0] // CELLS_PER_LANDMARK)
            # A single modality has nothing to be correlated with: its tokens are the state.
            use = n >= MIN_LANDMARKS and len(tokens.values) > 1
            lift[mod] = Landmarks.fit(aligned, n if use else 0, seed=seed)
        draft = cls(aligner, lift, FactorModel({}, {}, {}, []))
        moments = draft.moments(tokens)
        k = n_latent if len(lift) > 1 else max(n_latent, *moments.width.values())
        return cls(aligner, lift, prune(fit_factors(moments, n_latent=k, ridge=ridge), MIN_RELIABILITY))

    def features(self, tokens: Tokens, block: Block) -> dict[str, np.ndarray]:
        """Aligned and lifted tokens of a block, modality -> (n, d)."""
        return {m: self.lift[m](x) for m, x in self.aligner(tokens, block).items()}

    def moments(self, tokens: Tokens, obs: np.ndarray | None = None) -> Moments:
        """Moments of cells (all, or the positions `obs`)."""
        out = Moments({m: lift.n_out for m, lift in self.lift.items()})
        for block in blocks(tokens, obs=obs):
            if block.pattern:
                lifted = self.features(tokens, block)
                out.update(block.pattern, np.hstack([lifted[m] for m in block.pattern]))
        return out

    def posterior(
        self, tokens: Tokens, block: Block, *, pattern: Pattern | None = None, factors: FactorModel | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean (n, k) and shared covariance (k, k) of a block of cells, from their views in `pattern`."""
        factors = factors or self.factors
        pattern = block.pattern if pattern is None else pattern
        gain, offset, covariance = factors.posterior(pattern)
        if not pattern:
            return np.zeros((len(block.obs), factors.n_latent)), covariance
        lifted = self.features(tokens, block.only(pattern))
        return np.hstack([lifted[m] for m in pattern]) @ gain + offset, covariance


def _sample_aligned(aligner: BatchAligner, tokens: Tokens, seed: int) -> dict[str, np.ndarray]:
    """Aligned tokens by modality, of a sample of cells in which every modality has enough."""
    sample = np.random.default_rng(seed).permutation(tokens.n_obs)[:20_000]
    inside = np.zeros(tokens.n_obs, dtype=bool)
    inside[sample] = True
    for rows in tokens.rows.values():  # of a rare modality the sample may hold a few cells or none
        short = max(0, min(len(rows), RARE_CELLS) - int(inside[rows].sum()))
        inside[rows[~inside[rows]][:short]] = True
    out: dict[str, list[np.ndarray]] = {m: [] for m in tokens.values}
    for block in blocks(tokens, obs=np.flatnonzero(inside)):
        for m, x in aligner(tokens, block).items():
            out[m].append(x)
    return {m: np.vstack(parts) for m, parts in out.items()}
