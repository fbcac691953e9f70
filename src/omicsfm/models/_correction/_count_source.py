"""Raw counts of a modality, for a likelihood of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from mudata import MuData
from scipy import sparse

from omicsfm import contract
from omicsfm.pp import Tokenizer

MAX_FEATURES = 2000  # a step looks at this many, drawn anew: an unbiased estimate, whatever the number of features
LIKELIHOODS = ("nb", "poisson", "bernoulli", "nb_mixture")


@dataclass(frozen=True)
class CountSource:
    """Raw counts of one modality over the features of its tokens.

    Attributes
    ----------
    x_ng : CSR (n_obs of the modality, n_features).
    row_of : (n_obs,) row of every cell, -1 without the modality or with a part of its features only.
    components_dg : of the tokens.
    kind : "nb", "poisson", "bernoulli" or "nb_mixture".
    """

    x_ng: sparse.csr_array
    row_of: np.ndarray
    components_dg: np.ndarray
    kind: str

    @classmethod
    def of(cls, tokenizer: Tokenizer, mdata: MuData, mod: str, kind: str) -> CountSource:
        """Collect the counts of a modality; cells with another panel of features are left out."""
        chosen = tokenizer.features_[mod]
        parts, whole = [], []
        for _, block, measured in tokenizer.aligned(mdata, mod):
            parts.append(sparse.csr_array(block)[:, chosen])
            n = parts[-1].shape[0]
            whole.append(np.ones(n, dtype=bool) if measured is None else measured[:, chosen].all(axis=1))
        row_of = np.full(mdata.n_obs, -1, dtype=np.int64)
        rows = contract.rows(mdata, mod)
        row_of[rows] = np.where(np.concatenate(whole), np.arange(len(rows)), -1)
        return cls(sparse.csr_array(sparse.vstack(parts)), row_of, tokenizer.svd_[mod].components_, kind)

    def take(self, obs: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Give counts of the cells ``obs[rows]`` as CSR parts; an empty row where there are none."""
        row = self.row_of[obs[rows]]
        part = sparse.csr_array(self.x_ng[np.maximum(row, 0)])
        n = part.shape[1]
        features = rng.permutation(n)[:MAX_FEATURES] if n > MAX_FEATURES else np.arange(n)
        return {
            "indptr": part.indptr.astype(np.int64),
            "indices": part.indices.astype(np.int64),
            "data": part.data.astype(np.float32),
            "library": np.asarray(part.sum(axis=1), dtype=np.float32).ravel(),
            "usable": row >= 0,
            "features": features,
        }
