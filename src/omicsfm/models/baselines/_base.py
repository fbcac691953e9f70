"""What every embedding baseline shares."""

from __future__ import annotations

import numpy as np
from mudata import MuData

from omicsfm.models._token_model import TokenModel


class Embedder(TokenModel):
    """A baseline that gives cell states."""

    def embed(self, mdata: MuData) -> np.ndarray:
        """Give the state of any cells, seen or new, measured in any subset of the modalities.

        Returns
        -------
        float64 array (n_obs, n_latent), rows as ``mdata.obs_names``. Each row depends on its own cell alone.
        """
        return self._compute(self._tokens(mdata))
