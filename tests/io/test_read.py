"""read(): every format, and one clear error for every file that is none."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData

import omicsfm as ofm
from omicsfm import InputError, _compat, contract, io


@pytest.fixture
def mdata():
    rng = np.random.default_rng(0)
    mods = {}
    with _compat.silent():
        for name, cells in (("rna", ["a", "b", "c"]), ("adt", ["b", "c", "d"])):
            X = sp.csr_matrix(rng.poisson(1.0, (3, 4)).astype(np.float32))
            var = pd.DataFrame(index=[f"{name}{i}" for i in range(4)])
            mods[name] = AnnData(X, obs=pd.DataFrame(index=cells), var=var)
    return _compat.make_mudata(mods, pd.DataFrame({"batch": ["x", "x", "y", "y"]}, index=list("abcd")))


@pytest.fixture
def adata():
    types = ["Gene Expression", "Gene Expression", "Antibody Capture", "Peaks", "CRISPR Guide Capture", "Custom Thing"]
    var = pd.DataFrame({"feature_types": types}, index=["CD4", "CD4-2", "CD4", "chr1:1-9", "g1", "z"])
    var = var.rename(index={"CD4-2": "CD8A"})
    with _compat.silent():
        return AnnData(
            sp.csr_matrix(np.arange(1, 19, dtype=np.float32).reshape(3, 6)),
            obs=pd.DataFrame({"sample": ["s", "s", "t"]}, index=["a", "b", "c"]),
            var=var,
        )


def _tenx(path, *, version: int = 3) -> None:
    X = sp.csc_matrix(np.array([[1, 0, 3, 4], [0, 5, 0, 0], [2, 0, 0, 7]], dtype=np.int32).T)  # features x barcodes
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix" if version == 3 else "GRCh38")
        group["data"], group["indices"], group["indptr"] = X.data, X.indices, X.indptr
        group["shape"] = np.array(X.shape)
        group["barcodes"] = np.array([b"AA-1", b"CC-1", b"GG-1"])
        ids, names = np.array([b"E1", b"E2", b"AB1", b"p1"]), np.array([b"CD4", b"CD4", b"CD4", b"chr1:1-9"])
        if version == 2:
            group["genes"], group["gene_names"] = ids, names
            return
        features = group.create_group("features")
        features["id"], features["name"] = ids, names
        features["feature_type"] = np.array([b"Gene Expression", b"Gene Expression", b"Antibody Capture", b"Peaks"])
        features["genome"] = np.array([b"GRCh38"] * 4)


def test_10x(tmp_path):
    _tenx(tmp_path / "x.h5")
    mdata = io.read(tmp_path / "x.h5")
    assert {mod: list(a.var_names) for mod, a in mdata.mod.items()} == {
        "rna": ["CD4", "CD4-1"],
        "protein": ["protein:CD4"],
        "atac": ["chr1:1-9"],
    }
    np.testing.assert_array_equal(mdata.mod["rna"].X.toarray(), [[1, 0], [0, 5], [2, 0]])
    np.testing.assert_array_equal(mdata.mod["atac"].X.toarray(), [[4], [0], [7]])
    ofm.setup(mdata)
    assert mdata.mod["rna"].var["gene_id"].tolist() == ["E1", "E2"]
    assert contract.check(mdata).ok


def test_10x_of_version_2_is_one_modality(tmp_path):
    _tenx(tmp_path / "x.h5", version=2)
    mdata = io.read(tmp_path / "x.h5")
    assert list(mdata.mod) == ["rna"]
    assert mdata.mod["rna"].shape == (3, 4)
    assert mdata.mod["rna"].var_names.is_unique


def test_h5ad_is_split_by_feature_types(adata, tmp_path):
    with _compat.silent():
        adata.write_h5ad(tmp_path / "x.h5ad")
    mdata = io.read(tmp_path / "x.h5ad")
    assert list(mdata.mod) == ["rna", "protein", "atac", "guide", "custom_thing"]
    assert list(mdata.mod["protein"].var_names) == ["protein:CD4"]
    assert list(mdata.mod["guide"].var_names) == ["guide:g1"]
    np.testing.assert_array_equal(mdata.mod["protein"].X.toarray().ravel(), [3, 9, 15])
    assert mdata.obs["sample"].tolist() == ["s", "s", "t"]
    ofm.setup(mdata, sample_key="sample", modalities={"custom_thing": "continuous"})
    with pytest.raises(InputError, match="several modalities in one matrix"):
        io.read(tmp_path / "x.h5ad", backed=True)


@pytest.mark.parametrize(
    ("names", "mod"),
    [
        (["A", "B"], "rna"),
        (["chr1:5-9", "chrX:10-20"], "atac"),
        (["1:5-9", "GL000194.1:1-2"], "atac"),
        (["HLA-A", "MT-CO1"], "rna"),
    ],
)
def test_h5ad_without_feature_types_is_one_modality(tmp_path, names, mod):
    with _compat.silent():
        AnnData(np.ones((2, 2), dtype=np.float32), var=pd.DataFrame(index=names)).write_h5ad(tmp_path / "x.h5ad")
    assert list(io.read(tmp_path / "x.h5ad").mod) == [mod]


def test_zarr_of_an_anndata_and_h5ad_under_the_name_h5(adata, tmp_path):
    with _compat.silent():
        adata.write_zarr(tmp_path / "x.zarr")
        adata.write_h5ad(tmp_path / "x.h5ad")
    shutil.copy(tmp_path / "x.h5ad", tmp_path / "x.h5")
    for name in ("x.zarr", "x.h5"):
        assert list(io.read(tmp_path / name).mod)[:2] == ["rna", "protein"]


def test_backed(mdata, tmp_path):
    path = io.write(mdata, tmp_path / "x.h5mu")
    backed = io.read(path, backed=True)
    assert backed.isbacked
    assert sp.vstack(list(io.blocks(backed.mod["rna"].X, 2))).shape == (3, 4)
    backed.file.close()
    with _compat.silent():
        mdata.mod["rna"].write_h5ad(tmp_path / "x.h5ad")
    backed = io.read(tmp_path / "x.h5ad", backed=True)
    assert backed.mod["rna"].isbacked
    np.testing.assert_array_equal(
        sp.vstack(list(io.blocks(backed.mod["rna"].X, 2))).toarray(), mdata.mod["rna"].X.toarray()
    )
    backed.mod["rna"].file.close()


def test_modalities_keep_their_order(mdata, tmp_path):
    for suffix in (".h5mu", ".zarr"):
        assert list(io.read(io.write(mdata, tmp_path / f"x{suffix}")).mod) == ["rna", "adt"]  # not the alphabet's


def test_the_file_of_2020(omicsfm_data, tmp_path):
    """mudata 0.4.1 fails on it: cannot create weak reference to 'dict' object."""
    path = omicsfm_data / "pbmc10x_multiome_regions_muon" / "test_rna_atac.h5mu"
    mdata = io.read(path)
    assert {mod: a.shape for mod, a in mdata.mod.items()} == {"atac": (1000, 174), "rna": (1000, 45)}
    assert "peak_annotation" in mdata.mod["atac"].uns["atac"]
    assert list(mdata.mod["rna"].var.columns) == ["gene_ids", "feature_types", "genome", "interval"]
    ofm.setup(mdata, organism="human")
    back = io.read(io.write(mdata, tmp_path / "new.h5mu"))
    assert contract.fingerprint(back) == contract.fingerprint(mdata)
    with pytest.raises(InputError, match="2020, which cannot be backed"):
        io.read(path, backed=True)


@pytest.mark.parametrize("dense", [False, True])
def test_a_file_without_encoding_types(mdata, tmp_path, dense):
    """As mudata wrote them in 2020: groups do not say what they are."""
    rna = mdata.mod["rna"]
    if dense:
        rna.X = rna.X.toarray()
    rna.obs["n"], rna.uns["a"], rna.obsm["X_pca"] = [1, 2, 3], {"b": 1}, np.ones((3, 2))
    rna.layers["counts"] = rna.X.copy()
    with _compat.silent():
        rna.raw = rna.copy()
    mdata.uns["t"], mdata.obsm["X_z"] = "text", np.arange(8.0).reshape(4, 2)
    path = io.write(mdata, tmp_path / "x.h5mu")
    with h5py.File(path, "r+") as file:
        groups = [file, file["mod"], *file["mod"].values(), file["mod/rna/raw"]]
        groups += [group[slot] for group in list(groups) for slot in ("obsm", "uns", "layers", "varm") if slot in group]
        for group in groups:
            for name in ("encoding-type", "encoding-version"):
                if name in group.attrs:
                    del group.attrs[name]
        del file["obsmap"], file["varmap"]
    back = io.read(path)
    assert contract.fingerprint(back) == contract.fingerprint(mdata)
    assert back.obs["batch"].tolist() == list("xxyy")
    assert back.uns["t"] == "text"
    np.testing.assert_array_equal(back.obsm["X_z"], mdata.obsm["X_z"])
    again = back.mod["rna"]
    assert again.obs["n"].tolist() == [1, 2, 3]
    assert again.uns["a"]["b"] == 1
    assert again.raw.shape == (3, 4)
    np.testing.assert_array_equal(again.obsm["X_pca"], np.ones((3, 2)))
    assert again.layers["counts"].shape == (3, 4)


def test_every_real_file_is_read(omicsfm_data):
    for path in sorted(omicsfm_data.glob("*/*.h5mu")) + sorted(omicsfm_data.glob("*/*.h5ad")):
        mdata = io.read(path)
        assert isinstance(mdata, MuData)
        mask = contract.modality_mask(mdata)
        assert mask.any(axis=1).all()
        for mod, adata in mdata.mod.items():
            assert mask[mod].sum() == adata.n_obs


@pytest.mark.parametrize("suffix", [".h5mu", ".h5ad", ".h5"])
def test_cut_off_altered_and_foreign_files(mdata, tmp_path, suffix):
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".h5mu":
        io.write(mdata, whole)
    elif suffix == ".h5ad":
        with _compat.silent():
            mdata.mod["rna"].write_h5ad(whole)
    else:
        _tenx(whole)
    content = whole.read_bytes()
    bad = tmp_path / f"bad{suffix}"
    for part in (content[: len(content) // 2], b"", b"not HDF5 at all " * 100):
        bad.write_bytes(part)
        with pytest.raises(InputError, match=r"^read: .*Fix: ") as error:
            io.read(bad)
        assert str(bad) in str(error.value)
    with h5py.File(bad, "w") as file:
        file["x"] = 1
    with pytest.raises(InputError, match=r"^read: .*Fix: "):
        io.read(bad)


def test_an_h5mu_that_lost_a_part(mdata, tmp_path):
    path = io.write(mdata, tmp_path / "x.h5mu")
    with h5py.File(path, "r+") as file:
        del file["mod/rna/X/indptr"]
    with pytest.raises(InputError, match="could not read"):
        io.read(path)
    with h5py.File(path, "r+") as file:
        del file["mod"]
    with pytest.raises(InputError, match="holds an h5ad file"):
        io.read(path)


def test_broken_zarr(mdata, tmp_path):
    path = io.write(mdata, tmp_path / "x.zarr")
    for name in (".zattrs", ".zgroup", "zarr.json", ".zmetadata"):
        (path / name).unlink(missing_ok=True)
    with pytest.raises(InputError, match="could not read"):
        io.read(path)
    (tmp_path / "y.zarr").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        io.read(tmp_path / "y.zarr")
    (tmp_path / "z.zarr").mkdir()
    with pytest.raises(InputError, match="could not read"):
        io.read(tmp_path / "z.zarr")


def test_missing_unknown_and_wrong_axis(mdata, tmp_path):
    with pytest.raises(InputError, match=r"there is no '.*nope.h5mu'"):
        io.read(tmp_path / "nope.h5mu")
    with pytest.raises(InputError, match=r"unknown suffix '.csv'"):
        io.read(tmp_path / "x.csv")
    (tmp_path / "d.h5mu").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        io.read(tmp_path / "d.h5mu")
    path = io.write(mdata, tmp_path / "x.h5mu")
    with h5py.File(path, "r+") as file:
        file.attrs["axis"] = 1
    with pytest.raises(InputError, match="found axis 1"):
        io.read(path)
    with pytest.raises(InputError, match="zarr, which cannot be backed"):
        io.read(io.write(mdata, tmp_path / "x.zarr"), backed=True)
