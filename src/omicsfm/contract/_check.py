"""Every way in which a MuData can break the contract, each found once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData

from omicsfm import io
from omicsfm.contract._check_values import check_values
from omicsfm.contract._organism import canonical_organism, organism_problem
from omicsfm.contract._recipes import RECIPES, recipe_for_name
from omicsfm.contract._state import SLOT, control_of, measured_by, organism_of, recorded, state
from omicsfm.contract._types import SCHEMA_VERSION, CheckReport, Violation

_UNIQUE_PREFIX = (
    'mdata.mod["{mod}"].var_names = ["{mod}:" + n for n in mdata.mod["{mod}"].var_names]; '
    "mdata = mudata.MuData(dict(mdata.mod), obs=mdata.obs)"
)


def _some(names: Any, n: int = 3) -> str:
    names = [str(name) for name in names]
    more = f" and {len(names) - n} more" if len(names) > n else ""
    return ", ".join(f"'{name}'" for name in names[:n]) + more


def _choices(name: str, known: Any) -> str:
    known = [str(k) for k in known]
    close = get_close_matches(name, known, n=3, cutoff=0.6)
    return (f"did you mean {_some(close)}? " if close else "") + f"there are: {_some(known, 30) or 'none'}"


def not_a_mudata(data: Any) -> Violation | None:
    """Say why `data` cannot be looked at any further, or None."""
    if isinstance(data, AnnData):
        fix = 'mudata.MuData({"rna": adata}) with its modality\'s name, or ofm.io.read on the file'
        return Violation(None, "mdata", "needed a MuData, found an AnnData", fix)
    if not isinstance(data, MuData):
        fix = "build mudata.MuData({name: AnnData, ...}) or read a file with ofm.io.read"
        return Violation(None, "mdata", f"needed a MuData, found {type(data).__name__}", fix)
    if data.axis != 0:
        found = f"needed modalities that share cells (axis 0), found axis {data.axis}"
        return Violation(None, "mdata", found, "mudata.MuData({name: AnnData, ...}) with one AnnData per modality")
    if not data.mod:
        return Violation(None, "mdata", "there are no modalities", "mudata.MuData({name: AnnData, ...})")
    nested = [name for name, adata in data.mod.items() if not isinstance(adata, AnnData)]
    if nested:
        found = f"modality {_some(nested)} is not an AnnData"
        return Violation(None, "mdata", found, "give every modality as one AnnData, without MuData inside MuData")
    return None


def _names(mdata: MuData) -> Iterator[Violation]:
    if mdata.n_obs == 0:
        yield Violation(None, "obs", "there are no cells", "check the filter or the file that this came from")
    repeated: set[str] = set()
    owner: dict[str, tuple[list[str], list[str]]] = {}
    seen: dict[str, str] = {}
    for mod, adata in mdata.mod.items():
        if adata.n_obs == 0 and mdata.n_obs:
            fix = f'mdata = mudata.MuData({{k: a for k, a in mdata.mod.items() if k != "{mod}"}}, obs=mdata.obs)'
            yield Violation(mod, "obs", "it has no cells", fix)
        if adata.n_vars == 0:
            yield Violation(mod, "var", "it has no features", "check the filter, or leave the modality out")
        for axis, names in (("obs_names", adata.obs_names), ("var_names", adata.var_names)):
            twice = names[names.duplicated()].unique()
            if len(twice):
                fix = f'mdata.mod["{mod}"].{axis}_make_unique(), then build the MuData anew from mdata.mod'
                yield Violation(mod, axis, f"{len(twice)} names stand more than once: {_some(twice)}", fix)
            if axis == "obs_names":
                repeated.update(twice)
        for name in adata.var_names.unique():
            if seen.setdefault(name, mod) != mod:
                mods, names_ = owner.setdefault(mod, ([], []))
                names_.append(name)
                if seen[name] not in mods:
                    mods.append(seen[name])
    for mod, (mods, names_) in owner.items():
        found = f"{len(names_)} are names in {_some(mods)} too: {_some(names_)}"
        yield Violation(mod, "var_names", found, _UNIQUE_PREFIX.format(mod=mod))
    twice = mdata.obs_names[mdata.obs_names.duplicated()].unique().difference(list(repeated))
    if len(twice):
        found = f"{len(twice)} names stand more than once: {_some(twice)}"
        yield Violation(None, "obs_names", found, "build the MuData anew from mdata.mod, with unique names")
    yield from _membership(mdata)


def _membership(mdata: MuData) -> Iterator[Violation]:
    nowhere = np.ones(mdata.n_obs, dtype=bool)
    for mod, adata in mdata.mod.items():
        nowhere &= ~mdata.obs_names.isin(adata.obs_names)
        strange = int((~adata.obs_names.isin(mdata.obs_names)).sum())
        if strange:
            yield Violation(mod, "obs_names", f"{strange} of its cells are not in mdata.obs", "mdata.update()")
    if nowhere.any():
        found = f"{int(nowhere.sum())} cells are measured in no modality: {_some(mdata.obs_names[nowhere])}"
        yield Violation(None, "obs_names", found, "mdata.update(), or build the MuData anew from mdata.mod")


def _slashes(mdata: MuData) -> Iterator[Violation]:
    for mod, found in io.slash_keys(mdata).items():
        fix = "rename with '.' or '_': HDF5 nests at a '/' and zarr refuses it"
        yield Violation(mod, "keys", f"'/' in {', '.join(found[:5])}", fix)


def _keys(mdata: MuData, keys: Mapping[str, str]) -> Iterator[Violation]:
    for role, name in keys.items():
        if name not in mdata.obs.columns:
            holders = [mod for mod, adata in mdata.mod.items() if name in adata.obs.columns]
            fix = _choices(name, mdata.obs.columns)
            if holders:
                line = f'mdata.obs["{name}"] = mdata.mod["{holders[0]}"].obs["{name}"]'
                fix = f"{line} (it stands in {_some(holders)} only)"
            yield Violation(None, f"{role}_key", f"obs has no column '{name}'", fix)
            continue
        values = mdata.obs[name]
        if isinstance(values, pd.DataFrame):
            yield Violation(None, f"{role}_key", f"obs has several columns '{name}'", "rename all but one of them")
            continue
        missing = int(values.isna().sum())
        if role == "batch" and missing:
            fix = (
                f'mdata.obs["{name}"] = mdata.obs["{name}"].astype(object).fillna("unknown"), or leave those cells out'
            )
            yield Violation(None, "batch_key", f"{missing} cells have no '{name}' (NaN)", fix)


def _control(mdata: MuData, keys: Mapping[str, str], control: str | None) -> Iterator[Violation]:
    name = keys.get("dose")
    if name is not None and name in mdata.obs.columns:
        values = mdata.obs[name]
        bad = values[pd.to_numeric(values.astype(object), errors="coerce").isna() & values.notna()]
        if len(bad):
            yield Violation(None, "dose_key", f"'{name}' holds {_some(bad.unique())}", "give numbers, NaN for none")
        else:
            yield from _doses(mdata, keys, control or control_of(mdata))
    if control is None:
        return
    name = keys.get("perturbation")
    if name is None:
        yield Violation(None, "control", "there is no perturbation key", 'ofm.setup(mdata, perturbation_key="...")')
    elif name in mdata.obs.columns and not (mdata.obs[name].dropna().astype(str) == control).any():
        found = f"no cell has {name} = '{control}'"
        yield Violation(None, "control", found, _choices(control, mdata.obs[name].dropna().unique()))


def _doses_given(mdata: MuData, keys: Mapping[str, str], control: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Give the dose of every cell, NaN for none, and which cells were perturbed."""
    dose = pd.to_numeric(mdata.obs[keys["dose"]].astype(object), errors="coerce").to_numpy(dtype=float)
    name = keys.get("perturbation")
    perturbed = np.ones(len(dose), dtype=bool)
    if name in mdata.obs.columns and control is not None:
        perturbed = (mdata.obs[name].astype(object).notna() & (mdata.obs[name].astype(str) != control)).to_numpy()
    return dose, perturbed


def _doses(mdata: MuData, keys: Mapping[str, str], control: str | None) -> Iterator[Violation]:
    dose, perturbed = _doses_given(mdata, keys, control)
    n = int((perturbed & ~np.isnan(dose) & ~((dose > 0) & np.isfinite(dose))).sum())
    if n:
        fix = "a dose is a number above 0, the same unit for all; cells that got nothing are controls"
        yield Violation(None, "dose_key", f"{n} perturbed cells have a dose that is 0, negative or infinite", fix)


def _recipes(mdata: MuData, declared: Mapping[str, str]) -> Iterator[Violation]:
    for mod, recipe in declared.items():
        if mod not in mdata.mod:
            yield Violation(None, "modalities", f"there is no modality '{mod}'", _choices(mod, mdata.mod))
        elif recipe not in RECIPES:
            yield Violation(mod, "modalities", f"unknown recipe {recipe!r}", _choices(str(recipe), RECIPES))
    for mod in mdata.mod:
        if mod not in declared and recipe_for_name(mod) is None:
            found = "its name does not say what it holds"
            fix = f'ofm.setup(mdata, modalities={{"{mod}": "continuous"}}), or another of {", ".join(RECIPES)}'
            yield Violation(mod, "modalities", found, fix)


def _organism(mdata: MuData, recipes: Mapping[str, str | None], organism: str | None) -> Iterator[Violation]:
    for mod, adata in mdata.mod.items():
        sources = {name: adata.var[name] for name in ("gene_id", "gene_ids") if name in adata.var.columns}
        if recipes[mod] == "rna":
            sources["var_names"] = adata.var_names.to_series()
        elif recipes[mod] != "protein":
            continue
        for name, values in sources.items():
            problem = organism_problem(pd.Index(values), organism)
            if problem is not None:
                fix = "keep the genes of one species and say which: ofm.setup(mdata, organism='human')"
                yield Violation(mod, name, problem, fix)
                break


def _measured(mdata: MuData, key: str | None) -> Iterator[Violation]:
    for mod, adata in mdata.mod.items():
        table = adata.varm.get("measured")
        if table is None:
            continue
        if not isinstance(table, pd.DataFrame) or any(dtype.kind != "b" for dtype in table.dtypes):
            fix = "give a DataFrame, features x batches, True where the feature was measured"
            yield Violation(mod, "varm['measured']", "needed a table of bool", fix)
        elif key is None:
            fix = 'ofm.setup(mdata, batch_key="...")'
            yield Violation(mod, "varm['measured']", "it goes by batch, and there is no batch key", fix)
        elif key in mdata.obs.columns:
            levels = mdata.obs.loc[mdata.obs_names.isin(adata.obs_names), key].dropna().astype(str).unique()
            missing = sorted(set(levels) - set(table.columns.astype(str)))
            if missing:
                fix = "add a bool column for each: which features were measured there"
                yield Violation(mod, "varm['measured']", f"no column for {key} {_some(missing)}", fix)


def _schema(mdata: MuData) -> Iterator[Violation]:
    found = mdata.uns.get(SLOT)
    if found is None:
        return
    if not isinstance(found, Mapping):
        yield Violation(None, f"uns['{SLOT}']", f"needed a dictionary, found {type(found).__name__}", "delete it")
        return
    version = found.get("schema_version", SCHEMA_VERSION)
    if not isinstance(version, int | np.integer) or version > SCHEMA_VERSION:
        text = f"schema version {version}, this omicsfm knows {SCHEMA_VERSION}"
        yield Violation(None, f"uns['{SLOT}']", text, "update omicsfm, or delete the entry and set up again")


def _notes(mdata: MuData, keys: Mapping[str, str], control: str | None) -> Iterator[str]:
    if len(mdata.mod) == 1:
        yield f"one modality only ('{next(iter(mdata.mod))}'): nothing can be imputed from another"
    for one, other in combinations(mdata.mod, 2):
        if not mdata.mod[one].obs_names.isin(mdata.mod[other].obs_names).any():
            yield f"no cell has both '{one}' and '{other}': they meet only through other modalities, if at all"
    if keys.get("dose") in mdata.obs.columns:
        dose, perturbed = _doses_given(mdata, keys, control)
        n = int((perturbed & np.isnan(dose)).sum())
        if n:
            yield f"{n} perturbed cells have no {keys['dose']}: what they got is entered as 1, whatever the unit"


def inspect(
    mdata: MuData,
    *,
    keys: Mapping[str, str],
    declared: Mapping[str, str],
    organism: str | None,
    control: str | None = None,
) -> CheckReport:
    """Run every check with the keys, recipes and organism given."""
    first = not_a_mudata(mdata)
    if first is not None:
        return CheckReport((first,))
    recipes = {mod: declared.get(mod, recipe_for_name(mod)) for mod in mdata.mod}
    violations = [*_schema(mdata), *_names(mdata), *_slashes(mdata), *_keys(mdata, keys)]
    violations += [*_control(mdata, keys, control), *_recipes(mdata, declared)]
    notes = list(_notes(mdata, keys, control or control_of(mdata)))
    for mod, adata in mdata.mod.items():
        bad, said = check_values(mod, adata, recipes[mod])
        violations += bad
        notes += said
    violations += _organism(mdata, recipes, None if organism is None else canonical_organism(organism))
    violations += _measured(mdata, measured_by(mdata) if "measured_by" in state(mdata) else keys.get("batch"))
    return CheckReport(tuple(violations), tuple(notes))


def check(mdata: MuData, *, modalities: Mapping[str, str] | None = None) -> CheckReport:
    """Check a MuData against the contract; it is not changed, and never raises.

    Parameters
    ----------
    mdata
        Any MuData, also one that `setup` never saw; what `setup` recorded (keys, recipes, organism) is used. In X only
        stored values are looked at, once, backed matrices by row blocks.
    modalities
        Recipes that take precedence over those recorded, as a fitted model knows them.

    Returns
    -------
    Report with all violations, none twice, and notes on what is allowed and worth knowing.
    """
    if not isinstance(mdata, MuData):
        return inspect(mdata, keys={}, declared={}, organism=None)
    declared = {mod: recipe for mod, recipe in recorded(mdata, "modalities").items() if mod in mdata.mod}
    declared.update(modalities or {})
    return inspect(mdata, keys=recorded(mdata, "keys"), declared=declared, organism=organism_of(mdata))
