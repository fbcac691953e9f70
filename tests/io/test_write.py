"""write(): what cannot be written is said, and nothing stands there then."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from omicsfm import InputError, _compat, io


@pytest.fixture
def mdata():
    with _compat.silent():
        adata = AnnData(np.ones((2, 3), dtype=np.float32), obs=pd.DataFrame({"t": ["x", "y"]}, index=["a", "b"]))
    return _compat.make_mudata({"rna": adata})


@pytest.mark.parametrize("suffix", [".h5mu", ".zarr"])
def test_a_second_write_replaces_the_first(mdata, tmp_path, suffix):
    path = tmp_path / "out" / f"x{suffix}"
    assert io.write(mdata, path) == path
    mdata.mod["rna"].X[0, 0] = 5
    io.write(mdata, str(path))
    assert io.read(path).mod["rna"].X[0, 0] == 5
    assert os.listdir(tmp_path / "out") == [path.name]


@pytest.mark.parametrize(
    ("suffix", "bad"),
    [(".h5mu", "thing"), (".zarr", "thing"), (".h5mu", "a/b"), (".zarr", "a/b"), (".h5mu", "c/d"), (".zarr", "c/d"),
     (".h5mu", "mixed")],
)  # fmt: skip
def test_what_cannot_be_stored_is_named_and_leaves_the_old_file(mdata, tmp_path, suffix, bad):
    path = io.write(mdata, tmp_path / f"x{suffix}")
    if bad == "thing":
        mdata.uns["thing"] = object()
    elif bad == "a/b":
        mdata.uns["a"] = {"a/b": 1}
    elif bad == "c/d":
        mdata.mod["rna"].obs["c/d"] = [1, 2]
    else:  # zarr stores such a column as text
        mdata.obs["mixed"] = pd.Series([1.5, "x"], index=mdata.obs_names, dtype=object)
    with pytest.raises(InputError, match=rf"^write: .*{bad}.*Fix: "):
        io.write(mdata, path)
    assert io.read(path).n_obs == 2
    assert os.listdir(tmp_path) == [path.name]


def test_bad_arguments(mdata, tmp_path):
    with pytest.raises(InputError, match="found AnnData"):
        io.write(mdata.mod["rna"], tmp_path / "x.h5mu")
    with pytest.raises(InputError, match="unknown suffix '.h5ad'"):
        io.write(mdata, tmp_path / "x.h5ad")
    assert os.listdir(tmp_path) == []
