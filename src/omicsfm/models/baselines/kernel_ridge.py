"""KernelRidgeImputer: ridge regression with a Gaussian kernel on tokens."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm import hub
from omicsfm.models.baselines._imputer import Imputer
from omicsfm.models.baselines._regressors import KernelRidge, Regressor


@hub.saveable
class KernelRidgeImputer(Imputer):
    """Kernel ridge regression of every feature on the tokens of the other modalities.

    The kernel is Gaussian, its width the median distance between cells; the penalty is the one of least leave-one-out
    error. Sets of input modalities, features with gaps and intervals are as in :class:`RidgeImputer`.

    Parameters
    ----------
    n_landmarks
        Up to this many training cells the regression is exact; beyond, the kernel is approximated from as many random
        ones (Nystroem), so that cost stays linear in cells.
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
    Saunders, Gammerman & Vovk (1998), ICML; Williams & Seeger (2001), NIPS (Nystroem); intervals: Vovk (2015), Ann.
    Math. Artif. Intell. 74:9.
    """

    def __init__(self, n_landmarks: int = 500, *, level: float = 0.9, n_tokens: int = 30, seed: int = 0) -> None:
        self.n_landmarks = n_landmarks
        self.level = level
        self.n_tokens = n_tokens
        self.seed = seed

    def _regressor(self, x_nd: np.ndarray, y_ng: Any, like: Any = None) -> Regressor:
        strength = None if like is None else like.ridge.strength
        return KernelRidge.fit(x_nd, y_ng, n_landmarks=self.n_landmarks, seed=self.seed, strength=strength)
