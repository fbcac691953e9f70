"""Effects in few components: everything learnt is learnt there, and goes back to genes at the end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omicsfm import hub


@hub.state
@dataclass(frozen=True)
class Components:
    """Directions of the training effects; the mean is one of them, so no mean is taken off.

    Attributes
    ----------
    v_kg : (n_components, n_genes) orthonormal rows.
    """

    v_kg: np.ndarray

    @classmethod
    def of(cls, effects: np.ndarray, n_components: int) -> tuple[Components, np.ndarray]:
        """Give the components and the scores (n, n_components)."""
        n, g = effects.shape
        # The smaller of the two Gram matrices: exact, and fast for few perturbations and many genes.
        gram = effects @ effects.T if n <= g else effects.T @ effects
        values, vectors = np.linalg.eigh(gram)
        order = np.argsort(values)[::-1][:n_components]
        order = order[values[order] > max(values[order[0]], 0) * 1e-12] if len(order) else order
        if not len(order):  # nothing responds to anything
            v = np.zeros((1, g))
            v[0, 0] = 1.0
        elif n <= g:
            v = (vectors[:, order] / np.sqrt(values[order])).T @ effects
        else:
            v = vectors[:, order].T
        v = v * np.where(v[np.arange(len(v)), np.abs(v).argmax(axis=1)] < 0, -1.0, 1.0)[:, None]
        return cls(v), effects @ v.T

    def genes(self, scores: np.ndarray) -> np.ndarray:
        """Give effects (n, n_genes) of scores."""
        return scores @ self.v_kg
