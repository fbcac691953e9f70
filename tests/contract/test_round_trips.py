"""To disk and back, in both formats: nothing changes."""

from __future__ import annotations

import mudata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import omicsfm as ofm
from omicsfm import _compat, contract, io


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_mosaic_round_trips_h5mu(data, draw_mosaic, tmp_path):
    _round_trip(data, draw_mosaic, tmp_path / "x.h5mu")


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])  # zarr is slow on small data
@given(data=st.data())
def test_any_mosaic_round_trips_zarr(data, draw_mosaic, tmp_path):
    _round_trip(data, draw_mosaic, tmp_path / "x.zarr")


def _round_trip(data, draw_mosaic, path):
    mosaic = data.draw(draw_mosaic()).build()
    mdata = mosaic.mdata
    ofm.setup(mdata, batch_key="batch", label_key="celltype")
    if data.draw(st.booleans()):
        order = data.draw(st.permutations(list(mdata.obs_names)))
        mdata = contract.subset(mdata, order)
    print_before = contract.fingerprint(mdata)
    back = io.read(io.write(mdata, path))
    assert contract.fingerprint(back) == print_before == contract.fingerprint(mdata)
    assert list(back.mod) == list(mdata.mod)
    assert list(back.obs_names) == list(mdata.obs_names)
    pd.testing.assert_frame_equal(back.obsm["modality_mask"], contract.modality_mask(mdata))
    for mod, adata in mdata.mod.items():
        assert back.mod[mod].X.dtype == adata.X.dtype
        assert sp.issparse(back.mod[mod].X) == sp.issparse(adata.X)
    assert contract.keys(back) == contract.keys(mdata)
    assert contract.history(back) == contract.history(mdata)
    assert list(back.obs["celltype"].cat.categories) == ["B", "T", "unused"]
    assert contract.labels(back).fillna("-").tolist() == contract.labels(mdata).fillna("-").tolist()
    assert contract.check(back).ok
    ofm.setup(back, label_key="batch")
    assert contract.keys(back).label == "batch"
    if path.suffix == ".h5mu":
        backed = io.read(path, backed=True)
        assert contract.check(backed).ok
        assert contract.fingerprint(backed) == print_before
        pd.testing.assert_frame_equal(backed.obsm["modality_mask"], contract.modality_mask(mdata))
        backed.file.close()


@pytest.mark.parametrize("suffix", [".h5mu", ".zarr"])
def test_every_slot_comes_back(good, suffix, tmp_path):
    rng = np.random.default_rng(0)
    rna = good.mod["rna"]
    rna.varm["seq_x"] = rng.random((3, 2)).astype(np.float16)
    rna.varm["measured"] = pd.DataFrame({"x": [True, False, True], "y": True}, index=rna.var_names)
    rna.varp["contacts:ctrl"] = sp.csr_matrix(np.eye(3))
    rna.layers["counts"] = rna.X.astype(np.int64)
    rna.obs["n"] = [1, 2, 3, 4]
    rna.raw = rna.copy()
    good.varp["peak_to_gene"] = sp.csr_matrix(np.eye(5))
    good.varm["w"] = np.arange(5.0)[:, None]
    good.obsm["X_z"] = rng.random((6, 2)).astype(np.float32)
    good.obsm["table"] = pd.DataFrame({"a": np.arange(6.0)}, index=good.obs_names)
    good.obs["flag"] = pd.array([True, None, False, True, True, False], dtype="boolean")
    good.var["weight"] = np.arange(5.0)
    good.uns["nested"] = {"a": {"b": np.array([1, 2])}, "frame": pd.DataFrame({"x": [1.5]}, index=["s1"]), "t": "text"}
    ofm.setup(good, batch_key="batch", organism="human")
    back = io.read(io.write(good, tmp_path / f"x{suffix}"))
    again = back.mod["rna"]
    assert again.varm["seq_x"].dtype == np.float16
    np.testing.assert_array_equal(again.varm["seq_x"], rna.varm["seq_x"])
    pd.testing.assert_frame_equal(again.varm["measured"], rna.varm["measured"], check_names=False)
    assert (again.varp["contacts:ctrl"] != rna.varp["contacts:ctrl"]).nnz == 0
    assert again.layers["counts"].dtype == np.int64
    assert again.obs["n"].tolist() == [1, 2, 3, 4]
    assert again.raw.shape == (4, 3)
    assert (back.varp["peak_to_gene"] != good.varp["peak_to_gene"]).nnz == 0
    np.testing.assert_array_equal(back.varm["w"], good.varm["w"])
    np.testing.assert_array_equal(back.obsm["X_z"], good.obsm["X_z"])
    assert back.obsm["X_z"].dtype == np.float32
    assert back.obsm["table"]["a"].tolist() == list(range(6))
    assert back.obs["flag"].isna().sum() == 1
    assert back.var["weight"].tolist() == [0, 1, 2, 3, 4]
    assert back.uns["nested"]["a"]["b"].tolist() == [1, 2]
    assert back.uns["nested"]["frame"].loc["s1", "x"] == 1.5
    assert contract.organism_of(back) == "human"
    np.testing.assert_array_equal(contract.measured(back, "rna"), contract.measured(good, "rna"))


@pytest.mark.parametrize("suffix", [".h5mu", ".zarr"])
def test_mudata_itself_reads_what_we_write_in_any_order(good, suffix, tmp_path):
    """mudata 0.3 fails on a table in obsm where the cells are not in its own order."""
    mixed = contract.subset(good, ["c5", "c0", "c3", "c1"])
    ofm.setup(mixed, batch_key="batch")
    path = io.write(mixed, tmp_path / f"x{suffix}")
    with _compat.silent():
        if hasattr(mudata, "set_options"):
            mudata.set_options(pull_on_update=None)
        back = (mudata.read_h5mu if suffix == ".h5mu" else mudata.read_zarr)(str(path))
    assert set(back.obs_names) == {"c5", "c0", "c3", "c1"}
    mask = pd.DataFrame(back.obsm["modality_mask"], index=back.obs_names, columns=list(back.mod))
    pd.testing.assert_frame_equal(mask.loc[mixed.obs_names], contract.modality_mask(mixed))
    assert contract.check(back).ok


def test_views_and_backed_data_are_written(good, tmp_path):
    ofm.setup(good, batch_key="batch")
    path = io.write(good[["c4", "c2", "c0"]], tmp_path / "view.h5mu")
    back = io.read(path)
    assert list(back.obs_names) == ["c4", "c2", "c0"]
    assert back.obsm["modality_mask"].to_numpy().tolist() == [[False, True], [True, True], [True, False]]
    backed = io.read(path, backed=True)
    for suffix in (".h5mu", ".zarr"):
        assert contract.fingerprint(io.read(io.write(backed, tmp_path / f"again{suffix}"))) == contract.fingerprint(
            back
        )
    backed.file.close()


def test_a_stale_mask_is_left_out_of_the_file(good, tmp_path):
    ofm.setup(good)
    del good.mod["protein"]
    with _compat.silent():
        good.update()
    back = io.read(io.write(good, tmp_path / "x.h5mu"))
    assert "modality_mask" not in back.obsm
    assert contract.modality_mask(back).columns.tolist() == ["rna"]


def test_h5mu_to_zarr_to_h5mu(good, tmp_path):
    """mudata 0.4.1 cannot: what it reads from h5mu has an axis that JSON does not know."""
    ofm.setup(good, batch_key="batch")
    one = io.read(io.write(good, tmp_path / "a.h5mu"))
    two = io.read(io.write(one, tmp_path / "b.zarr"))
    three = io.read(io.write(two, tmp_path / "c.h5mu"))
    assert contract.fingerprint(three) == contract.fingerprint(good)
    assert three.uns["omicsfm"].keys() == good.uns["omicsfm"].keys()
