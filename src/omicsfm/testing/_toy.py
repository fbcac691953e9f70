"""Data to check estimators on."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from mudata import MuData

from omicsfm import _compat, contract


def toy_mosaic(n_obs: int = 120, *, prefix: str = "cell", seed: int = 0) -> MuData:
    """Make a small MuData with everything an estimator must bear.

    Three types of cell, two batches, RNA and protein counts; a third of the cells lack one of the two, some labels are
    missing, rows of modalities are in other orders than ``obs_names``, and a cell is all zero in RNA.

    Parameters
    ----------
    n_obs
        Number of cells.
    prefix
        Of their names.
    seed
        Seed; the types are the same for all seeds.

    Returns
    -------
    MuData that satisfies the contract, with batch key "batch" and label key "label".
    """
    profile = np.random.default_rng(1)
    mean = {"rna": profile.gamma(1.0, 2.0, (3, 60)), "protein": profile.gamma(2.0, 20.0, (3, 15))}
    rng = np.random.default_rng(seed)
    kind = np.arange(n_obs) % 3
    names = np.array([f"{prefix}{i}" for i in range(n_obs)])
    has = {"rna": np.arange(n_obs) % 6 != 1, "protein": np.arange(n_obs) % 6 != 2}
    mods = {}
    for mod, mean_cg in mean.items():
        cells = rng.permutation(np.flatnonzero(has[mod]))
        x_ng = rng.poisson(mean_cg[kind[cells]]).astype(np.float32)
        if mod == "rna":
            x_ng[0] = 0
        var = pd.DataFrame(index=[f"{mod}:{i}" for i in range(x_ng.shape[1])])
        mods[mod] = ad.AnnData(x_ng, obs=pd.DataFrame(index=names[cells]), var=var)
    label = np.array(["B", "NK", "T"], dtype=object)[kind]
    label[rng.permutation(n_obs)[: n_obs // 10]] = np.nan
    batch = np.where(np.arange(n_obs) % 2 == 0, "one", "two")
    mdata = _compat.make_mudata(mods, pd.DataFrame({"batch": batch, "label": label}, index=names))
    contract.setup(mdata, batch_key="batch", label_key="label", modalities={"rna": "rna", "protein": "protein"})
    return mdata


def alone(mdata: MuData, mod: str) -> MuData:
    """Give the cells of one modality, as if nothing else had been measured."""
    adata = mdata.mod[mod].copy()
    out = _compat.make_mudata({mod: adata}, mdata.obs.loc[adata.obs_names])
    contract.setup(out, modalities={mod: contract.recipe_of(mdata, mod)})
    return out


def renamed(mdata: MuData) -> MuData:
    """Give a copy of the cells under other names."""
    mods = {}
    for mod, adata in mdata.mod.items():
        mods[mod] = adata.copy()
        mods[mod].obs_names = [f"new {name}" for name in adata.obs_names]
    return _compat.make_mudata(mods, mdata.obs.set_axis([f"new {name}" for name in mdata.obs_names], axis=0))
