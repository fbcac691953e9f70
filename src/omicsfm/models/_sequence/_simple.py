"""Controls: the frequency of the labels, and what bases and length alone say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omicsfm import hub, seq
from omicsfm.models._sequence._data import Labelled
from omicsfm.models._sequence._linear import Linear, fit_linear


@hub.state
@dataclass(frozen=True)
class MajorityModel:
    """The same answer for every sequence.

    Attributes
    ----------
    frequency : (n_classes,) share of each label in training.
    """

    frequency: np.ndarray

    @classmethod
    def fit(cls, data: Labelled) -> MajorityModel:
        """Count the labels."""
        return cls(np.bincount(data.y, minlength=len(data.classes)) / len(data))

    def features(self, sequences: list[str]) -> np.ndarray:
        """Give nothing: (n, 0)."""
        return np.zeros((len(sequences), 0), dtype=np.float32)

    def probability(self, sequences: list[str]) -> np.ndarray:
        """Give (n, n_classes)."""
        return np.tile(self.frequency, (len(sequences), 1))


@hub.state
@dataclass(frozen=True)
class CompositionModel:
    """Logistic regression on `seq.composition`.

    Attributes
    ----------
    mean, sd : (7,) of the columns in training.
    linear : on the standardised columns.
    """

    mean: np.ndarray
    sd: np.ndarray
    linear: Linear

    @classmethod
    def fit(cls, data: Labelled) -> CompositionModel:
        """Standardise and fit."""
        x = seq.composition(data.sequences).to_numpy(dtype=np.float64)
        mean, sd = x.mean(axis=0), x.std(axis=0)
        sd = np.where(sd > 1e-9, sd, 1.0)
        return cls(mean, sd, fit_linear((x - mean) / sd, data.y, 1.0))

    def features(self, sequences: list[str]) -> np.ndarray:
        """Give the standardised composition (n, 7)."""
        x = seq.composition(sequences).to_numpy(dtype=np.float64)
        return ((x - self.mean) / self.sd).astype(np.float32)

    def probability(self, sequences: list[str]) -> np.ndarray:
        """Give (n, n_classes)."""
        return self.linear.probability(self.features(sequences))
