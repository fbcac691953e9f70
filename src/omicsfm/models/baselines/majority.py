"""MajorityClass: the most frequent label for every cell."""

from __future__ import annotations

import numpy as np

from omicsfm import hub
from omicsfm.models._factor import Pattern
from omicsfm.models.baselines._annotator import Annotator
from omicsfm.pp import Tokens


@hub.saveable
class MajorityClass(Annotator):
    """The most frequent training label for every cell, its share as confidence: the floor of annotation.

    Parameters
    ----------
    n_tokens
        Tokens per modality; no label depends on them.
    seed
        Seed of the tokens.

    Attributes
    ----------
    heads_ : the label and its share.

    References
    ----------
    Holte (1993), Mach. Learn. 11:63 (the zero-rule baseline).
    """

    def __init__(self, *, n_tokens: int = 30, seed: int = 0) -> None:
        self.n_tokens = n_tokens
        self.seed = seed

    def _sets(self, tokens: Tokens, obs: np.ndarray) -> list[tuple[Pattern, np.ndarray]]:
        return []
