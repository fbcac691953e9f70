"""MeanResponse: every perturbation does what perturbations do on average."""

from __future__ import annotations

import numpy as np

from omicsfm import hub
from omicsfm.models.responses._shared import MeanEffects, MeasuredEffects, ResponseBaseline
from omicsfm.pp import ResponseData


@hub.saveable
class MeanResponse(ResponseBaseline):
    """Mean effect of the training perturbations in the context; of all contexts in one where nothing was perturbed.

    Each perturbation counts once, whatever its doses; combinations are perturbations like others. Doses asked for are
    ignored.

    Parameters
    ----------
    seed
        Not used.

    Attributes
    ----------
    mean_ : the means.
    """

    def _learn(self, data: ResponseData) -> None:
        self.mean_ = MeanEffects.of(MeasuredEffects.of(data))

    def _row(self, name: str, context: str, dose: float) -> np.ndarray:
        return self.mean_(context)
