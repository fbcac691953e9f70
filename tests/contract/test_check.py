"""check(): every violation is found, named with its fix, and found once."""

from __future__ import annotations

import warnings

import mudata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

import omicsfm as ofm
from omicsfm import _compat, contract, io
from omicsfm.contract import _values
from omicsfm.contract._values import scan


def _one(report: contract.CheckReport, modality: str | None, key: str) -> contract.Violation:
    assert len(report.violations) == 1, str(report)
    violation = report.violations[0]
    assert (violation.modality, violation.key) == (modality, key), str(report)
    assert violation.found
    assert violation.fix
    return violation


def _built(mods: dict[str, AnnData], **kwargs) -> mudata.MuData:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mudata.MuData(mods, **kwargs)


def test_a_good_mudata_is_ok_and_check_changes_nothing(good):
    before = contract.fingerprint(good)
    report = contract.check(good)
    assert report.ok
    report.raise_for_errors()
    assert "ok" in str(report)
    assert "omicsfm" not in good.uns
    assert contract.fingerprint(good) == before


@pytest.mark.parametrize(
    ("data", "word"), [(np.zeros((2, 2)), "ndarray"), (None, "NoneType"), ({"rna": 1}, "dict"), ("x.h5mu", "str")]
)
def test_what_is_no_mudata(data, word):
    assert word in _one(contract.check(data), None, "mdata").found
    with pytest.raises(ofm.InputError, match="setup: mdata: needed a MuData"):
        ofm.setup(data)


def test_an_anndata_gets_the_line_that_wraps_it(make_counts):
    adata = make_counts(3, ["A", "B"])
    assert 'MuData({"rna": adata})' in _one(contract.check(adata), None, "mdata").fix
    assert "ofm.io.read" in _one(contract.check(adata), None, "mdata").fix


def test_axis_1_no_modalities_and_nested(make_counts):
    one = _built({"a": make_counts(2, ["A", "B"]), "b": make_counts(3, ["A", "B"], cells=["x", "y", "z"])}, axis=1)
    assert "axis 1" in _one(contract.check(one), None, "mdata").found
    assert "no modalities" in _one(contract.check(_built({})), None, "mdata").found
    inner = _built({"rna": make_counts(2, ["A"])})
    assert "'both' is not an AnnData" in _one(contract.check(_built({"both": inner})), None, "mdata").found


def test_no_cells_no_features_and_an_empty_modality(make_counts, good):
    empty = _compat.make_mudata({"rna": make_counts(0, ["A", "B"])})
    assert "no cells" in _one(contract.check(empty), None, "obs").found
    featureless = _compat.make_mudata({"rna": make_counts(3, [])})
    assert "no features" in _one(contract.check(featureless), "rna", "var").found
    rna_only = good[["c0", "c1"]]
    violation = _one(contract.check(rna_only), "protein", "obs")
    assert "no cells" in violation.found
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scope = {"mudata": mudata, "mdata": rna_only}
        exec(violation.fix, scope)  # the fix is a line of code that works
    assert contract.check(scope["mdata"]).ok


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_matrix, sp.csc_matrix])
@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (-2.0, "1 negative entries, such as -2"),
        (np.nan, "1 NaN and 0 infinite"),
        (np.inf, "0 NaN and 1 infinite"),
        (2.5, "fractions in 1 entries, such as 2.5"),
    ],
)
def test_counts_that_are_none(good, storage, bad, words):
    X = good.mod["rna"].X.toarray()
    X[1, 2] = bad
    good.mod["rna"].X = storage(X)
    assert words in _one(contract.check(good), "rna", "X").found


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.int64, np.uint32, bool])
def test_whole_numbers_of_any_dtype_are_counts(good, dtype):
    good.mod["rna"].X = sp.csr_matrix(good.mod["rna"].X.toarray() > 0).astype(dtype)
    assert contract.check(good).ok


def test_normalised_values_are_told_and_the_counts_found(good):
    rna = good.mod["rna"]
    raw = rna.X.copy()
    rna.X = raw.multiply(1e4 / 7).log1p().tocsr()
    violation = _one(contract.check(good), "rna", "X")
    assert "looks log1p-normalised" in violation.found
    assert 'layers["counts"]' in violation.fix
    rna.layers["flag"] = (raw > 0).astype(np.float32)
    rna.layers["umi"] = raw * 2
    violation = _one(contract.check(good), "rna", "X")
    assert violation.fix.endswith('mdata.mod["rna"].X = mdata.mod["rna"].layers["umi"].copy()')
    exec(violation.fix.split(": ", 1)[1], {"mdata": good})
    assert contract.check(good).ok


def test_counts_kept_in_raw_are_found(good):
    rna = good.mod["rna"]
    rna.X = rna.X * 2
    rna.raw = rna.copy()
    rna.X = rna.X.multiply(0.3).tocsr()
    violation = _one(contract.check(good), "rna", "X")
    exec(violation.fix.split(": ", 1)[1], {"mdata": good})
    assert contract.check(good).ok


def test_scaled_values_and_non_numbers(good):
    good.mod["rna"].X = good.mod["rna"].X.toarray() - 0.7
    assert "scaled" in _one(contract.check(good), "rna", "X").found
    good.mod["rna"].X = np.full(good.mod["rna"].shape, 1j)
    assert "complex" in _one(contract.check(good), "rna", "X").found


def test_a_modality_without_x(make_counts):
    with _compat.silent():
        adata = AnnData(obs=pd.DataFrame(index=["a"]), var=pd.DataFrame(index=["g"]))
    mdata = _compat.make_mudata({"rna": adata})
    assert "no X" in _one(contract.check(mdata), "rna", "X").found


@pytest.mark.parametrize(
    ("values", "hint"), [([0.5, -3.0], "M-values"), ([50.0, 100.0], "percent"), ([5.0, 400.0], "all reads")]
)
def test_methylation_outside_0_to_1(good, values, hint):
    good.mod["protein"].X = np.tile(np.array(values, dtype=np.float32), (4, 1))
    with pytest.raises(ofm.InputError, match=hint):
        ofm.setup(good, modalities={"protein": "methylation"})
    good.mod["protein"].X = np.tile(np.array([0.25, np.nan], dtype=np.float32), (4, 1))
    ofm.setup(good, modalities={"protein": "methylation"})


def test_continuous_takes_any_real_and_nan_but_not_infinity(good):
    good.mod["protein"].X = np.tile(np.array([-7.5, np.nan], dtype=np.float32), (4, 1))
    ofm.setup(good, modalities={"protein": "continuous"})
    good.mod["protein"].X[0, 0] = np.inf
    assert "1 infinite" in _one(contract.check(good), "protein", "X").found


def test_repeated_obs_names_are_reported_once(make_counts):
    mdata = _built(
        {"rna": make_counts(3, ["A", "B"], cells=["a", "a", "b"]), "atac": make_counts(1, ["p"], cells=["b"])}
    )
    violation = _one(contract.check(mdata), "rna", "obs_names")
    assert "'a'" in violation.found
    with pytest.raises(ofm.InputError, match="unique"):
        contract.rows(mdata, "rna")


def test_repeated_var_names_within_a_modality(make_counts):
    mdata = _built({"rna": make_counts(3, ["A", "A", "B"])})
    assert "1 names stand more than once: 'A'" in _one(contract.check(mdata), "rna", "var_names").found


def test_var_names_shared_by_two_modalities_and_their_fix(make_counts):
    obs = pd.DataFrame({"batch": ["x", "y", "y"]}, index=["c0", "c1", "c2"])
    mods = {"rna": make_counts(3, ["CD4", "CD8A", "X"]), "adt": make_counts(3, ["CD4", "CD8A"], seed=1)}
    mdata = _built(mods)
    mdata.obs["batch"] = obs["batch"]
    violation = _one(contract.check(mdata), "adt", "var_names")
    assert "2 are names in 'rna' too: 'CD4', 'CD8A'" in violation.found
    scope = {"mudata": mudata, "mdata": mdata}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(violation.fix, scope)
    ofm.setup(scope["mdata"], batch_key="batch")
    assert list(scope["mdata"].mod["adt"].var_names) == ["adt:CD4", "adt:CD8A"]


def test_an_unknown_modality_needs_a_recipe(make_counts):
    mdata = _compat.make_mudata({"foo": make_counts(3, ["A"])})
    assert 'modalities={"foo": "continuous"}' in _one(contract.check(mdata), "foo", "modalities").fix
    with pytest.raises(ofm.InputError, match="needs a recipe"):
        contract.recipe_of(mdata, "foo")
    ofm.setup(mdata, modalities={"foo": "rna"})
    assert contract.check(mdata).ok
    assert contract.recipe_of(mdata, "foo") == "rna"


def test_an_unknown_recipe_and_modality_name_what_there_is(good):
    with pytest.raises(ofm.InputError, match="did you mean 'protein'"):
        ofm.setup(good, modalities={"protein": "protien"})
    with pytest.raises(ofm.InputError, match="did you mean 'protein'"):
        ofm.setup(good, modalities={"proteins": "protein"})


def test_a_key_that_stands_in_a_modality_only(good):
    good.mod["rna"].obs["lane"] = "l1"
    with pytest.raises(ofm.InputError) as error:
        ofm.setup(good, sample_key="lane")
    line = 'mdata.obs["lane"] = mdata.mod["rna"].obs["lane"]'
    assert line in str(error.value)
    exec(line, {"mdata": good})
    ofm.setup(good, sample_key="lane")


def test_nan_in_the_batch_is_an_error_and_in_the_label_is_not(good):
    good.obs["lane"] = ["a", None, "a", np.nan, "b", "b"]
    ofm.setup(good, label_key="celltype", sample_key="lane")
    with pytest.raises(ofm.InputError, match="2 cells have no 'lane'") as error:
        ofm.setup(good, batch_key="lane")
    exec(str(error.value).split("Fix: ")[1].split(", or leave")[0], {"mdata": good})
    ofm.setup(good, batch_key="lane")
    assert sorted(contract.batches(good).cat.categories) == ["a", "b", "unknown"]


def test_two_columns_of_one_name(good):
    good.obs = pd.concat([good.obs, good.obs[["batch"]]], axis=1)
    with pytest.raises(ofm.InputError, match="several columns 'batch'"):
        ofm.setup(good, batch_key="batch")


def test_a_key_lost_after_setup_is_found(good):
    ofm.setup(good, batch_key="batch")
    del good.obs["batch"]
    assert _one(contract.check(good), None, "batch_key")
    with pytest.raises(ofm.InputError, match="no column 'batch'"):
        contract.batches(good)


def test_slashes_in_keys(good):
    good.uns["a"] = {"b/c": 1}
    good.mod["rna"].uns["d/e"] = 1
    report = contract.check(good)
    assert {(v.modality, v.key) for v in report.violations} == {(None, "keys"), ("rna", "keys")}
    assert "uns['a']['b/c']" in str(report)
    del good.uns["a"]
    good.mod["rna"].uns.clear()
    good.mod["rna"].layers["x/y"] = good.mod["rna"].X.copy()
    assert "layers['x/y']" in _one(contract.check(good), "rna", "keys").found


def test_a_slash_in_a_modality_name_is_reported_once(make_counts):
    mdata = _compat.make_mudata({"a/b": make_counts(2, ["A"]), "rna": make_counts(2, ["B"])})
    with pytest.raises(ofm.InputError, match="setup: modality 'a/b', keys"):
        ofm.setup(mdata, modalities={"a/b": "rna"})


def test_stale_indices(good):
    mods = dict(good.mod)
    good.mod["rna"] = mods["rna"][["c2", "c3"]].copy()
    assert "2 cells are measured in no modality: 'c0', 'c1'" in _one(contract.check(good), None, "obs_names").found
    good.mod["rna"] = mods["rna"].copy()
    good.mod["rna"].obs_names = ["c0", "c1", "c2", "new"]
    assert "1 of its cells are not in mdata.obs" in _one(contract.check(good), "rna", "obs_names").found
    with pytest.raises(ofm.InputError, match=r"mdata\.update"):
        contract.rows(good, "rna")


def test_notes_say_what_is_allowed(make_counts):
    alone = contract.check(_compat.make_mudata({"rna": make_counts(3, ["A"])}))
    assert alone.ok
    assert "one modality only ('rna')" in alone.notes[0]
    apart = _compat.make_mudata({"rna": make_counts(1, ["A"]), "atac": make_counts(1, ["p"], cells=["z"])})
    assert contract.check(apart).ok
    assert any("no cell has both 'rna' and 'atac'" in note for note in contract.check(apart).notes)


@pytest.mark.parametrize("state", [5, {"schema_version": 2}, {"schema_version": "x"}])
def test_a_record_of_another_kind_or_of_the_future(good, state):
    good.uns["omicsfm"] = state
    assert _one(contract.check(good), None, "uns['omicsfm']")


def test_the_measured_table_must_fit(good):
    rna = good.mod["rna"]
    rna.varm["measured"] = pd.DataFrame({"x": [True, True, False]}, index=rna.var_names)
    assert "no batch key" in _one(contract.check(good), "rna", "varm['measured']").found
    with pytest.raises(ofm.InputError, match="no column for batch 'y'"):
        ofm.setup(good, batch_key="batch")
    rna.varm["measured"] = pd.DataFrame({"x": [1, 1, 0], "y": [1, 1, 1]}, index=rna.var_names)
    with pytest.raises(ofm.InputError, match="table of bool"):
        ofm.setup(good, batch_key="batch")
    rna.varm["measured"] = rna.varm["measured"].astype(bool)
    ofm.setup(good, batch_key="batch")


def test_checking_stays_sparse():
    """A matrix that would be 8 TB dense: only its stored values may be looked at."""
    n = 1_000_000
    X = sp.csr_matrix((np.array([1.0, 2.0], dtype=np.float32), ([0, 999_999], [3, 4])), shape=(n, 1_000_000))
    found = scan(X)
    assert found.counts
    assert found.high == 2
    assert found.empty_rows == n - 2


def test_a_problem_deep_in_a_backed_matrix_is_found(good, tmp_path, monkeypatch):
    monkeypatch.setattr(_values, "_CHUNK", 3)  # one row per block
    good.mod["rna"].X[3, 1] = 0.5
    good.mod["protein"].X = good.mod["protein"].X.toarray()
    good.mod["protein"].X[2, 1] = -1
    backed = io.read(io.write(good, tmp_path / "x.h5mu"), backed=True)
    report = contract.check(backed)
    backed.file.close()
    assert {(v.modality, v.key) for v in report.violations} == {("rna", "X"), ("protein", "X")}
    assert "0.5" in str(report)
    assert "-1" in str(report)


def test_recipes_given_to_check_beat_those_recorded(good):
    ofm.setup(good)
    good.mod["protein"].X = good.mod["protein"].X.toarray() - 0.5
    assert "fractions" in _one(contract.check(good), "protein", "X").found
    assert contract.check(good, modalities={"protein": "continuous"}).ok
    assert "no modality 'x'" in str(contract.check(good, modalities={"protein": "continuous", "x": "rna"}))
    assert contract.recipe_of(good, "protein") == "protein"  # nothing was written down
