"""ModalityPCA: the tokens of one modality, and nothing else."""

from __future__ import annotations

import warnings

import numpy as np
from mudata import MuData

from omicsfm import hub
from omicsfm._errors import InputError, OmicsfmWarning
from omicsfm.models.baselines._base import Embedder
from omicsfm.pp import Tokens


@hub.saveable
class ModalityPCA(Embedder):
    """Principal components of one modality on its recipe's scale (for chromatin: latent semantic indexing).

    Parameters
    ----------
    modality
        The modality; None takes the one that most cells have (of equals, the first).
    n_tokens
        Number of components.
    seed
        Seed of the randomised SVD.

    Attributes
    ----------
    modality_ : the modality used.

    References
    ----------
    Pearson (1901), Philos. Mag. 2:559; Deerwester et al. (1990), J. Am. Soc. Inf. Sci. 41:391.
    """

    _joint = False
    _needs_two = False

    def __init__(self, modality: str | None = None, *, n_tokens: int = 30, seed: int = 0) -> None:
        self.modality = modality
        self.n_tokens = n_tokens
        self.seed = seed

    def _fit(self, mdata: MuData, tokens: Tokens) -> None:
        if self.modality is not None and self.modality not in tokens.values:
            raise InputError(
                f"ModalityPCA.fit: there is no modality '{self.modality}'. Fix: choose one of {', '.join(mdata.mod)}."
            )
        self.modality_ = self.modality or max(mdata.mod, key=lambda m: len(tokens.rows[m]))

    def embed(self, mdata: MuData) -> np.ndarray:
        """Give the components of any cells; cells without the modality are put at its mean, and a warning says so.

        Returns
        -------
        float64 array (n_obs, n_tokens), rows as ``mdata.obs_names``.
        """
        tokens = self._tokens(mdata)
        lacking = tokens.n_obs - len(tokens.rows.get(self.modality_, ()))
        if lacking:
            warnings.warn(
                f"{lacking} cells lack '{self.modality_}', the only modality this model sees: they are put at its mean",
                OmicsfmWarning,
                stacklevel=2,
            )
        return self._compute(tokens)

    def _compute(self, tokens: Tokens) -> np.ndarray:
        out = np.zeros((tokens.n_obs, len(self.tokenizer_.svd_[self.modality_].components_)))
        if self.modality_ in tokens.values:
            out[tokens.rows[self.modality_]] = tokens.values[self.modality_]
        return out
