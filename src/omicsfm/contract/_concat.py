"""Put several MuData one below the other: the union of cells and features, nothing forgotten."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData

from omicsfm import _compat, io
from omicsfm._errors import InputError, OmicsfmWarning
from omicsfm.contract._check import not_a_mudata
from omicsfm.contract._merge import join_features, join_obs, join_pairs, join_uns
from omicsfm.contract._recipes import COUNTS, recipe_for_name
from omicsfm.contract._rows import modality_mask
from omicsfm.contract._state import SLOT, control_of, history, measured_by, organism_of, record, recorded, write_state

_PANEL = "panel"


def _refuse(found: str, fix: str) -> NoReturn:
    raise InputError(f"concat: {found}. Fix: {fix}")


def _validate(mdatas: Mapping[str, MuData], batch_key: str) -> None:
    if not isinstance(mdatas, Mapping) or not mdatas:
        _refuse("needed a dictionary of MuData", 'ofm.concat({"batch1": mdata1, "batch2": mdata2})')
    owner: dict[str, str] = {}
    for name, mdata in mdatas.items():
        problem = not_a_mudata(mdata)
        if problem is not None:
            _refuse(f"'{name}': {problem.found}", problem.fix)
        for axis, holder in [("obs", mdata), *(("var", adata) for adata in mdata.mod.values())]:
            names = getattr(holder, f"{axis}_names")
            if not names.is_unique:
                _refuse(f"'{name}' has {axis} names more than once", f"ofm.check(mdatas['{name}']) lists them")
        if batch_key in mdata.obs.columns:
            _refuse(f"'{name}' has a column '{batch_key}' in obs already", 'choose another: batch_key="dataset"')
    for name, mdata in mdatas.items():
        clash = [cell for cell in mdata.obs_names if owner.setdefault(cell, name) != name]
        if clash:
            _refuse(
                f"{len(clash)} obs names of '{name}' are in '{owner[clash[0]]}' too, such as '{clash[0]}'",
                f"mdatas['{name}'].obs_names = '{name}_' + mdatas['{name}'].obs_names",
            )


def _agreed(mdatas: Mapping[str, MuData], what: str, values: Sequence[str | None]) -> str | None:
    """Give the one value that is set, None if there is none; refuse different ones."""
    found = sorted({value for value in values if value is not None})
    if len(found) > 1:
        _refuse(f"the data sets differ in {what}: {', '.join(found)}", "make them agree with ofm.setup on each")
    return found[0] if found else None


def _stack(blocks: Sequence[Any], places: Sequence[np.ndarray], n_vars: int, *, fill: float) -> Any:
    """Stack matrices whose columns go to `places` of the result; what a block lacks holds `fill`."""
    if np.isnan(fill) or not any(sp.issparse(block) for block in blocks):
        complete = all(len(place) == n_vars for place in places)
        dtype = np.result_type(*(block.dtype for block in blocks))
        if np.isnan(fill) and not complete:
            dtype = np.result_type(dtype, np.float32)
        if not (np.isnan(fill) and complete and all(sp.issparse(block) for block in blocks)):
            out = np.full((sum(block.shape[0] for block in blocks), n_vars), fill if dtype.kind == "f" else 0, dtype)
            start = 0
            for block, place in zip(blocks, places, strict=True):
                dense = block.toarray() if sp.issparse(block) else block
                out[start : start + block.shape[0], place] = dense
                start += block.shape[0]
            return out
    parts = []
    for block, place in zip(blocks, places, strict=True):
        entries = sp.coo_matrix(block)
        shape = (block.shape[0], n_vars)
        parts.append(sp.csr_matrix((entries.data, (entries.row, place[entries.col])), shape=shape))
    return sp.vstack(parts, format="csr")


def _in_memory(X: Any) -> Any:
    """Read a backed matrix; leave one in memory as it is, dtype included."""
    if isinstance(X, np.ndarray) or sp.issparse(X):
        return X
    parts = list(io.raw_blocks(X))
    return sp.vstack(parts, format="csr") if sp.issparse(parts[0]) else np.concatenate(parts)


def _rows_below(values: Sequence[Any]) -> Any:
    """Stack obsm entries of the same kind and width; None where they differ."""
    first = values[0]
    if len({(type(value), value.shape[1:]) for value in values}) > 1:
        return None
    if isinstance(first, pd.DataFrame):
        if any(list(value.columns) != list(first.columns) for value in values):
            return None
        return pd.concat(values)
    return sp.vstack(values, format="csr") if sp.issparse(first) else np.concatenate(values)


def _feature_slots(
    holders: Sequence[Any], union: pd.Index, skip: set[str], lost: list[str], where: str
) -> dict[str, Any]:
    """Join varm and varp of several AnnData or MuData."""
    out: dict[str, dict[str, Any]] = {"varm": {}, "varp": {}}
    for slot, join in (("varm", join_features), ("varp", join_pairs)):
        for key in dict.fromkeys(key for holder in holders for key in getattr(holder, slot) if key not in skip):
            parts = [(h.var_names, getattr(h, slot)[key]) for h in holders if key in getattr(h, slot)]
            joined = join(parts, union)
            if joined is None:
                lost.append(f"{where}.{slot}['{key}']")
            else:
                out[slot][key] = joined
    return out


def _cell_slots(holders: Sequence[Any], skip: set[str], lost: list[str], where: str) -> dict[str, Any]:
    """Join obsm: what all have in the same width."""
    out = {}
    for key in dict.fromkeys(key for holder in holders for key in holder.obsm if key not in skip):
        values = [holder.obsm[key] for holder in holders if key in holder.obsm]
        joined = _rows_below(values) if len(values) == len(holders) else None
        if joined is None:
            lost.append(f"{where}.obsm['{key}']")
        else:
            out[key] = joined
    return out


def _join_var(tables: Sequence[pd.DataFrame], union: pd.Index, lost: list[str], where: str) -> pd.DataFrame:
    out = {}
    for name in dict.fromkeys(column for table in tables for column in table.columns):
        columns = [table[name] for table in tables if name in table.columns]
        if any(isinstance(column.dtype, pd.CategoricalDtype) for column in columns):
            columns = [column.astype(object) for column in columns]
        joined = join_features([(column.index, column) for column in columns], union)
        if joined is None:
            lost.append(f"{where}.var['{name}']")
        else:
            out[name] = joined
    return pd.DataFrame(out, index=union)


def _measured_table(mdatas: Mapping[str, MuData], mod: str, union: pd.Index, nested: bool) -> pd.DataFrame | None:
    """Which feature was measured in which data set; None where the panels do not differ."""
    columns = {}
    for name, mdata in mdatas.items():
        groups = _panels(mdata, name) if nested else pd.Series(name, index=mdata.obs_names)
        table = mdata.mod[mod].varm.get("measured") if mod in mdata.mod else None
        for group in dict.fromkeys(groups):
            if mod not in mdata.mod:
                columns[group] = np.zeros(len(union), dtype=bool)
            elif table is None:
                columns[group] = union.isin(mdata.mod[mod].var_names)
            else:
                known = table[group.removeprefix(f"{name}:")]
                columns[group] = known.reindex(union, fill_value=False).to_numpy(dtype=bool)
    out = pd.DataFrame(columns, index=union)
    holders = [column for column in out if out[column].any()]
    return out if not out[holders].to_numpy().all() else None


def _panels(mdata: MuData, name: str) -> pd.Series:
    """Finest grouping of the cells of one data set within which the same features were measured."""
    key = measured_by(mdata)
    if key is None or not any("measured" in adata.varm for adata in mdata.mod.values()):
        return pd.Series(name, index=mdata.obs_names)
    return name + ":" + mdata.obs[key].astype(str)


def _join_modality(
    mdatas: Mapping[str, MuData], mod: str, *, recipe: str | None, nested: bool, lost: list[str]
) -> AnnData:
    parts = [mdata.mod[mod] for mdata in mdatas.values() if mod in mdata.mod]
    union = pd.Index(list(dict.fromkeys(name for part in parts for name in part.var_names)), dtype=object)
    places = [union.get_indexer(part.var_names) for part in parts]
    fill = 0.0 if recipe in COUNTS else np.nan
    layers = {}
    for key in dict.fromkeys(key for part in parts for key in part.layers if key is not None):
        if all(key in part.layers for part in parts):
            layers[key] = _stack([part.layers[key] for part in parts], places, len(union), fill=fill)
        else:
            lost.append(f"{mod}.layers['{key}']")
    slots = _feature_slots(parts, union, {"measured"}, lost, mod)
    uns, gone = join_uns([part.uns for part in parts])
    lost += [f"{mod}.uns['{key}']" for key in gone]
    adata = AnnData(
        X=_stack([_in_memory(part.X) for part in parts], places, len(union), fill=fill),
        obs=join_obs([part.obs for part in parts]),
        var=_join_var([part.var for part in parts], union, lost, mod),
        obsm=_cell_slots(parts, set(), lost, mod),
        layers=layers,
        uns=uns,
        **slots,
    )
    declared = any("measured" in part.varm for part in parts)
    table = _measured_table(mdatas, mod, union, nested) if recipe in COUNTS or declared else None
    if table is not None:
        adata.varm["measured"] = table.set_axis(adata.var_names, axis=0)
    return adata


def concat(mdatas: Mapping[str, MuData], *, batch_key: str = "batch") -> MuData:
    """Join data sets of different cells into one MuData.

    Parameters
    ----------
    mdatas
        Name of each data set (its batch) to MuData; modalities of the same name are joined.
    batch_key
        New column of obs that holds the name; it becomes the batch key.

    Returns
    -------
    MuData with the union of cells and features, in order of appearance. Where the features of a modality differ between
    data sets, counts are filled with zeros and ``varm["measured"]`` (bool, features x batches) says what was measured;
    other recipes are filled with NaN. Sparse stays sparse. var, varm, varp and uns are kept where the data sets do not
    contradict each other, obsm and layers where all have them; obsp is dropped (no distances between data sets). What
    could not be kept is named in one warning.

    Raises
    ------
    InputError
        If obs names repeat, a column of that name exists, or recipes or organisms differ.

    Warns
    -----
    OmicsfmWarning
        If something could not be kept.
    """
    _validate(mdatas, batch_key)
    sets = list(mdatas.values())
    mods = list(dict.fromkeys(mod for mdata in sets for mod in mdata.mod))
    recipes: dict[str, str] = {}
    for mod in mods:
        said = [recorded(m, "modalities").get(mod) or recipe_for_name(mod) for m in sets if mod in m.mod]
        recipe = _agreed(mdatas, f"the recipe of '{mod}'", said)
        if recipe is None:
            _refuse(
                f"modality '{mod}' has no recipe", f'ofm.setup(mdata, modalities={{"{mod}": "continuous"}}) on each'
            )
        recipes[mod] = str(recipe)
    organism = _agreed(mdatas, "the organism", [organism_of(m) for m in sets])

    lost: list[str] = []
    nested = any("measured" in adata.varm for m in sets for adata in m.mod.values())
    obs = join_obs([m.obs for m in sets])
    obs[batch_key] = pd.Categorical(np.repeat(list(mdatas), [m.n_obs for m in sets]), categories=list(mdatas))
    by = batch_key
    if nested:  # batches within a data set differ too: the panel column tells them apart
        by = f"{batch_key}_{_PANEL}"
        obs[by] = pd.Categorical(np.concatenate([_panels(m, n).to_numpy(dtype=object) for n, m in mdatas.items()]))
    with _compat.quiet():
        joined = {mod: _join_modality(mdatas, mod, recipe=recipes[mod], nested=nested, lost=lost) for mod in mods}
        skip = {*mods, _compat.MASK}
        var = _join_var(
            [m.var for m in sets], pd.Index([v for a in joined.values() for v in a.var_names]), lost, "mdata"
        )
        slots = _feature_slots(sets, var.index, skip, lost, "mdata")
        slots["obsm"] = _cell_slots(sets, skip, lost, "mdata")
        uns, gone = join_uns([{k: v for k, v in m.uns.items() if k != SLOT} for m in sets])
        lost += [f"mdata.uns['{key}']" for key in gone]
        out = _compat.make_mudata(joined, obs, var, slots=slots, uns=uns)

    keys = {"batch": batch_key}
    for role in ("label", "donor", "sample", "perturbation", "context", "replicate", "dose"):
        names = {recorded(m, "keys").get(role) for m in sets} - {None}
        if len(names) == 1:
            keys[role] = str(names.pop())
        elif names:
            lost.append(f"the {role} key ({', '.join(sorted(map(str, names)))})")
    controls = {control_of(m) for m in sets} - {None}
    if len(controls) > 1:
        lost.append(f"the name of the control ({', '.join(sorted(map(str, controls)))})")
    control = controls.pop() if len(controls) == 1 and "perturbation" in keys else None
    write_state(out, keys=keys, modalities=recipes, organism=organism, steps=[], measured_by=by, control=control)
    inputs = {name: {"n_obs": mdata.n_obs, "history": history(mdata)} for name, mdata in mdatas.items()}
    record(out, "concat", batch_key=batch_key, inputs=inputs)
    _compat.store_mask(out, modality_mask(out))
    if lost:
        warnings.warn(
            f"concat: left out, because the data sets differ in it: {', '.join(lost)}.", OmicsfmWarning, stacklevel=2
        )
    return out
