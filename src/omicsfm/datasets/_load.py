"""Registry entry -> a MuData that meets the contract."""

from __future__ import annotations

from typing import Any

import anndata as ad
import pandas as pd
from mudata import MuData

from omicsfm import _compat, contract
from omicsfm._errors import InputError
from omicsfm.datasets._fetch import fetch_entry
from omicsfm.datasets._readers import READERS
from omicsfm.datasets._registry import registry
from omicsfm.datasets._schema import Entry

# Proteins and guides are named after genes: the prefix keeps names unique over modalities.
_PREFIXED = ("protein", "guide")
_INTERVAL = r"^(?P<chrom>[^:]+):(?P<start>\d+)-(?P<end>\d+)$"


def load(name: str, *, progress: bool = True) -> MuData:
    """Load a data set of the registry, fetched first if it is not on this disk.

    Parameters
    ----------
    name
        Name of the data set; `registry().names()` lists them.
    progress
        Show a progress bar while files are fetched (at a terminal only).

    Returns
    -------
    MuData that passes `omicsfm.check`: raw counts in X (or what the entry's recipes say), missing modalities absent,
    columns of obs that belong to all cells in ``mdata.obs``, keys and recipes of the entry recorded as by
    `omicsfm.setup` (which you may call again with keys of your own). Where the entry names a control, there are
    ``obs["is_control"]`` and a guide modality: the measured one, or one feature per target as `omicsfm.setup` makes it.

    Raises
    ------
    InputError
        If there is no such data set, it cannot be fetched, or it is no MuData (use `fetch`, which returns paths).
    """
    return load_entry(registry().get(name), progress=progress)


def load_entry(entry: Entry, *, progress: bool = False) -> MuData:
    """Do the work of :func:`load` for an entry of any registry."""
    if entry.loader == "files":
        raise InputError(
            f"datasets.load: '{entry.name}' ({entry.title}) is no MuData. "
            f"Fix: datasets.fetch('{entry.name}') returns the paths of its files."
        )
    raw = READERS[entry.loader](entry, fetch_entry(entry, progress=progress))
    mods = _modalities(entry, raw)
    obs = _obs(entry, raw, mods)
    for mod, recipe in entry.modalities.items():
        _annotate(mods[mod], entry, recipe=recipe)
    mdata = _compat.make_mudata(mods, obs)
    if mdata.n_obs != entry.n_obs:
        raise InputError(
            f"datasets.load: '{entry.name}' should have {entry.n_obs:,} cells, found {mdata.n_obs:,}. "
            "Fix: correct n_obs in the registry."
        )
    keys = {f"{role}_key": column for role, column in entry.keys if column is not None}
    contract.setup(mdata, **keys, control=entry.control, modalities=dict(entry.modalities), organism=entry.organism)
    contract.record(mdata, "datasets.load", dataset=entry.name, sha256={file.name: file.sha256 for file in entry.files})
    contract.check(mdata).raise_for_errors("datasets.load")
    return mdata


def _modalities(entry: Entry, raw: MuData) -> dict[str, ad.AnnData]:
    """Give the modalities their registered names, in the registry's order."""
    if len(raw.mod) == 1 and len(entry.modalities) == 1:
        return {next(iter(entry.modalities)): next(iter(raw.mod.values()))}  # an .h5ad does not name its modality
    named = {entry.rename.get(mod, mod): adata for mod, adata in raw.mod.items()}
    if set(named) != set(entry.modalities):
        raise InputError(
            f"datasets.load: '{entry.name}' should hold {sorted(entry.modalities)}, found {sorted(named)}. "
            "Fix: correct modalities or rename in the registry."
        )
    return {mod: named[mod] for mod in entry.modalities}


def _obs(entry: Entry, raw: MuData, mods: dict[str, ad.AnnData]) -> pd.DataFrame:
    """Collect what is known of all cells: mudata's own copies ('rna:batch') go, columns of a complete modality come."""
    prefixes = tuple(f"{mod}:" for mod in raw.mod)
    obs = raw.obs[[column for column in raw.obs.columns if not column.startswith(prefixes)]].copy()
    for adata in mods.values():
        if adata.n_obs == raw.n_obs:
            for column in adata.obs.columns.difference(obs.columns, sort=False):
                obs[column] = adata.obs[column].reindex(obs.index)
    for role, column in entry.keys:
        if role == "dose":
            continue  # an amount, not a name
        if column in obs and not isinstance(obs[column].dtype, pd.CategoricalDtype):  # such as the number of a donor
            obs[column] = pd.Categorical(obs[column].astype(str).where(obs[column].notna()))
    if entry.control is not None:
        obs["is_control"] = (obs[entry.keys.perturbation] == entry.control).to_numpy(dtype=bool)
    return obs


def _annotate(adata: ad.AnnData, entry: Entry, *, recipe: str) -> None:
    """Bring names and columns of var to the container's pattern (DESIGN 3); X is not touched."""
    if recipe in _PREFIXED:
        adata.var_names = [n if n.startswith(f"{recipe}:") else f"{recipe}:{n}" for n in adata.var_names]
    var: Any = adata.var
    places = {"atac": pd.Series(adata.var_names, dtype=str), "rna": var.get("interval")}.get(recipe)
    if places is not None:
        found = places.astype(str).str.extract(_INTERVAL).set_axis(adata.var_names, axis=0)
        if not found.isna().to_numpy().any():
            for column, kind in (("chrom", "category"), ("start", "int64"), ("end", "int64")):
                var[column] = found[column].astype(kind)
    adata.var = var.rename(columns={"grna_target": "target"})
    if recipe == "guide" and "target" in adata.var and entry.control is not None:
        adata.var["is_control"] = (adata.var["target"] == entry.control).to_numpy(dtype=bool)
