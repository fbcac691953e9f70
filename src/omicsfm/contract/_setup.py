"""Declare what a MuData holds, once."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from mudata import MuData

from omicsfm import _compat
from omicsfm._errors import InputError
from omicsfm.contract._check import inspect, not_a_mudata
from omicsfm.contract._organism import canonical_organism
from omicsfm.contract._perturbation import GUIDE, build_guides, guide_modality, made_here
from omicsfm.contract._recipes import recipe_for_name
from omicsfm.contract._rows import column, modality_mask
from omicsfm.contract._state import control_of, organism_of, record, recorded, state, steps_of, write_state
from omicsfm.contract._types import CheckReport

# Column that the package reads -> names that other tools give it.
_ALIASES = {
    "chrom": ("chr", "Chromosome", "chromosome", "seqnames"),
    "start": ("Start", "chromStart"),
    "end": ("End", "chromEnd"),
    "strand": ("Strand",),
    "gene_id": ("gene_ids",),
}


def _store_aliases(var: pd.DataFrame) -> pd.DataFrame:
    """Add the columns the package reads under their own names; those they came from stay."""
    new = {}
    for name, others in _ALIASES.items():
        if name not in var.columns:
            source = next((other for other in others if other in var.columns), None)
            if source is not None:
                new[name] = var[source]
    return var.assign(**new) if new else var


def setup(
    mdata: MuData,
    *,
    batch_key: str | None = None,
    label_key: str | None = None,
    donor_key: str | None = None,
    sample_key: str | None = None,
    perturbation_key: str | None = None,
    control: str | None = None,
    context_key: str | None = None,
    replicate_key: str | None = None,
    dose_key: str | None = None,
    modalities: Mapping[str, str] | None = None,
    organism: str | None = None,
) -> None:
    """Validate a MuData and write down what it holds; X is never changed.

    Writes ``obsm["modality_mask"]`` (bool, cells x modalities) and ``uns["omicsfm"]`` (schema version, keys, recipes,
    organism, history), and names genome columns of `var` as the package reads them (``chr`` -> ``chrom``, the old
    column stays). Names of indices are dropped, and with mudata 0.3 the default of 0.4 for ``pull_on_update`` is taken
    unless you chose one: else it cannot copy a MuData with a table in obsm. Called again, what is given replaces what
    was there and the rest is kept.

    With a perturbation key and the name of the control, and where no guide modality of yours is there, ``mod["guide"]``
    is made: one feature per target, one entry per member of a cell's perturbation ("A+B" has two), 1 or the dose.

    Parameters
    ----------
    mdata
        MuData with axis 0, cells = union over modalities, raw values in X.
    batch_key, label_key, donor_key, sample_key, perturbation_key
        Columns of ``mdata.obs``. NaN is an unlabelled cell in the label; the batch must be there for every cell. The
        perturbation is a name, or names joined by '+'; NaN is a cell to which nothing was assigned.
    control
        What the perturbation column calls an unperturbed cell.
    context_key, replicate_key, dose_key
        Columns of ``mdata.obs``: in what a perturbation acts (cell type, line, patient), which of its cells are
        independent repeats (donor, library), and how much was given (a number).
    modalities
        Recipe of each modality whose name does not say it: ``{"adt": "protein", "peaks": "atac"}``. Recipes:
        rna, atac, protein, guide (counts), methylation (fractions or NaN), continuous (any; NaN = not measured).
    organism
        Such as ``"human"`` or ``"mouse"``; gene ids and symbols of another organism are an error then.

    Raises
    ------
    InputError
        One error that lists every violation with what to do about it; then nothing was changed.
    """
    first = not_a_mudata(mdata)
    if first is not None:
        CheckReport((first,)).raise_for_errors("setup")
    given = {
        "batch": batch_key,
        "label": label_key,
        "donor": donor_key,
        "sample": sample_key,
        "perturbation": perturbation_key,
        "context": context_key,
        "replicate": replicate_key,
        "dose": dose_key,
    }
    keys = recorded(mdata, "keys") | {role: name for role, name in given.items() if name is not None}
    kept = {mod: recipe for mod, recipe in recorded(mdata, "modalities").items() if mod in mdata.mod}
    declared = kept | {str(mod): str(recipe) for mod, recipe in (modalities or {}).items()}
    organism = organism_of(mdata) if organism is None else canonical_organism(organism)
    asked = None if control is None else str(control)
    inspect(mdata, keys=keys, declared=declared, organism=organism, control=asked).raise_for_errors("setup")
    before = [recorded(mdata, "keys").get(role) for role in ("perturbation", "dose")], control_of(mdata)
    control = control_of(mdata) if asked is None else asked

    if mdata.is_view and mdata.isbacked:
        raise InputError(
            "setup: a view of a backed MuData cannot be written to. "
            "Fix: mdata[cells].copy('subset.h5mu'), or set up the whole before taking the view."
        )
    guides = None
    there = guide_modality(mdata, declared)
    changed = before != ([keys.get("perturbation"), keys.get("dose")], control)
    ours = there is None or (changed and made_here(mdata, there))
    if control is not None and "perturbation" in keys and ours:
        doses = mdata.obs[keys["dose"]] if "dose" in keys else None
        guides = build_guides(column(mdata, keys["perturbation"], "setup"), doses, control)
    recipes = {mod: declared.get(mod) or str(recipe_for_name(mod)) for mod in mdata.mod}
    with _compat.silent():  # not quiet(): making a view real is mudata's own copy, which needs the user's own options
        if mdata.is_view:
            mdata.uns = dict(mdata.uns)  # makes the view a MuData of its own: its parent stays as it was
        for adata in mdata.mod.values():
            var = _store_aliases(adata.var)
            if var is not adata.var:
                adata.var = var
    if guides is not None:
        _compat.add_modality(mdata, GUIDE, guides)
        whole = bool((guides.X.data % 1 == 0).all())  # doses need not be
        recipes[GUIDE] = "guide" if whole else "continuous"
    _compat.store_mask(mdata, modality_mask(mdata))
    write_state(
        mdata,
        keys=keys,
        modalities=recipes,
        organism=organism,
        steps=steps_of(mdata),
        measured_by=state(mdata).get("measured_by"),
        control=control,
    )
    record(mdata, "setup", keys=keys, modalities=recipes, organism=organism, control=control)
