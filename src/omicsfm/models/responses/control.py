"""ControlResponse: nothing happens."""

from __future__ import annotations

import numpy as np
import pandas as pd

from omicsfm import hub
from omicsfm.models.responses._shared import ResponseBaseline
from omicsfm.pp import ResponseData


@hub.saveable
class ControlResponse(ResponseBaseline):
    """No effect of anything: perturbed cells are predicted to be like the controls.

    Parameters
    ----------
    seed
        Not used.
    """

    def _learn(self, data: ResponseData) -> None:
        """Nothing to learn."""

    def _predict(self, design: pd.DataFrame) -> np.ndarray:
        return np.zeros((len(design), len(self.genes_)))
