"""RidgeImputer: ridge regression on tokens."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm import hub
from omicsfm.models.baselines._imputer import Imputer
from omicsfm.models.baselines._regressors import Regressor, Ridge


@hub.saveable
class RidgeImputer(Imputer):
    """Ridge regression of every feature on the tokens of the other modalities.

    One regression is fitted for each set of input modalities met in training among the cells that have the target,
    and for each modality alone; a query cell is predicted from the largest such set that it has, and gets the mean if
    it has none. A feature measured in some batches only is regressed on the cells that have it (in a modality with more
    than 20 patterns of gaps, gaps are filled with the feature's mean for training). Intervals are of one width per
    feature, from cells held out of the regression: whole batches where several are paired, else random fifths.

    Parameters
    ----------
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
    Hoerl & Kennard (1970), Technometrics 12:55; penalty by leave-one-out: Golub, Heath & Wahba (1979), Technometrics
    21:215; intervals: Vovk (2015), Ann. Math. Artif. Intell. 74:9.
    """

    def __init__(self, *, level: float = 0.9, n_tokens: int = 30, seed: int = 0) -> None:
        self.level = level
        self.n_tokens = n_tokens
        self.seed = seed

    def _regressor(self, x_nd: np.ndarray, y_ng: Any, like: Any = None) -> Regressor:
        return Ridge.fit(x_nd, y_ng, strength=None if like is None else like.strength)
