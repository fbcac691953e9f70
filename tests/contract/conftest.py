"""Random mosaics: any subset of modalities per cell, any storage, rows in any order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mudata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from hypothesis import strategies as st
from mudata import MuData

from omicsfm import _compat

# name in the MuData, the recipe it stands for
KINDS = (
    ("rna", "rna"),
    ("ADT", "protein"),
    ("peaks", "atac"),
    ("guide", "guide"),
    ("meth", "methylation"),
    ("metabolite", "continuous"),
)


STORAGE = ("dense", "csr", "csc")
DTYPES = (np.float32, np.float64, np.int32, np.int64, np.uint16)


@dataclass
class Mosaic:
    """A MuData and the truth it was made from."""

    mdata: MuData
    truth: pd.DataFrame
    recipes: dict[str, str]


@dataclass(frozen=True)
class Recipe:
    """What hypothesis draws; the MuData is built outside of the strategy, since mudata uses the `random` module."""

    kinds: tuple[tuple[str, str], ...]
    n: int
    seed: int
    density: float
    storage: str
    dtype: type
    user_built: bool
    prefix: str = "c"

    def _values(self, rng: np.random.Generator, shape: tuple[int, int], recipe: str) -> object:
        if recipe in ("methylation", "continuous"):
            values = rng.random(shape).astype(np.float32)
            values[rng.random(shape) < 0.3] = np.nan
        else:  # whole rows of zeros too
            values = (rng.poisson(0.5, shape) * rng.integers(0, 2, (shape[0], 1))).astype(self.dtype)
        return values if self.storage == "dense" else getattr(sp, f"{self.storage}_matrix")(values)

    def build(self) -> Mosaic:
        rng = np.random.default_rng(self.seed)
        n, n_mods = self.n, len(self.kinds)
        mask = rng.random((n, n_mods)) < self.density
        mask[np.arange(n), rng.integers(0, n_mods, n)] = True  # every cell somewhere
        mask[0] |= ~mask.any(axis=0)  # every modality with a cell
        cells = np.array([f"{self.prefix}{i}" for i in range(n)], dtype=object)
        mods = {}
        with _compat.silent():
            for j, (name, recipe) in enumerate(self.kinds):
                rows = rng.permutation(np.flatnonzero(mask[:, j]))
                n_vars = int(rng.integers(1, 5))
                var = pd.DataFrame(index=[f"{name}:{i}" for i in range(n_vars)])
                X = self._values(rng, (len(rows), n_vars), recipe)
                mods[name] = AnnData(X, obs=pd.DataFrame(index=cells[rows]), var=var)
        label = rng.choice(np.array(["B", "T", None], dtype=object), n)
        obs = pd.DataFrame(
            {"batch": rng.choice(["x", "y"], n), "celltype": pd.Categorical(label, categories=["B", "T", "unused"])},
            index=cells,
        )
        if self.user_built:  # as a user does it, with mudata's defaults and in mudata's order
            with _compat.silent():
                if hasattr(mudata, "set_options"):
                    mudata.set_options(pull_on_update=None)  # an earlier setup() may have adopted the new default
                mdata = mudata.MuData(mods)
                mdata.obs = obs.loc[mdata.obs_names]
        else:
            mdata = _compat.make_mudata(mods, obs.iloc[rng.permutation(n)])
        names = [name for name, _ in self.kinds]
        return Mosaic(mdata, pd.DataFrame(mask, index=cells, columns=names), dict(self.kinds))


def mosaics(*, min_mods: int = 1, prefix: str = "c") -> st.SearchStrategy[Recipe]:
    return st.builds(
        Recipe,
        kinds=st.lists(st.sampled_from(KINDS), min_size=min_mods, max_size=4, unique=True).map(tuple),
        n=st.integers(1, 9),
        seed=st.integers(0, 2**32 - 1),
        density=st.sampled_from([0.0, 0.2, 0.5, 0.9]),
        storage=st.sampled_from(STORAGE),
        dtype=st.sampled_from(DTYPES),
        user_built=st.booleans(),
        prefix=st.just(prefix),
    )


@pytest.fixture(scope="session")
def draw_mosaic() -> Callable[..., st.SearchStrategy[Recipe]]:
    return mosaics


def counts(n: int, names: list[str], *, seed: int = 0, cells: list[str] | None = None) -> AnnData:
    X = sp.csr_matrix(np.random.default_rng(seed).poisson(1.0, (n, len(names))).astype(np.float32))
    with _compat.silent():
        return AnnData(X, obs=pd.DataFrame(index=cells or [f"c{i}" for i in range(n)]), var=pd.DataFrame(index=names))


@pytest.fixture(scope="session")
def make_counts() -> Callable[..., AnnData]:
    return counts


@pytest.fixture
def good() -> MuData:
    """Six cells, four with RNA, four with protein, batch and partly missing labels."""
    rna = counts(4, ["CD3E", "MS4A1", "LYZ"])
    protein = counts(4, ["protein:CD3", "protein:CD20"], seed=1, cells=["c2", "c3", "c4", "c5"])
    obs = pd.DataFrame(
        {"batch": ["x", "x", "x", "y", "y", "y"], "celltype": ["T", None, "B", "T", None, "B"]},
        index=[f"c{i}" for i in range(6)],
    )
    return _compat.make_mudata({"rna": rna, "protein": protein}, obs)
