"""The baseline: a linear model on k-mers, every setting chosen on the training data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from omicsfm import hub, seq
from omicsfm.models._sequence._data import Labelled
from omicsfm.models._sequence._linear import Linear, fit_linear, log_loss

WORDS: tuple[tuple[int, ...], ...] = ((3,), (4,), (5,), (6,), (7,), (3, 4, 5), (5, 6, 7), (3, 4, 5, 6, 7))
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
MIDDLE = 3.0  # strength while words are compared
N_TUNED = 6000  # sequences on which words and strands are compared
N_FOLDS = 3


@hub.state
@dataclass(frozen=True)
class Words:
    """How sequences become features.

    Attributes
    ----------
    ks : lengths of the words.
    both_strands : a word and its reverse complement count as one.
    scaling : "sqrt" (square roots of counts) or "tfidf" (counts times the log of how rare a word is); rows have length
        1 after it, so that the length of a sequence does not matter.
    """

    ks: tuple[int, ...]
    both_strands: bool
    scaling: str

    def count(self, sequences: list[str]) -> sparse.csr_matrix:
        """Count the words."""
        return sparse.hstack([seq.kmer(sequences, k, canonical=self.both_strands) for k in self.ks], format="csr")

    def weights(self, counts: sparse.csr_matrix) -> np.ndarray:
        """Give each word a weight from the counts of training."""
        if self.scaling == "sqrt":
            return np.ones(counts.shape[1], dtype=np.float32)
        n_with = np.bincount(counts.indices, minlength=counts.shape[1])
        return (np.log((1 + counts.shape[0]) / (1 + n_with)) + 1).astype(np.float32)

    def scale(self, counts: sparse.csr_matrix, weights: np.ndarray) -> sparse.csr_matrix:
        """Scale counts and rows."""
        x = counts.sqrt() if self.scaling == "sqrt" else counts.copy()
        x = x.multiply(weights[None, :]).tocsr()
        norm = np.sqrt(np.asarray(x.multiply(x).sum(axis=1)).ravel())
        return sparse.diags(1 / np.maximum(norm, 1e-12)).dot(x).astype(np.float32).tocsr()


@hub.state
@dataclass(frozen=True)
class KmerModel:
    """The fitted baseline.

    Attributes
    ----------
    words, strength : the settings chosen; `strength` is scikit-learn's C.
    weights : of the words.
    linear : on the scaled words.
    """

    words: Words
    strength: float
    weights: np.ndarray
    linear: Linear

    @classmethod
    def fit(cls, data: Labelled, words: Words, strength: float) -> KmerModel:
        """Fit with given settings."""
        counts = words.count(data.sequences)
        weights = words.weights(counts)
        return cls(words, strength, weights, fit_linear(words.scale(counts, weights), data.y, strength))

    def features(self, sequences: list[str]) -> sparse.csr_matrix:
        """Give the scaled words."""
        return self.words.scale(self.words.count(sequences), self.weights)

    def probability(self, sequences: list[str]) -> np.ndarray:
        """Give (n, n_classes)."""
        return self.linear.probability(self.features(sequences))


def tune(data: Labelled, *, both_strands: bool, seed: int) -> tuple[Words, float]:
    """Choose words, scaling and strength by cross-validated log-loss, one after the other.

    Words are compared on about 6,000 sequences in 3 folds; scaling and strength, whose best value depends on the number
    of sequences, on all of them with a third held out. Copies of a sequence are on one side.
    """
    few = data.sample(N_TUNED, seed)
    losses = [cross_validated(few, Words(ks, both_strands, "sqrt"), MIDDLE, seed=seed) for ks in WORDS]
    ks = WORDS[int(np.argmin(losses))]
    held = data.folds(N_FOLDS, seed) == 0
    best: tuple[float, Words, float] | None = None
    for scaling in ("sqrt", "tfidf"):
        words = Words(ks, both_strands, scaling)
        counts = words.count(data.sequences)
        weights = words.weights(counts[~held])
        x: Any = words.scale(counts, weights)
        last = np.inf
        for strength in STRENGTHS:
            loss = log_loss(fit_linear(x[~held], data.y[~held], strength).probability(x[held]), data.y[held])
            if best is None or loss < best[0]:
                best = (loss, words, strength)
            if loss > last:  # the loss has one valley: what follows is steeper
                break
            last = loss
    assert best is not None
    return best[1], best[2]


def choose_strands(data: Labelled, *, seed: int) -> bool:
    """Tell whether the strand can be forgotten: whether 5-mers predict at least as well with both strands as one."""
    plain, both = (cross_validated(data, Words((5,), both, "sqrt"), MIDDLE, seed=seed) for both in (False, True))
    return bool(both <= plain)


def cross_validated(data: Labelled, words: Words, strength: float, *, seed: int) -> float:
    """Mean log-loss over folds."""
    counts, fold = words.count(data.sequences), data.folds(N_FOLDS, seed)
    loss = 0.0
    for i in range(N_FOLDS):
        held = fold == i
        x = words.scale(counts, words.weights(counts[~held]))
        linear = fit_linear(x[~held], data.y[~held], strength)
        loss += log_loss(linear.probability(x[held]), data.y[held]) * held.sum()
    return loss / len(data)
