"""Tokens of several modalities side by side on one scale, and which modality sets a model is fitted on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from omicsfm import hub
from omicsfm.models._cells import Block, blocks, row_of
from omicsfm.models._factor import Pattern
from omicsfm.pp import Tokens

MIN_CELLS = 10  # with fewer cells than this nothing is fitted on a set of modalities


@hub.state
@dataclass(frozen=True)
class Views:
    """Centres each modality's tokens and scales them to a total variance of 1, so that none outweighs the others.

    Attributes
    ----------
    mean, scale : modality -> (n_tokens,) and factor.
    """

    mean: dict[str, np.ndarray]
    scale: dict[str, float]

    @classmethod
    def fit(cls, tokens: Tokens) -> Views:
        """Measure the tokens of training cells."""
        mean = {m: x.mean(axis=0, dtype=np.float64) for m, x in tokens.values.items()}
        total = {m: float(x.var(axis=0, dtype=np.float64).sum()) for m, x in tokens.values.items()}
        return cls(mean, {m: 1 / max(v, 1e-12) ** 0.5 for m, v in total.items()})

    def one(self, tokens: Tokens, block: Block, mod: str) -> np.ndarray:
        """Scaled tokens of one modality of a block, float64 (n, n_tokens)."""
        return (tokens.values[mod][block.rows[mod]] - self.mean[mod]) * self.scale[mod]

    def __call__(self, tokens: Tokens, block: Block) -> np.ndarray:
        """Scaled tokens of a block side by side, in the order of its pattern, float64 (n, sum of n_tokens)."""
        return np.hstack([np.zeros((len(block.obs), 0)), *(self.one(tokens, block, m) for m in block.pattern)])


def block_of(tokens: Tokens, obs: np.ndarray, pattern: Pattern) -> Block:
    """Make a block of the cells `obs`, all of which have the modalities in `pattern`."""
    return Block(pattern, obs, {mod: row_of(tokens.rows[mod], tokens.n_obs)[obs] for mod in pattern})


def training_sets(tokens: Tokens, obs: np.ndarray, *, target: str | None = None) -> list[tuple[Pattern, np.ndarray]]:
    """List the modality sets to fit a model on: those met among the cells `obs`, and each modality alone.

    Parameters
    ----------
    tokens
        Of training cells.
    obs
        Positions of the cells that can teach something (they have the target, or a label).
    target
        The modality to predict, which is no input.

    Returns
    -------
    Pairs of pattern (not empty) and the cells of `obs` that have all of it, sets with fewer than 10 cells left out.
    """
    has = {m: np.isin(obs, rows) for m, rows in tokens.rows.items() if m != target}
    met = {tuple(m for m in block.pattern if m != target) for block in blocks(tokens, obs=obs)}
    wanted = sorted(met | {(m,) for m in has}, key=lambda p: (len(p), p))
    cells = [(p, obs[np.all([has[m] for m in p], axis=0)]) for p in wanted if p]
    return [(p, found) for p, found in cells if len(found) >= MIN_CELLS]


class _OnSet(Protocol):
    @property
    def pattern(self) -> Pattern: ...

    @property
    def n_train(self) -> int: ...


F = TypeVar("F", bound=_OnSet)


def best_set(fits: Iterable[F], available: Pattern) -> F:
    """Choose the fit that uses most of the modalities a cell has; of equals, the one with most training cells."""
    usable = [f for f in fits if set(f.pattern) <= set(available)]
    return max(usable, key=lambda f: (len(f.pattern), f.n_train))
