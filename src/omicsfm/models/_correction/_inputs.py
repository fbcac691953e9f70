"""What the network sees of cells: aligned tokens, and what the closed form makes of each modality."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omicsfm import hub
from omicsfm.models._cells import blocks, positions
from omicsfm.models._decoder import DecoderStats
from omicsfm.models._factor import FactorModel, Pattern
from omicsfm.models._latent import Latent
from omicsfm.pp import Tokens


@hub.state
@dataclass(frozen=True)
class Frame:
    """How tokens are put to the network, and what the closed form predicts them to be.

    Attributes
    ----------
    mods : modalities in the order of the network.
    batches : names of the batches it knows; any other is batch 0.
    centre, scale : per modality, (d,) and one number.
    mean, loading : per modality, (d,) and (d, k): scaled tokens given the factors.
    """

    mods: list[str]
    batches: list[str]
    centre: dict[str, np.ndarray]
    scale: dict[str, float]
    mean: dict[str, np.ndarray]
    loading: dict[str, np.ndarray]

    @classmethod
    def fit(cls, latent: Latent, factors: FactorModel, tokens: Tokens, obs: np.ndarray) -> Frame:
        """Measure scales and the regression of tokens on the factors over the cells `obs`."""
        mods = sorted(tokens.values)
        width = {m: tokens.values[m].shape[1] for m in mods}
        stats = {m: DecoderStats(width[m], factors.n_latent) for m in mods}
        for block in blocks(tokens, obs=obs):
            z, covariance = latent.posterior(tokens, block, factors=factors)
            for m, x in latent.aligner(tokens, block).items():
                stats[m].update(x, z, covariance)
        centre, scale, mean, loading = {}, {}, {}, {}
        for m in mods:
            n = max(stats[m].n_g[0], 1.0)
            centre[m] = stats[m].xz_gk[:, -1] / n
            scale[m] = float(max(np.mean(stats[m].xx_g / n - centre[m] ** 2), 1e-12) ** 0.5)
            free, slope, _ = stats[m].finish()
            mean[m], loading[m] = (free - centre[m]) / scale[m], slope / scale[m]
        return cls(mods, [str(b) for b in np.unique(tokens.batch[obs])], centre, scale, mean, loading)


@dataclass(frozen=True)
class Inputs:
    """Some cells as arrays; rows as `obs`, single precision.

    Attributes
    ----------
    obs : positions of the cells in the tokens.
    x : modality -> (n, d) scaled tokens; zeros where the cell lacks it.
    has : bool (n, n_modalities).
    information : modality -> (n, k), ``W' Psi^-1 (x - mu)``: the posterior mean of the factors given some modalities is
        the sum of theirs times the posterior covariance.
    batch : int (n,), 0 for a batch that the network does not know.
    """

    obs: np.ndarray
    x: dict[str, np.ndarray]
    has: np.ndarray
    information: dict[str, np.ndarray]
    batch: np.ndarray

    @classmethod
    def of(
        cls,
        frame: Frame,
        latent: Latent,
        factors: FactorModel,
        tokens: Tokens,
        obs: np.ndarray,
        *,
        shown: Pattern | None = None,
    ) -> Inputs:
        """Collect the cells `obs` (sorted), as if they had been measured in `shown` alone (None: in all they have).

        What a cell has decides how its batch is aligned: a modality that is to be predicted must not be among it.
        """
        wanted = frame.mods if shown is None else shown
        n, k = len(obs), factors.n_latent
        x = {m: np.zeros((n, len(frame.centre[m])), dtype=np.float32) for m in frame.mods}
        information = {m: np.zeros((n, k), dtype=np.float32) for m in frame.mods}
        has = np.zeros((n, len(frame.mods)), dtype=bool)
        gain = {m: np.linalg.solve(factors.noise[m], factors.loading[m]) for m in frame.mods}
        for block in blocks(tokens, obs=obs):
            row = np.searchsorted(obs, block.obs)
            pattern = tuple(m for m in block.pattern if m in frame.mods and m in wanted)
            if not pattern:
                continue
            for m, aligned in latent.aligner(tokens, block.only(pattern)).items():
                x[m][row] = (aligned - frame.centre[m]) / frame.scale[m]
                information[m][row] = (latent.lift[m](aligned) - factors.mean[m]) @ gain[m]
                has[row, frame.mods.index(m)] = True
        return cls(obs, x, has, information, positions(frame.batches, tokens.batch[obs]) + 1)


def covariances(frame: Frame, factors: FactorModel) -> np.ndarray:
    """Give the posterior covariance of the factors for all `sets`, (2 ** n_modalities, k, k), single precision."""
    return np.array([factors.posterior(pattern)[2] for pattern in sets(frame)], dtype=np.float32)


def sets(frame: Frame) -> list[Pattern]:
    """Every set of modalities by its number, whose bit i is modality i of `frame.mods`."""
    return [tuple(m for i, m in enumerate(frame.mods) if code >> i & 1) for code in range(2 ** len(frame.mods))]


def shown_code(has: np.ndarray) -> np.ndarray:
    """Give the number of the set of modalities of each row of a bool mask (n, n_modalities)."""
    return (has.astype(np.int64) << np.arange(has.shape[1])).sum(axis=1)


def code_of(frame: Frame, pattern: Pattern) -> int:
    """Give the number of a set of modalities; those the network does not know do not count."""
    return sum(1 << i for i, m in enumerate(frame.mods) if m in pattern)
