"""Simulated tokens and MuData, and the real mosaic, for the tests of the models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData

from omicsfm import _compat, contract, datasets
from omicsfm.pp import Tokenizer, Tokens


def tokens_of(
    values: Mapping[str, np.ndarray], rows: Mapping[str, np.ndarray], *, n: int, batch: np.ndarray | None = None
) -> Tokens:
    """Tokens of `n` cells; ``values[m][i]`` belongs to cell ``rows[m][i]``."""
    return Tokens(
        values={m: np.asarray(v, dtype=np.float32) for m, v in values.items()},
        rows={m: np.asarray(r, dtype=np.int64) for m, r in rows.items()},
        obs_names=pd.Index([f"c{i}" for i in range(n)]),
        batch=np.full(n, "a") if batch is None else np.asarray(batch).astype(str),
    )


def counts_mosaic(
    n: int = 240,
    *,
    seed: int = 0,
    n_types: int = 4,
    has: Mapping[str, np.ndarray] | None = None,
    batch: np.ndarray | None = None,
    n_vars: Mapping[str, int] | None = None,
) -> MuData:
    """Cells of a few types with counts in every modality of `n_vars`, each present where `has` says."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, n_types, n)
    depth = rng.lognormal(0, 0.2, (n, 1))
    cells = np.array([f"c{i}" for i in range(n)], dtype=object)
    mods = {}
    with _compat.silent():
        for mod, p in (n_vars or {"rna": 60, "protein": 20}).items():
            rate = rng.gamma(0.7, 4.0, (n_types, p))
            x = sp.csr_matrix(rng.poisson(rate[kind] * depth).astype(np.float32))
            rows = np.arange(n) if has is None or mod not in has else np.flatnonzero(has[mod])
            var = pd.DataFrame(index=[f"{mod}:{i}" for i in range(p)])
            mods[mod] = AnnData(x[rows], obs=pd.DataFrame(index=cells[rows]), var=var)
    obs = pd.DataFrame(
        {"batch": np.full(n, "a") if batch is None else batch, "celltype": [f"t{k}" for k in kind]}, index=cells
    )
    mdata = _compat.make_mudata(mods, obs)
    contract.setup(mdata, batch_key="batch", label_key="celltype")
    return mdata


@pytest.fixture(scope="session")
def make_tokens() -> Callable[..., Tokens]:
    return tokens_of


@pytest.fixture(scope="session")
def make_mosaic() -> Callable[..., MuData]:
    return counts_mosaic


@pytest.fixture(scope="session")
def real(omicsfm_data: Path) -> Callable[[str], Any]:
    """Load a real data set, a fresh copy each time."""
    found: dict[str, MuData] = {}

    def load(name: str) -> MuData:
        if name not in found:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("OMICSFM_DATA", str(omicsfm_data))
                found[name] = datasets.load(name, progress=False)
        return contract.subset(found[name], slice(None))

    return load


@pytest.fixture(scope="module")
def pbmc(real: Callable[[str], Any]) -> MuData:
    return real("pbmc_mosaic")


@pytest.fixture(scope="module")
def paired(pbmc: MuData) -> MuData:
    """The two donors measured in both modalities."""
    return contract.subset(pbmc, np.isin(pbmc.obs["batch"].astype(str), ["p3_0", "p4_0"]))


@pytest.fixture(scope="module")
def fitted(paired: MuData) -> tuple[Tokenizer, dict[str, np.ndarray]]:
    """Tokenizer, and tokens by modality in the order of ``paired.obs_names``."""
    tokenizer = Tokenizer().fit(paired)
    tokens = tokenizer.transform(paired)
    x = {m: np.empty(v.shape) for m, v in tokens.values.items()}
    for m, v in tokens.values.items():
        x[m][tokens.rows[m]] = v
    return tokenizer, x
