"""Recipes, provenance and the fingerprint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import omicsfm as ofm
from omicsfm import _compat, contract


@pytest.mark.parametrize(
    ("name", "recipe"),
    [("rna", "rna"), ("GEX", "rna"), ("mRNA", "rna"), ("Peaks", "atac"), ("ADT", "protein"), ("prot", "protein"),
     ("cite", "protein"), ("gRNA", "guide"), ("Methylation", "methylation"), ("drugs", "continuous"), ("hto", None)],
)  # fmt: skip
def test_recognised_names(name, recipe):
    assert contract.recipe_for_name(name) == recipe


def test_a_declaration_beats_the_name(good):
    ofm.setup(good, modalities={"protein": "continuous"})
    assert contract.recipe_of(good, "protein") == "continuous"
    with pytest.raises(ofm.InputError, match="no modality 'x'"):
        contract.recipe_of(good, "x")


def test_history_grows_and_takes_any_parameter(good):
    contract.record(good, "filter", n=np.int64(3), at=Path("a"), genes={"b", "a"}, x=np.array([1.5]))
    contract.record(good, "fit", step="em")
    first, second = contract.history(good)
    assert first["params"] == {"n": 3, "at": "a", "genes": ["a", "b"], "x": [1.5]}
    assert second["step"] == "fit"
    assert second["params"] == {"step": "em"}
    assert first["version"] == ofm.__version__
    good.uns["omicsfm"]["embeddings"] = {"X_mosaic": {"model": "m"}}
    contract.record(good, "third")
    assert good.uns["omicsfm"]["embeddings"] == {"X_mosaic": {"model": "m"}}  # what others keep there stays


@settings(max_examples=40)
@given(data=st.data())
def test_the_fingerprint_is_of_values_not_of_storage(data, draw_mosaic):
    mdata = data.draw(draw_mosaic(min_mods=2)).build().mdata
    before = contract.fingerprint(mdata)
    assert len(before) == 64
    mods = {}
    for name, adata in reversed(list(mdata.mod.items())):
        other = adata.copy()
        X = adata.X.toarray() if sp.issparse(adata.X) else adata.X
        other.X = sp.csc_matrix(X.astype(np.float64)) if not sp.issparse(adata.X) else X
        mods[name] = other
    again = _compat.make_mudata(mods, mdata.obs)
    assert contract.fingerprint(again) == before
    name = data.draw(st.sampled_from(list(mods)))
    again.mod[name].X = np.asarray(again.mod[name].X.todense() if sp.issparse(again.mod[name].X) else again.mod[name].X)
    again.mod[name].X[0, 0] = 77
    assert contract.fingerprint(again) != before


def test_the_fingerprint_sees_names_and_order(good):
    prints = {contract.fingerprint(good)}
    for change in ("cells", "features", "modality", "order"):
        mods = {name: adata.copy() for name, adata in good.mod.items()}
        if change == "cells":
            mods["rna"].obs_names = ["c0", "c1", "c2", "c4"]
        elif change == "features":
            mods["rna"].var_names = ["A", "B", "C"]
        elif change == "modality":
            mods["prot"] = mods.pop("protein")
        else:
            mods["rna"] = mods["rna"][::-1].copy()
        prints.add(contract.fingerprint(_compat.make_mudata(mods)))
    assert len(prints) == 5


def test_explicit_zeros_make_no_difference(good):
    X = good.mod["rna"].X.copy()
    X.data[:2] = 0
    good.mod["rna"].X = X
    before = contract.fingerprint(good)
    assert (X.data == 0).sum() == 2
    smaller = X.copy()
    smaller.eliminate_zeros()
    good.mod["rna"].X = smaller
    assert contract.fingerprint(good) == before
    assert (X.data == 0).sum() == 2  # and the fingerprint changes nothing
