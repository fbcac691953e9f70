"""Small MuData for the tests of tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from mudata import MuData

from omicsfm import _compat, contract


def build(
    matrices: Mapping[str, Any],
    *,
    batch: np.ndarray | None = None,
    names: Mapping[str, list[str]] | None = None,
    measured: Mapping[str, pd.DataFrame] | None = None,
    modalities: Mapping[str, str] | None = None,
) -> MuData:
    """Build a complete MuData (every cell in every modality) that `setup` has seen."""
    n = next(iter(matrices.values())).shape[0]
    cells = [f"c{i}" for i in range(n)]
    mods = {}
    with _compat.silent():
        for mod, X in matrices.items():
            var = (names or {}).get(mod, [f"{mod}:{i}" for i in range(X.shape[1])])
            mods[mod] = AnnData(X, obs=pd.DataFrame(index=cells), var=pd.DataFrame(index=var))
            if measured and mod in measured:
                mods[mod].varm["measured"] = measured[mod].set_axis(pd.Index(var), axis=0)
    obs = pd.DataFrame({"batch": np.full(n, "a") if batch is None else batch}, index=cells)
    mdata = _compat.make_mudata(mods, obs)
    contract.setup(mdata, batch_key="batch", modalities=dict(modalities) if modalities else None)
    return mdata


def blobs(n: int, n_vars: int, *, seed: int = 0, n_types: int = 4, depth: float = 1.0) -> np.ndarray:
    """Counts of a few cell types, as float64 whole numbers."""
    rng = np.random.default_rng(seed)
    rate = rng.gamma(0.5, 2.0, (n_types, n_vars)) * depth
    return rng.poisson(rate[rng.integers(0, n_types, n)]).astype(np.float64)


@pytest.fixture(scope="session")
def build_mdata() -> Callable[..., MuData]:
    return build


@pytest.fixture(scope="session")
def make_blobs() -> Callable[..., np.ndarray]:
    return blobs
