"""One hash for the contents of a MuData."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
from mudata import MuData

from omicsfm import io

_ROWS = 8192  # fixed: the hash must not depend on how it was read


def _names(names: pd.Index) -> bytes:
    return "\0".join(names.astype(str)).encode()


def fingerprint(mdata: MuData) -> str:
    """Give the SHA-256 of names and X of every modality.

    Parameters
    ----------
    mdata
        MuData, in memory or backed.

    Returns
    -------
    64 hex digits. Equal values give equal hashes: the order of the modalities, sparse or dense, the dtype and explicit
    zeros make no difference; the order of cells and features within a modality does.
    """
    digest = hashlib.sha256()
    for mod in sorted(mdata.mod):
        adata = mdata.mod[mod]
        for part in (mod.encode(), _names(adata.obs_names), _names(adata.var_names)):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
        for block in io.blocks(adata.X, _ROWS):
            if (block.data == 0).any():
                block = block.copy()
                block.eliminate_zeros()
            values = block.data.astype("<f8")
            values[np.isnan(values)] = np.nan  # NaN has many bit patterns
            digest.update(np.diff(block.indptr).astype("<i8").tobytes())
            digest.update(block.indices.astype("<i8").tobytes())
            digest.update(values.tobytes())
    return digest.hexdigest()
