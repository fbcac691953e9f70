"""RandomForestGO: components of effects by a random forest on components of the priors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import RandomForestRegressor

from omicsfm import hub
from omicsfm.models.responses._components import top_svd
from omicsfm.models.responses._targets import PriorRegression


@hub.state
@dataclass(frozen=True)
class Forest:
    """Trees as arrays, on components of features and of effects.

    Attributes
    ----------
    roots : (n_trees,) node of each tree's root.
    left, right : (n_nodes,) children; -1 in a leaf.
    feature, threshold : (n_nodes,) a row goes left where its feature is at most the threshold.
    value : (n_nodes, n_components) mean of the training rows in the node.
    x_mean, x_axes : (n_features,) and (n_inputs, n_features).
    y_mean, y_axes : (n_genes,) and (n_components, n_genes).
    """

    roots: np.ndarray
    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    value: np.ndarray
    x_mean: np.ndarray
    x_axes: np.ndarray
    y_mean: np.ndarray
    y_axes: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Predict (m, n_genes)."""
        inputs = _inputs(x, self.x_mean, self.x_axes)
        node = np.tile(self.roots, (len(x), 1))
        row = np.arange(len(x))[:, None]
        while (inner := self.left[node] >= 0).any():
            lower = inputs[row, np.maximum(self.feature[node], 0)] <= self.threshold[node]
            node = np.where(inner, np.where(lower, self.left[node], self.right[node]), node)
        return self.value[node].mean(axis=1) @ self.y_axes + self.y_mean


@hub.saveable
class RandomForestGO(PriorRegression):
    """Random forest on the leading components of the priors (Gene Ontology, and what else was given).

    Priors are concatenated, each at unit norm, and reduced; the forest predicts the leading components of the effects.
    One forest per context, on its single perturbations (on means over contexts where fewer than three of these have
    priors). A target of which no prior knows anything has the mean of the single perturbations; a combination is the
    sum of its members. Doses are averaged.

    Parameters
    ----------
    n_trees
        Number of trees.
    n_inputs
        At most so many components of the priors.
    n_components
        At most so many components of the effects.
    seed
        Of the forest; same seed, same bits.

    Attributes
    ----------
    features_ : priors of the targets.
    fits_, anywhere_ : forests per context, and on means over contexts.
    mean_ : mean of single perturbations.

    References
    ----------
    Breiman (2001), Mach. Learn. 45:5; Csendes et al. (2025), BMC Genomics 26:393 (as a baseline of perturbations).
    """

    def __init__(self, *, n_trees: int = 100, n_inputs: int = 50, n_components: int = 20, seed: int = 0) -> None:
        self.n_trees = n_trees
        self.n_inputs = n_inputs
        self.n_components = n_components
        self.seed = seed

    def _regress(self, x: np.ndarray, y: np.ndarray) -> Forest | None:
        x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
        _, x_axes = top_svd(x - x_mean, self.n_inputs)
        _, y_axes = top_svd(y - y_mean, self.n_components)
        if not len(x_axes) or not len(y_axes):  # all alike: nothing to split
            return None
        forest = RandomForestRegressor(self.n_trees, random_state=self.seed)
        scores = (y - y_mean) @ y_axes.T
        forest.fit(_inputs(x, x_mean, x_axes), scores if scores.shape[1] > 1 else scores[:, 0])
        trees = [tree.tree_ for tree in forest.estimators_]
        roots = np.concatenate([[0], np.cumsum([tree.node_count for tree in trees])[:-1]]).astype(np.int64)
        roots = np.cumsum([0, *(tree.node_count for tree in trees)])[:-1]
        return Forest(
            roots=roots,
            left=_joined([tree.children_left for tree in trees], roots),
            right=_joined([tree.children_right for tree in trees], roots),
            feature=np.concatenate([tree.feature for tree in trees]),
            threshold=np.concatenate([tree.threshold for tree in trees]),
            value=np.concatenate([tree.value[:, :, 0] for tree in trees]),
            x_mean=x_mean,
            x_axes=x_axes,
            y_mean=y_mean,
            y_axes=y_axes,
        )


def _joined(children: list[np.ndarray], roots: np.ndarray) -> np.ndarray:
    """Nodes of all trees behind each other; -1 stays."""
    return np.concatenate([np.where(c >= 0, c + root, -1) for c, root in zip(children, roots, strict=True)])


def _inputs(x: np.ndarray, mean: np.ndarray, axes: np.ndarray) -> np.ndarray:
    return ((x - mean) @ axes.T).astype(np.float32)  # in which trees compare
