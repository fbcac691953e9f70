"""BilinearLM: the linear model that deep predictors of perturbations did not beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omicsfm import hub
from omicsfm.models.responses._components import top_svd
from omicsfm.models.responses._targets import TargetFeatures, TargetRegression
from omicsfm.pp import ResponseData


@hub.state
@dataclass(frozen=True)
class Bilinear:
    """``effect(t) = G W G[t] + center``.

    Attributes
    ----------
    g : (n_genes, k) embedding of the genes.
    w : (k, k).
    center : (n_genes,).
    """

    g: np.ndarray
    w: np.ndarray
    center: np.ndarray

    def __call__(self, place: np.ndarray) -> np.ndarray:
        """Predict (m, n_genes) for targets at these places (m, 1) among the genes."""
        return (self.g[place[:, 0].astype(np.intp)] @ self.w.T) @ self.g.T + self.center


@hub.saveable
class BilinearLM(TargetRegression):
    """Bilinear model Y = G W P' + center of Ahlmann-Eltze, Huber and Anders, with embeddings from the training effects.

    G are the gene scores of a principal component analysis of the effects, P the rows of G of the targets, W a ridge
    solution on both sides. One fit per context, on single perturbations of a gene that is itself among the features (on
    means over contexts where there are fewer than three). Any other target has the mean of the single perturbations; a
    combination is the sum of its members. Doses are averaged.

    The authors take G from expression rather than effects (the same up to a component), which data of effects lack.

    Parameters
    ----------
    n_components
        Length of the embeddings.
    ridge
        Penalty of either side.
    seed
        Not used.

    Attributes
    ----------
    features_ : place of each target among the genes.
    fits_, anywhere_ : models per context, and on means over contexts.
    mean_ : mean of single perturbations.

    References
    ----------
    Ahlmann-Eltze, Huber & Anders (2025), Nat. Methods, doi:10.1038/s41592-025-02772-6, Methods, "Linear model".
    """

    def __init__(self, *, n_components: int = 10, ridge: float = 0.1, seed: int = 0) -> None:
        self.n_components = n_components
        self.ridge = ridge
        self.seed = seed

    def _features_of(self, data: ResponseData) -> TargetFeatures:
        genes = dict(zip(self.genes_, range(len(self.genes_)), strict=True))
        return TargetFeatures(tuple(genes), np.arange(len(genes), dtype=np.float64)[:, None])

    def _regress(self, x: np.ndarray, y: np.ndarray) -> Bilinear:
        value, right = top_svd(y - y.mean(axis=1, keepdims=True), self.n_components)
        g = right.T * value
        p = g[x[:, 0].astype(np.intp)]
        center = y.mean(axis=0)
        penalty = self.ridge * np.eye(g.shape[1])
        half = np.linalg.solve(g.T @ g + penalty, g.T @ (y - center).T @ p)
        return Bilinear(g, np.linalg.solve(p.T @ p + penalty, half.T).T, center)
