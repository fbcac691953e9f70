"""A trained network as numbers; torch is loaded when it is asked, not before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from omicsfm import hub


@hub.state
@dataclass(frozen=True)
class Network:
    """A `SequenceClassifier` and how it was trained.

    Attributes
    ----------
    layer, both_strands : how it is built.
    weights : its parameters by name.
    history : per epoch, mean log-loss of training and held-out sequences.
    best_epoch : whose weights these are, from 1; 0: as they started.
    stopped : why training ended.
    """

    layer: str
    both_strands: bool
    weights: dict[str, np.ndarray]
    history: np.ndarray
    best_epoch: int
    stopped: str

    @property
    def n_parameters(self) -> int:
        """Number of weights."""
        return sum(w.size for name, w in self.weights.items() if not name.endswith("state"))

    def probability(self, sequences: list[str]) -> np.ndarray:
        """Give (n, n_classes)."""
        from omicsfm.models._sequence import _forward

        return softmax(_forward.logits(self, sequences), axis=1)

    def features(self, sequences: list[str]) -> np.ndarray:
        """Give the vectors (n, d_out) before the linear head."""
        from omicsfm.models._sequence import _forward

        return _forward.features(self, sequences)
