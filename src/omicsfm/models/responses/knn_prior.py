"""KNNPrior: the mean effect of the targets most alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omicsfm import hub
from omicsfm.models.responses._targets import PriorRegression


@hub.state
@dataclass(frozen=True)
class TargetNeighbors:
    """Unit-norm features (n, n_features) and effects (n, n_genes) of the training targets; how many to average."""

    x: np.ndarray
    y: np.ndarray
    k: int

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Average the effects of the k nearest by cosine, (m, n_genes); of equals, the first in the alphabet."""
        nearest = np.argsort(-np.round(_unit(x) @ self.x.T, 12), axis=1, kind="stable")[:, : self.k]
        return np.stack([self.y[rows].mean(axis=0) for rows in nearest])


@hub.saveable
class KNNPrior(PriorRegression):
    """Mean effect of the k training targets most alike by the cosine of their priors.

    Priors are concatenated, each at unit norm. Neighbours are single perturbations of the same context (of all
    contexts, averaged, where fewer than three of these have priors); a target that was itself measured is its own
    nearest one. A target of which no prior knows anything has the mean of the single perturbations; a combination is
    the sum of its members. Doses are averaged.

    Parameters
    ----------
    k
        Number of neighbours.
    seed
        Not used.

    Attributes
    ----------
    features_ : priors of the targets.
    fits_, anywhere_ : neighbours per context, and averaged over contexts.
    mean_ : mean of single perturbations.
    """

    def __init__(self, *, k: int = 10, seed: int = 0) -> None:
        self.k = k
        self.seed = seed

    def _regress(self, x: np.ndarray, y: np.ndarray) -> TargetNeighbors:
        return TargetNeighbors(_unit(x), y, self.k)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)  # features are never all zero
