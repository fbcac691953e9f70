"""KNNLabels: the vote of the nearest labelled cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from omicsfm import hub
from omicsfm.metrics import neighbors
from omicsfm.models.baselines._annotator import Annotator


@hub.state
@dataclass(frozen=True)
class Vote:
    """Labelled cells and how they vote.

    Attributes
    ----------
    x_nd, code_n : inputs of labelled cells and the positions of their labels in `labels`.
    labels : class names.
    k : number of neighbours.
    far : mean distance to the k nearest beyond which a cell is unknown (99th percentile of the labelled cells).
    """

    x_nd: np.ndarray
    code_n: np.ndarray
    labels: list[str]
    k: int
    far: float

    @classmethod
    def fit(cls, x_nd: np.ndarray, label_n: np.ndarray, k: int) -> Vote:
        """Keep the cells; `k` at most all but one of them."""
        names, code = np.unique(label_n, return_inverse=True)
        k = min(k, len(x_nd) - 1)
        far = float(np.quantile(neighbors(x_nd, k).distances.mean(axis=1), 0.99))
        return cls(x_nd, code.astype(np.int64), [str(n) for n in names], k, far)

    def predict(self, x_md: np.ndarray, *, min_confidence: float) -> pd.DataFrame:
        """Give label, confidence, unknown and novelty per row; ties go to the label whose nearest voter is nearest."""
        found = neighbors(self.x_nd, self.k, query=x_md)
        voted = self.code_n[found.indices]
        m, n_labels = len(x_md), len(self.labels)
        count = np.bincount((np.arange(m)[:, None] * n_labels + voted).ravel(), minlength=m * n_labels)
        count = count.reshape(m, n_labels)
        standing = np.take_along_axis(count, voted, axis=1)
        best = voted[np.arange(m), standing.argmax(axis=1)]
        # Half a vote more for every label: 15 voters of one mind are no certainty.
        confidence = (count[np.arange(m), best] + 0.5) / (self.k + 0.5 * n_labels)
        novelty = found.distances.mean(axis=1) / max(self.far, 1e-12)
        return pd.DataFrame(
            {
                "label": np.array(self.labels, dtype=object)[best],
                "confidence": confidence,
                "unknown": (confidence < min_confidence) | (novelty > 1),
                "novelty": novelty,
            }
        )


@hub.saveable
class KNNLabels(Annotator):
    """Majority label of the nearest labelled cells, by the tokens of whatever a cell was measured in.

    Sets of modalities are as in :class:`LogisticLabels`. Confidence is the share of the votes, smoothed by half a vote
    for every label (Jeffreys); it is not calibrated on held-out cells.

    Parameters
    ----------
    n_neighbors
        Number of voters.
    n_tokens
        Tokens per modality.
    seed
        Seed of everything random.

    Attributes
    ----------
    heads_ : the voters for each set of modalities, the most frequent label first.
    views_ : centre and scale of each modality's tokens.

    References
    ----------
    Cover & Hart (1967), IEEE Trans. Inf. Theory 13:21.
    """

    def __init__(self, n_neighbors: int = 15, *, n_tokens: int = 30, seed: int = 0) -> None:
        self.n_neighbors = n_neighbors
        self.n_tokens = n_tokens
        self.seed = seed

    def _classifier(self, x_nd: np.ndarray, label_n: np.ndarray) -> Vote:
        return Vote.fit(x_nd, label_n, self.n_neighbors)
