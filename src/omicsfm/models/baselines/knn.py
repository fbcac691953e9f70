"""KNNImputer: the mean of the nearest training cells."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm import hub
from omicsfm.models.baselines._imputer import Imputer
from omicsfm.models.baselines._regressors import KNN, Regressor


@hub.saveable
class KNNImputer(Imputer):
    """Mean of the nearest training cells by the tokens of the other modalities.

    Sets of input modalities, features with gaps and intervals are as in :class:`RidgeImputer`.

    Parameters
    ----------
    n_neighbors
        Neighbours, all of equal weight.
    level
        Nominal coverage of intervals.
    n_tokens
        Tokens per modality.
    seed
        Seed of everything random.

    Attributes
    ----------
    fits_ : target modality -> one fit per set of inputs, the mean first.
    views_ : centre and scale of each modality's tokens.

    References
    ----------
    Cover & Hart (1967), IEEE Trans. Inf. Theory 13:21; intervals: Vovk (2015), Ann. Math. Artif. Intell. 74:9.
    """

    def __init__(self, n_neighbors: int = 20, *, level: float = 0.9, n_tokens: int = 30, seed: int = 0) -> None:
        self.n_neighbors = n_neighbors
        self.level = level
        self.n_tokens = n_tokens
        self.seed = seed

    def _regressor(self, x_nd: np.ndarray, y_ng: Any, like: Any = None) -> Regressor:
        return KNN.fit(x_nd, y_ng, k=self.n_neighbors)
