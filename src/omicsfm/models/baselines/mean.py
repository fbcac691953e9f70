"""MeanImputer: every feature at its mean over the training cells that have it."""

from __future__ import annotations

import numpy as np

from omicsfm import hub
from omicsfm.models._factor import Pattern
from omicsfm.models.baselines._imputer import Imputer
from omicsfm.pp import Tokens


@hub.saveable
class MeanImputer(Imputer):
    """Mean of each feature over the training cells that have it, for every cell: the floor of imputation.

    Parameters
    ----------
    level
        Nominal coverage of intervals.
    n_tokens
        Tokens per modality; they set the recipe's scale alone.
    seed
        Seed of everything random.

    Attributes
    ----------
    fits_ : target modality -> the fitted mean and intervals.

    References
    ----------
    Intervals: Vovk (2015), Ann. Math. Artif. Intell. 74:9.
    """

    def __init__(self, *, level: float = 0.9, n_tokens: int = 30, seed: int = 0) -> None:
        self.level = level
        self.n_tokens = n_tokens
        self.seed = seed

    def _sets(self, tokens: Tokens, obs: np.ndarray, target: str) -> list[tuple[Pattern, np.ndarray]]:
        return []
