"""Who was measured where, whatever was done to the MuData before."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import omicsfm as ofm
from omicsfm import _compat, contract


@settings(max_examples=80)
@given(data=st.data())
def test_the_mask_is_membership_after_any_subset_and_order(data, draw_mosaic):
    mosaic = data.draw(draw_mosaic()).build()
    mdata = mosaic.mdata
    ofm.setup(mdata, batch_key="batch")
    order = data.draw(st.lists(st.sampled_from(list(mdata.obs_names)), min_size=1, unique=True))
    way = data.draw(st.sampled_from(["view", "copy", "subset", "view of view"]))
    if way == "view":
        out = mdata[order]
    elif way == "copy":
        with _compat.silent():
            out = mdata[order].copy()
    elif way == "view of view":
        out = mdata[order[::-1]][order]
    else:
        out = contract.subset(mdata, order)
        assert all(adata.n_obs for adata in out.mod.values())
        pd.testing.assert_frame_equal(out.obsm["modality_mask"], contract.modality_mask(out))
        assert contract.check(out).ok
    if way != "copy":  # mudata 0.3 may put a copy into its own order
        assert list(out.obs_names) == order
    mask = contract.modality_mask(out)
    truth = mosaic.truth.loc[list(out.obs_names), list(out.mod)]
    pd.testing.assert_frame_equal(mask, truth, check_names=False)
    for mod, adata in out.mod.items():
        where = contract.rows(out, mod)
        assert where.dtype == np.int64
        assert list(out.obs_names[where]) == list(adata.obs_names)
    assert list(contract.batches(out)) == list(mdata.obs["batch"].loc[list(out.obs_names)])


@settings(max_examples=40)
@given(data=st.data())
def test_filtering_a_modality_is_seen_with_and_without_update(data, draw_mosaic):
    mdata = data.draw(draw_mosaic(min_mods=2)).build().mdata
    ofm.setup(mdata)
    mod = data.draw(st.sampled_from(list(mdata.mod)))
    adata = mdata.mod[mod]
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=adata.n_obs, max_size=adata.n_obs)), dtype=bool)
    with _compat.silent():
        mdata.mod[mod] = adata[keep].copy()
    kept = set(adata.obs_names[keep])
    assert list(contract.modality_mask(mdata)[mod]) == [cell in kept for cell in mdata.obs_names]
    with _compat.silent():
        mdata.update()
    assert list(contract.modality_mask(mdata)[mod]) == [cell in kept for cell in mdata.obs_names]
    assert contract.modality_mask(mdata).any(axis=1).all()


@settings(max_examples=40)
@given(data=st.data())
def test_zeros_never_mean_missing(data, draw_mosaic):
    mosaic = data.draw(draw_mosaic()).build()
    for adata in mosaic.mdata.mod.values():
        adata.X = np.zeros(adata.shape, dtype=np.float32)
    ofm.setup(mosaic.mdata)
    mask = mosaic.mdata.obsm["modality_mask"]
    pd.testing.assert_frame_equal(mask, mosaic.truth.loc[mask.index], check_names=False)
    notes = " ".join(contract.check(mosaic.mdata).notes)
    for mod, adata in mosaic.mdata.mod.items():
        assert f"{mod}: {adata.n_obs} measured cells hold nothing but zeros" in notes


def test_subset_takes_masks_positions_and_slices_and_keeps_uns_and_obsm(good):
    ofm.setup(good, batch_key="batch")
    good.obsm["X_z"] = np.arange(12.0).reshape(6, 2)
    good.varm["w"] = np.arange(5.0)[:, None]
    good.uns["note"] = {"a": [1, 2]}
    for cells in (good.obs["batch"] == "y", [3, 4, 5], slice(3, 6), ["c3", "c4", "c5"]):
        out = contract.subset(good, cells)
        assert list(out.obs_names) == ["c3", "c4", "c5"]
        np.testing.assert_array_equal(out.obsm["X_z"], [[6, 7], [8, 9], [10, 11]])
        assert out.uns["note"]["a"] == [1, 2]
        assert contract.keys(out).batch == "batch"
    alone = contract.subset(good, ["c0", "c1"])
    assert list(alone.mod) == ["rna"]
    assert "protein" not in alone.obsm
    np.testing.assert_array_equal(alone.varm["w"], [[0], [1], [2]])
    alone.uns["note"]["a"].append(3)
    alone.mod["rna"].X[0] *= 2
    assert good.uns["note"]["a"] == [1, 2]  # a copy


def test_without_keys(good):
    assert contract.keys(good) == contract.Keys()
    assert set(contract.batches(good)) == {"all"}
    with pytest.raises(ofm.InputError, match="label_key"):
        contract.labels(good)
    with pytest.raises(ofm.InputError, match="no modality 'atac'"):
        contract.rows(good, "atac")


def test_labels_and_batches_are_text(good):
    good.obs["cluster"] = pd.Series([1, 2, np.nan, 1, 2, 1], index=good.obs_names).astype("Int64")
    good.obs["lane"] = pd.Categorical([2, 1, 2, 1, 2, 1], categories=[1, 2, 3])
    ofm.setup(good, label_key="cluster", batch_key="lane")
    labels = contract.labels(good)
    assert labels.dtype == object
    assert labels.isna().tolist() == [False, False, True, False, False, False]
    assert labels.iloc[0] == "1"
    assert list(contract.batches(good).cat.categories) == ["1", "2"]
    assert contract.batches(good).iloc[0] == "2"
    assert contract.batches(good).index.equals(good.obs_names)


def test_measured(good):
    ofm.setup(good, batch_key="batch")
    assert contract.measured(good, "rna") is None
    rna = good.mod["rna"]
    rna.varm["measured"] = pd.DataFrame({"y": [True, True, True], "x": [True, False, True]}, index=rna.var_names)
    np.testing.assert_array_equal(contract.measured(good, "rna"), [[1, 0, 1]] * 3 + [[1, 1, 1]])
    view = good[["c3", "c0"]]
    rows = {
        name: list(row) for name, row in zip(view.mod["rna"].obs_names, contract.measured(view, "rna"), strict=True)
    }
    assert rows == {"c0": [True, False, True], "c3": [True, True, True]}
    good.obs["batch"] = ["x", "x", "x", "z", "z", "z"]
    with pytest.raises(ofm.InputError, match="no column for batch = z"):
        contract.measured(good, "rna")


def test_what_is_hidden_is_out_of_reach_and_the_rest_stays(good):
    mdata = good
    first = mdata.mod["rna"].obs_names[:3]
    cells = mdata.obs_names.isin(first)
    hidden = contract.hide(mdata, "rna", np.asarray(cells))
    assert not set(first) & set(hidden.mod["rna"].obs_names)
    for mod, adata in mdata.mod.items():
        if mod != "rna":
            assert list(hidden.mod[mod].obs_names) == list(adata.obs_names)
    assert set(mdata.mod["rna"].obs_names) >= set(first)  # the data themselves are untouched
    with pytest.raises(ofm.InputError, match="no modality 'dna'"):
        contract.hide(mdata, "dna", np.asarray(cells))
    with pytest.raises(ofm.InputError, match="a bool for each"):
        contract.hide(mdata, "rna", np.flatnonzero(cells))
    alone = contract.select(mdata, {"rna": np.ones(mdata.n_obs, dtype=bool)})
    with pytest.raises(ofm.InputError, match="no cell is left"):
        contract.hide(alone, "rna", np.ones(alone.n_obs, dtype=bool))
