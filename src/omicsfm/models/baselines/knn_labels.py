"""KNNLabels: the vote of the nearest labelled cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import softmax

from omicsfm import hub
from omicsfm.metrics import neighbors
from omicsfm.models._labels import fit_temperature
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
    temperature : divides the log of the votes so that confidence matches leave-one-out accuracy.
    far : mean distance to the k nearest beyond which a cell is unknown (99th percentile of the labelled cells).
    """

    x_nd: np.ndarray
    code_n: np.ndarray
    labels: list[str]
    k: int
    temperature: float
    far: float

    @classmethod
    def fit(cls, x_nd: np.ndarray, label_n: np.ndarray, k: int) -> Vote:
        """Keep the cells; `k` at most all but one of them."""
        names, code = np.unique(label_n, return_inverse=True)
        k = min(k, len(x_nd) - 1)
        found = neighbors(x_nd, k)
        log_vote = _log_votes(code[found.indices], len(names))
        temperature = fit_temperature(log_vote, code)
        far = float(np.quantile(found.distances.mean(axis=1), 0.99))
        return cls(x_nd, code.astype(np.int64), [str(n) for n in names], k, temperature, far)

    def predict(self, x_md: np.ndarray, *, min_confidence: float) -> pd.DataFrame:
        """Give label, confidence, unknown and novelty per row; ties go to the label whose nearest voter is nearest."""
        found = neighbors(self.x_nd, self.k, query=x_md)
        voted = self.code_n[found.indices]
        log_vote = _log_votes(voted, len(self.labels))
        rows = np.arange(len(x_md))
        standing = np.take_along_axis(log_vote, voted, axis=1)
        best = voted[rows, standing.argmax(axis=1)]
        confidence = softmax(log_vote / self.temperature, axis=1)[rows, best]
        novelty = found.distances.mean(axis=1) / max(self.far, 1e-12)
        return pd.DataFrame(
            {
                "label": np.array(self.labels, dtype=object)[best],
                "confidence": confidence,
                "unknown": (confidence < min_confidence) | (novelty > 1),
                "novelty": novelty,
            }
        )


def _log_votes(voted: np.ndarray, n_labels: int) -> np.ndarray:
    """Log of the votes (n, n_labels) for labels (n, k); one vote more is shared by all labels, so that none has 0."""
    n = len(voted)
    count = np.bincount((np.arange(n)[:, None] * n_labels + voted).ravel(), minlength=n * n_labels)
    return np.log(count.reshape(n, n_labels) + 1 / n_labels)


@hub.saveable
class KNNLabels(Annotator):
    """Majority label of the nearest labelled cells, by the tokens of whatever a cell was measured in.

    Sets of modalities are as in :class:`LogisticLabels`. Confidence is the share of the votes, calibrated by a
    temperature on the leave-one-out votes of training cells.

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
    Cover & Hart (1967), IEEE Trans. Inf. Theory 13:21; calibration: Guo et al. (2017), ICML (temperature scaling).
    """

    def __init__(self, n_neighbors: int = 15, *, n_tokens: int = 30, seed: int = 0) -> None:
        self.n_neighbors = n_neighbors
        self.n_tokens = n_tokens
        self.seed = seed

    def _classifier(self, x_nd: np.ndarray, label_n: np.ndarray) -> Vote:
        return Vote.fit(x_nd, label_n, self.n_neighbors)
