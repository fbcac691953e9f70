"""What viewers and R readers need of a file, looked at with h5py alone."""

from __future__ import annotations

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

import omicsfm as ofm

# What readers in R knew before 2025, and viewers know.
KNOWN = {
    "MuData",
    "anndata",
    "array",
    "categorical",
    "csc_matrix",
    "csr_matrix",
    "dataframe",
    "dict",
    "null",
    "numeric-scalar",
    "raw",
    "string",
    "string-array",
}


@pytest.fixture
def h5mu(result, tmp_path):
    with h5py.File(ofm.io.write(result, tmp_path / "cells.h5mu")) as file:
        yield file


@pytest.fixture
def h5ad(result, tmp_path):
    """One modality with what was found of its cells, as docs/from_r.md hands it over."""
    rna = result["rna"].copy()
    place = ofm.contract.rows(result, "rna")
    rna.obsm["X_mosaic"] = result.obsm["X_mosaic"][place]
    rna.obs = result.obs.iloc[place].copy()
    with anndata.settings.override(allow_write_nullable_strings=False):
        rna.write_h5ad(tmp_path / "rna.h5ad")
    with h5py.File(tmp_path / "rna.h5ad") as file:
        yield file


def encodings(group: h5py.Group, prefix: str = "") -> dict[str, str]:
    """Encoding type of every element; the parts of a sparse matrix have none, nor has the folder of the modalities."""
    out = {}
    for name, item in group.items():
        place = f"{prefix}/{name}"
        if place != "/mod":
            out[place] = item.attrs.get("encoding-type", "none")
        if isinstance(item, h5py.Group) and out.get(place) not in {"csr_matrix", "csc_matrix"}:
            out |= encodings(item, place)
    return out


def test_every_element_says_what_it_is_and_is_of_a_known_kind(h5mu, h5ad):
    assert h5mu.attrs["encoding-type"] == "MuData"
    assert h5ad.attrs["encoding-type"] == "anndata"
    for file in (h5mu, h5ad):
        assert set(encodings(file).values()) <= KNOWN, encodings(file)


def test_members_of_a_mosaic_are_told_by_position(h5mu, result):
    mask = ofm.modality_mask(result)
    names = h5mu["obs/_index"].asstr()[:]
    for mod in mask.columns:
        place = h5mu[f"obsmap/{mod}"][:].ravel()
        assert ((place > 0) == mask[mod].loc[names]).all()
        theirs = h5mu[f"mod/{mod}/obs/_index"].asstr()[:]
        assert (theirs[place[place > 0] - 1] == names[place > 0]).all()


def test_the_mask_is_a_plain_array_in_the_order_of_the_modalities(h5mu, result):
    mask = h5mu["obsm/modality_mask"]
    assert isinstance(mask, h5py.Dataset) and mask.dtype == bool
    order = list(h5mu["mod"].attrs.get("mod-order", list(result.mod)))
    expected = ofm.modality_mask(result).loc[h5mu["obs/_index"].asstr()[:], order]
    assert (mask[:] == expected.to_numpy()).all()


def check_table(table: h5py.Group) -> None:
    """Every column is categorical, or an array of one kind of number; never objects, never nullable."""
    for name in table.attrs["column-order"]:
        column = table[name]
        if isinstance(column, h5py.Group):
            assert column.attrs["encoding-type"] == "categorical", name
            codes = column["codes"][:]
            assert codes.min() >= -1 and codes.max() < len(column["categories"])
        else:
            assert column.dtype.kind in "biuf", (name, column.dtype)
    assert table.attrs["_index"] in table


def test_tables_are_categories_and_numbers(h5mu, h5ad):
    for table in (h5mu["obs"], h5mu["var"], h5mu["mod/rna/obs"], h5mu["mod/rna/var"], h5ad["obs"], h5ad["var"]):
        check_table(table)
    labels = h5ad["obs/label"]
    assert (labels["codes"][:] == -1).any()  # unlabelled cells: NA in R


def test_embeddings_are_two_dimensional_float32_in_step_with_the_cells(h5mu, h5ad):
    for file in (h5mu, h5ad):
        state = file["obsm/X_mosaic"]
        assert isinstance(state, h5py.Dataset)
        assert state.dtype == np.float32 and state.ndim == 2
        assert state.shape[0] == file["obs/_index"].shape[0]
        assert np.isfinite(state[:]).all()


def test_matrices_are_dense_or_compressed_with_their_shape(h5mu, h5ad):
    for x, shape in ((h5mu["mod/rna/X"], h5mu["mod/rna"]), (h5ad["X"], h5ad)):
        size = (shape["obs/_index"].shape[0], shape["var/_index"].shape[0])
        if isinstance(x, h5py.Dataset):
            assert x.shape == size and x.dtype == np.float32
        else:
            assert x.attrs["encoding-type"] in {"csr_matrix", "csc_matrix"}
            assert tuple(x.attrs["shape"]) == size


def test_a_nullable_string_would_be_seen(result, tmp_path):
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        column = file.create_group("obs/label")
        column.attrs["encoding-type"] = "nullable-string-array"
        assert "nullable-string-array" in encodings(file).values()
        assert not set(encodings(file).values()) <= KNOWN


@pytest.mark.skipif(pd.Series(["a"]).dtype == object, reason="text of pandas 2 with missing values is not written")
@pytest.mark.parametrize("suffix", [".h5mu", ".zarr"])
def test_text_with_missing_values_is_written_and_read_all_the_same(result, tmp_path, suffix):
    result.uns["table"] = pd.DataFrame({"text": ["a", None]})
    back = ofm.io.read(ofm.io.write(result, tmp_path / f"cells{suffix}")).uns["table"]["text"]
    assert back.iloc[0] == "a" and pd.isna(back.iloc[1])
