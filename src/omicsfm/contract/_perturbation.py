"""What was done to each cell: its perturbation, context, replicate and dose, from the columns that `setup` was told."""

from __future__ import annotations

from collections.abc import Mapping

import anndata as ad
import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from omicsfm import _compat
from omicsfm._errors import InputError
from omicsfm.contract._recipes import recipe_for_name
from omicsfm.contract._rows import column
from omicsfm.contract._state import control_of, keys, recorded

CONTROL = "control"  # the name of an unperturbed cell in every table of ours, whatever the data call it
GUIDE = "guide"
MADE = "made_from_obs"
EVERYWHERE = "all"  # the one context, or replicate, of data that name none


def members(name: str, control: str | None = None) -> tuple[str, ...]:
    """Give what a perturbation consists of: ``"B+A"`` -> ``("A", "B")``, a control -> ``()``.

    A control among the members says nothing ("A+ctrl" is A alone). A '+' within brackets or without a name on both of
    its sides belongs to the name (drugs: "(+)-JQ1", "NAD+").

    Parameters
    ----------
    name
        As in obs or in a design.
    control
        What the data call a control, besides "control".
    """
    return tuple(sorted({part for part in _parts(name) if part not in {CONTROL, control}}))


def _parts(name: str) -> list[str]:
    pieces, depth = [""], 0
    for letter in name:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "+" and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += letter
    parts: list[str] = []
    prefix = ""
    for piece in map(str.strip, pieces):
        if piece:
            parts.append(prefix + piece)
            prefix = ""
        elif parts:  # nothing on this side of the '+': it ends the name before it
            parts[-1] += "+"
        else:
            prefix += "+"
    return parts or [name.strip()]


def canonical(name: str, control: str | None = None) -> str:
    """Give a perturbation its one name: members sorted and joined by '+', ``"control"`` where there are none.

    Raises
    ------
    InputError
        If the name is empty: nothing assigned is NaN, not a control.
    """
    if not name.strip():
        raise InputError(
            "canonical: a perturbation needs a name, found an empty text. Fix: NaN where none was assigned."
        )
    return "+".join(members(name, control)) or CONTROL


def perturbations(mdata: MuData) -> pd.DataFrame:
    """Tell what was done to every cell.

    Returns
    -------
    DataFrame (n_obs), index ``mdata.obs_names``: `perturbation` (canonical text, ``"control"``, or NaN where nothing
    was assigned), `context` and `replicate` (text; ``"all"`` where `setup` was given no key, NaN where missing), `dose`
    (float; NaN where there is none), `is_control` (bool).

    Raises
    ------
    InputError
        If `setup` was given no perturbation key.
    """
    known = keys(mdata)
    if known.perturbation is None:
        raise InputError(
            "perturbations: no perturbation key was set. "
            'Fix: ofm.setup(mdata, perturbation_key="...", control="..."), or ofm.pp.assign_guides(mdata) first.'
        )
    found = named(column(mdata, known.perturbation, "perturbations"))
    control = control_of(mdata)
    names = {str(value): canonical(str(value), control) for value in found.dropna().unique()}
    out = pd.DataFrame({"perturbation": found.map(names).astype(object)}, index=mdata.obs_names)
    for role in ("context", "replicate"):
        key = getattr(known, role)
        out[role] = EVERYWHERE if key is None else column(mdata, key, "perturbations")
    out["dose"] = np.nan if known.dose is None else pd.to_numeric(mdata.obs[known.dose], errors="coerce").to_numpy()
    out["is_control"] = (out["perturbation"] == CONTROL).to_numpy(dtype=bool)
    return out


def named(labels: pd.Series) -> pd.Series:
    """Give labels with NaN where a text is empty: nothing was assigned there."""
    return labels.where(labels.notna() & (labels.astype(str).str.strip() != ""))


def guide_modality(mdata: MuData, declared: Mapping[str, str] | None = None) -> str | None:
    """Name of the modality that says what was done: its recipe is "guide", or its name (doses are no counts)."""
    known = recorded(mdata, "modalities") if declared is None else declared
    found = [mod for mod in mdata.mod if (known.get(mod) or recipe_for_name(mod)) == GUIDE or mod == GUIDE]
    return found[0] if found else None


def build_guides(labels: pd.Series, doses: pd.Series | None, control: str) -> ad.AnnData:
    """Make the guide modality of labels in obs: one feature per target, one entry per member of a cell's perturbation.

    Parameters
    ----------
    labels
        (n_obs,) text, NaN where nothing was assigned: such a cell is not in the modality.
    doses
        (n_obs,) amounts, which become the entries, or None (entries are 1).
    control
        The label of control cells.
    """
    labels = named(labels).dropna().astype(str)
    parts = {name: members(name, control) or (CONTROL,) for name in labels.unique()}
    targets = sorted({part for found in parts.values() for part in found})
    position = {name: i for i, name in enumerate(targets)}
    found = [[position[part] for part in parts[name]] for name in labels]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in found])])
    amount = np.ones(len(labels))
    if doses is not None:
        given = pd.to_numeric(doses.reindex(labels.index), errors="coerce").to_numpy(dtype=float)
        amount = np.where(np.isnan(given) | (labels.map(parts) == (CONTROL,)).to_numpy(), 1.0, given)
    x = sparse.csr_matrix(
        (np.repeat(amount, np.diff(indptr)).astype(np.float32), np.concatenate(found).astype(np.int32), indptr),
        shape=(len(labels), len(targets)),
    )
    var = pd.DataFrame(
        {"target": targets, "is_control": [name == CONTROL for name in targets]},
        index=[f"guide:{name}" for name in targets],
    )
    with _compat.quiet():
        return ad.AnnData(x, obs=pd.DataFrame(index=labels.index), var=var, uns={MADE: True})


def made_here(mdata: MuData, mod: str) -> bool:
    """Tell whether a guide modality is our own reading of obs, which may be read anew."""
    return bool(mdata.mod[mod].uns.get(MADE, False))
