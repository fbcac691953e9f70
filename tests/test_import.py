from __future__ import annotations

import json
import subprocess
import sys

import pytest

import omicsfm as ofm

HEAVY = {
    "anndata",
    "h5py",
    "lightning",
    "matplotlib",
    "mudata",
    "muon",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "scanpy",
    "scipy",
    "scvi",
    "sklearn",
    "torch",
    "tqdm",
    "umap",
    "zarr",
}
PROBE = """
import json, sys, time
before = set(sys.modules)
start = time.perf_counter()
import omicsfm
seconds = time.perf_counter() - start
names = dir(omicsfm)
print(json.dumps({"seconds": seconds, "new": sorted(set(sys.modules) - before), "dir": names}))
"""


def probe() -> dict:
    """Import omicsfm in a fresh interpreter."""
    run = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, timeout=60)
    return json.loads(run.stdout)


def test_import_loads_nothing_heavy():
    new = probe()["new"]
    assert {name.partition(".")[0] for name in new} & HEAVY == set()
    assert [name for name in new if name.startswith("omicsfm")] == ["omicsfm", "omicsfm._errors"]
    # typing and what it needs; a lazily loaded package that creeps in brings dozens.
    assert len(new) < 30, new


def test_import_is_fast():
    # The best of five: the others measure the rest of a busy machine.
    assert min(probe()["seconds"] for _ in range(5)) < 0.5


def test_dir_lists_public_names_before_they_are_loaded():
    assert set(ofm.__all__) <= set(probe()["dir"])


@pytest.mark.parametrize("name", ofm.__all__)
def test_public_name_loads(name: str):
    assert getattr(ofm, name) is not None


def test_functions_are_those_of_their_owners():
    assert ofm.setup is ofm.contract.setup
    assert ofm.check is ofm.contract.check
    assert ofm.concat is ofm.contract.concat
    assert ofm.modality_mask is ofm.contract.modality_mask
    assert ofm.load is ofm.models.load


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        ofm.no_such_name  # noqa: B018
