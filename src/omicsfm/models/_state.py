"""The cell state that users see: shared factors, and the tokens of modalities that every training cell had."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omicsfm import hub
from omicsfm.models._cells import Block, blocks
from omicsfm.models._decoder import DecoderStats, model_variance
from omicsfm.models._factor import Pattern
from omicsfm.models._latent import Latent
from omicsfm.pp import Tokens

# How much more a factor counts the better it is confirmed. Between 1 and 1.5 nothing moves by more than 0.004 on PBMC
# (FOSCTTM is best at 1, label transfer between modalities at 1.5).
AXIS_POWER = 1.25


@hub.state
@dataclass(frozen=True)
class Completion:
    """Tokens of one modality from the factors, for cells without it, and their weight in the state."""

    mean: np.ndarray
    loading: np.ndarray
    noise: np.ndarray
    scale: float


@hub.state
@dataclass(frozen=True)
class CellState:
    """Weights of the parts.

    Tokens enter only where every training cell had the modality: elsewhere they would tell cells apart by what was
    measured in them, not by what they are.

    Attributes
    ----------
    axis_k : weight of each shared factor: the reliability with which a second modality confirms it, to `AXIS_POWER`;
        empty leaves the factors out (one modality: its tokens are the state).
    tokens : modality -> completion; empty for a mosaic.
    """

    axis_k: np.ndarray
    tokens: dict[str, Completion]

    @classmethod
    def fit(cls, latent: Latent, tokens: Tokens, signal: dict[str, float]) -> CellState:
        """Measure the variances of the parts; `signal` says how much of a modality is more than noise."""
        views = sorted(tokens.values)
        complete = [m for m in views if len(tokens.rows[m]) == tokens.n_obs]
        if len(views) == 1:
            axis_k = np.zeros(0)
        else:
            axis_k = np.sort([latent.factors.reliability((m,)) for m in views], axis=0)[-2] ** AXIS_POWER
        shared = cls(axis_k, {})
        if not complete:
            return shared
        k = latent.factors.n_latent
        stats = {m: DecoderStats(tokens.values[m].shape[1], k) for m in complete}
        z_sum, z_square, n = 0.0, 0.0, 0
        for block in blocks(tokens):
            z, covariance = latent.posterior(tokens, block)
            aligned = latent.aligner(tokens, block)
            for m in complete:
                stats[m].update(aligned[m], z, covariance)
            z = z * shared._scale(latent, block.pattern)
            z_sum, z_square, n = z_sum + z.sum(axis=0), z_square + (z**2).sum(axis=0), n + len(z)
        total = float(np.sum(z_square / n - (z_sum / n) ** 2))
        top = max(signal[m] for m in complete)
        parts = {}
        for m in complete:
            mean, loading, noise = stats[m].finish()
            variance = float((stats[m].xx_g / n - (stats[m].xz_gk[:, -1] / n) ** 2).sum())
            parts[m] = Completion(mean, loading, noise, signal[m] / top / max(variance, 1e-12) ** 0.5)
        return cls(axis_k / max(total, 1e-12) ** 0.5, parts)

    @property
    def n_out(self) -> int:
        """Length of the state."""
        return len(self.axis_k) + sum(len(p.mean) for p in self.tokens.values())

    def _scale(self, latent: Latent, pattern: Pattern) -> np.ndarray:
        """Factor on each shared factor, so that its variance does not depend on what was measured in a cell.

        A posterior mean is shrunk more the less was measured; undone here, cells of all patterns compare.
        """
        if len(self.axis_k) == 0:
            return np.zeros(latent.factors.n_latent)
        return self.axis_k / np.sqrt(np.maximum(latent.factors.reliability(pattern), 1e-3))

    def __call__(
        self, latent: Latent, tokens: Tokens, block: Block, *, pattern: Pattern
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give mean and sd (n, n_out) of a block of cells, from their views in `pattern`."""
        z, covariance = latent.posterior(tokens, block, pattern=pattern)
        mean, sd = [], []
        if len(self.axis_k):
            scale_k = self._scale(latent, pattern)
            mean.append(z * scale_k)
            sd.append(np.broadcast_to(np.sqrt(np.diag(covariance)) * scale_k, z.shape))
        aligned = latent.aligner(tokens, block.only(pattern)) if pattern and self.tokens else {}
        for m, part in self.tokens.items():
            if m in aligned:
                mean.append(aligned[m] * part.scale)
                sd.append(np.zeros_like(mean[-1]))
            else:
                mean.append((z @ part.loading.T + part.mean) * part.scale)
                spread = np.sqrt(model_variance(part.loading, part.noise, covariance)) * part.scale
                sd.append(np.broadcast_to(spread, mean[-1].shape))
        return np.hstack(mean), np.hstack(sd)
