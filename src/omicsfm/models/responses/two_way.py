"""TwoWayEB: what a perturbation does everywhere plus what is done by any perturbation in a context."""

from __future__ import annotations

import numpy as np
import pandas as pd

from omicsfm import contract, hub
from omicsfm.models.responses._components import top_svd
from omicsfm.models.responses._shared import ResponseBaseline
from omicsfm.models.responses._variance import two_way_effects, variance_components
from omicsfm.pp import ResponseData


@hub.saveable
class TwoWayEB(ResponseBaseline):
    """Mean, plus an effect of the perturbation, plus one of the context, shrunk in each principal component.

    The variances of perturbations, of contexts and of what is left come from the data (fitting constants), so that a
    component in which perturbations do not agree between contexts is drawn toward the mean. A perturbation never seen
    has the mean of the context; a context never seen, the effect of the perturbation alone. With one context and no
    repeats nothing tells signal from noise, and effects are kept as they are. A combination never measured is the sum
    of its members. Doses are ignored: those of one perturbation count as repeats.

    Parameters
    ----------
    n_components
        At most so many principal components; beyond them every effect is the mean.
    seed
        Not used.

    Attributes
    ----------
    variances_ : (3, n_components) of perturbations, contexts and what is left.
    axes_ : (n_components, n_genes).
    center_ : (n_genes,) the general mean.
    perturbations_, contexts_known_ : names of the rows of `perturbation_effects_` and `context_effects_`.

    References
    ----------
    Henderson (1953), Biometrics 9:226 (variances); Henderson (1975), Biometrics 31:423 (shrunken effects).
    """

    def __init__(self, *, n_components: int = 100, seed: int = 0) -> None:
        self.n_components = n_components
        self.seed = seed

    def _learn(self, data: ResponseData) -> None:
        effects = data.effects.to_numpy(dtype=np.float64)
        center = effects.mean(axis=0)
        _, self.axes_ = top_svd(effects - center, self.n_components)
        names, row = np.unique(data.design["perturbation"].to_numpy(dtype=str), return_inverse=True)
        contexts, column = np.unique(data.design["context"].to_numpy(dtype=str), return_inverse=True)
        self.perturbations_, self.contexts_known_ = tuple(names.tolist()), tuple(contexts.tolist())
        scores = (effects - center) @ self.axes_.T
        self.variances_ = variance_components(scores, row, column)
        mean, self.perturbation_effects_, self.context_effects_ = two_way_effects(scores, row, column, self.variances_)
        self.center_ = center + mean @ self.axes_

    def _predict(self, design: pd.DataFrame) -> np.ndarray:
        of_perturbation = dict(zip(self.perturbations_, self.perturbation_effects_, strict=True))
        of_context = dict(zip(self.contexts_known_, self.context_effects_, strict=True))
        nothing = np.zeros(len(self.axes_))
        scores, times = np.zeros((len(design), len(self.axes_))), np.zeros(len(design))
        for i, (name, context) in enumerate(zip(design["perturbation"], design["context"], strict=True)):
            parts = (name,) if name in of_perturbation else contract.members(name)
            times[i] = len(parts)
            for part in parts:
                scores[i] += of_perturbation.get(part, nothing) + of_context.get(context, nothing)
        return scores @ self.axes_ + np.outer(times, self.center_)
