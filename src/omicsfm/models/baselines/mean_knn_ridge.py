"""MeanKNNRidge: the mean of two predictions, of nearest neighbours and of ridge regression."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm import hub
from omicsfm.models.baselines._imputer import Imputer
from omicsfm.models.baselines._regressors import KNN, Average, Regressor, Ridge


@hub.saveable
class MeanKNNRidge(Imputer):
    """Mean of the predictions of :class:`KNNImputer` and :class:`RidgeImputer`; the errors of the two differ.

    Parameters
    ----------
    n_neighbors
        Neighbours of the first.
    level
        Nominal coverage of intervals, which are made for the mean itself.
    n_tokens
        Tokens per modality.
    seed
        Seed of everything random.

    Attributes
    ----------
    fits_ : target modality -> one fit per set of inputs, the mean over cells first.
    views_ : centre and scale of each modality's tokens.

    References
    ----------
    Bates & Granger (1969), Oper. Res. Q. 20:451; intervals: Vovk (2015), Ann. Math. Artif. Intell. 74:9.
    """

    def __init__(self, n_neighbors: int = 20, *, level: float = 0.9, n_tokens: int = 30, seed: int = 0) -> None:
        self.n_neighbors = n_neighbors
        self.level = level
        self.n_tokens = n_tokens
        self.seed = seed

    def _regressor(self, x_nd: np.ndarray, y_ng: Any, like: Any = None) -> Regressor:
        strength = None if like is None else like.parts[1].strength
        return Average([KNN.fit(x_nd, y_ng, k=self.n_neighbors), Ridge.fit(x_nd, y_ng, strength=strength)])
