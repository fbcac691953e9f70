"""NearestContext: what the same perturbation did in the contexts whose unperturbed cells are most alike."""

from __future__ import annotations

import numpy as np

from omicsfm import hub
from omicsfm.models._response._kernels import Controls
from omicsfm.models.responses._shared import NO_DOSE
from omicsfm.models.responses.matched_context import MatchedContext
from omicsfm.pp import ResponseData

_TRIED = (1, 2, 3, 5, 10)


@hub.saveable
class NearestContext(MatchedContext):
    """Effect of the same perturbation averaged over the contexts with the most similar controls.

    Similar is the cosine of mean control expression less its mean over contexts. How many contexts are averaged (1, 2,
    3, 5, 10 or all) is chosen by the squared error on training effects left out, one by one. Without controls of three
    contexts all are averaged, which is `MatchedContext`; so is what is no single context's effect (combinations that
    were never measured, perturbations never tried).

    Parameters
    ----------
    seed
        Not used.

    Attributes
    ----------
    effects_, mean_ : measured effects, and the mean of single perturbations.
    controls_ : how alike contexts are, or None.
    n_contexts_ : how many are averaged; 0: all.
    """

    def _learn(self, data: ResponseData) -> None:
        super()._learn(data)
        self.controls_ = Controls.of(data.controls)
        self.n_contexts_ = 0
        if self.controls_ is None:
            return
        error = dict.fromkeys((0, *_TRIED), 0.0)
        for name, at in self.effects_.where.items():
            for context, rows in at.items():
                for n in error if len(at) > 1 else ():
                    self.n_contexts_ = n
                    guess = self._matched(name, context, NO_DOSE)
                    error[n] += float(np.square(self.effects_.values[rows].mean(axis=0) - guess).sum())
        self.n_contexts_ = min(error, key=lambda n: error[n])

    def _matched(self, name: str, context: str, dose: float) -> np.ndarray | None:
        others = [other for other in self.effects_.where.get(name, {}) if other != context]
        if not self.n_contexts_ or self.controls_ is None or context not in self.controls_.contexts or not others:
            return super()._matched(name, context, dose)
        place = {c: i for i, c in enumerate(self.controls_.contexts)}
        alike = self.controls_.cosine[place[context]]
        near = sorted(others, key=lambda other: -alike[place[other]] if other in place else 2.0)[: self.n_contexts_]
        found = [effect for other in near if (effect := self.effects_.measured(name, other, dose)) is not None]
        return np.mean(found, axis=0)
