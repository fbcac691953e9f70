"""LogisticLabels: logistic regression on tokens."""

from __future__ import annotations

import numpy as np

from omicsfm import hub
from omicsfm.models._labels import LabelHead
from omicsfm.models.baselines._annotator import Annotator


@hub.saveable
class LogisticLabels(Annotator):
    """Regularised logistic regression on the tokens of whatever a cell was measured in, with calibrated confidence.

    One classifier is fitted for each set of modalities met in training among labelled cells, and for each modality
    alone; a query cell is labelled from the largest such set that it has. A cell that has none (its modality was never
    labelled) gets the most frequent label, and is unknown.

    Parameters
    ----------
    n_tokens
        Tokens per modality.
    seed
        Seed of everything random.

    Attributes
    ----------
    heads_ : one classifier per set of modalities, the most frequent label first.
    views_ : centre and scale of each modality's tokens.

    References
    ----------
    Cox (1958), J. R. Stat. Soc. B 20:215; calibration: Guo et al. (2017), ICML (temperature scaling).
    """

    def __init__(self, *, n_tokens: int = 30, seed: int = 0) -> None:
        self.n_tokens = n_tokens
        self.seed = seed

    def _classifier(self, x_nd: np.ndarray, label_n: np.ndarray) -> LabelHead:
        return LabelHead.fit(x_nd, label_n, np.arange(len(x_nd)), seed=self.seed)
