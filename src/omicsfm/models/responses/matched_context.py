"""MatchedContext: what the same perturbation did in the other contexts."""

from __future__ import annotations

import numpy as np

from omicsfm import contract, hub
from omicsfm.models.responses._shared import MeanEffects, MeasuredEffects, ResponseBaseline
from omicsfm.pp import ResponseData


@hub.saveable
class MatchedContext(ResponseBaseline):
    """Effect of the same perturbation averaged over the other contexts, at the nearest dose on the log scale.

    One measured in the asked context alone keeps that effect. A combination that was never measured is the sum of its
    members, each found in this way; what was never measured at all is the mean of the single perturbations of the
    context. No context weighs more than another, however alike their controls.

    Parameters
    ----------
    seed
        Not used.

    Attributes
    ----------
    effects_, mean_ : measured effects, and the mean of single perturbations.
    """

    def _learn(self, data: ResponseData) -> None:
        self.effects_ = MeasuredEffects.of(data)
        self.mean_ = MeanEffects.of(self.effects_.per_member())

    def _row(self, name: str, context: str, dose: float) -> np.ndarray:
        whole = self._matched(name, context, dose)
        if whole is not None:
            return whole
        parts = [self._matched(member, context, dose) for member in contract.members(name)]
        return np.sum([self.mean_(context) if part is None else part for part in parts], axis=0)

    def _matched(self, name: str, context: str, dose: float) -> np.ndarray | None:
        other = self.effects_.elsewhere(name, context, dose)
        return self.effects_.measured(name, context, dose) if other is None else other
