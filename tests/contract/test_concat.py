"""concat(): the union of everything, and nothing lost in silence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st

import omicsfm as ofm
from omicsfm import _compat, contract, io


def _dense(X) -> np.ndarray:
    return X.toarray() if sp.issparse(X) else np.asarray(X)


@pytest.fixture
def two(make_counts):
    """Two CITE panels with one protein in common; the second has RNA of three cells only."""
    a = _compat.make_mudata(
        {
            "rna": make_counts(3, ["A", "B"]),
            "adt": make_counts(3, ["p1", "p2"], seed=1),
        },
        pd.DataFrame({"celltype": pd.Categorical(["T", "B", "T"]), "n": [1, 2, 3]}, index=["c0", "c1", "c2"]),
    )
    cells = ["d0", "d1", "d2", "d3"]
    b = _compat.make_mudata(
        {
            "rna": make_counts(3, ["B", "A"], seed=2, cells=cells[:3]),
            "adt": make_counts(4, ["p3", "p2"], seed=3, cells=cells),
        },
        pd.DataFrame(
            {"celltype": pd.Categorical(["NK", None, "T", "NK"]), "male": [True, False, True, True]}, index=cells
        ),
    )
    for mdata in (a, b):
        ofm.setup(mdata, label_key="celltype")
    return {"a": a, "b": b}


@settings(max_examples=40)
@given(data=st.data())
def test_values_and_masks_are_the_union(data, draw_mosaic):
    parts = {
        name: data.draw(draw_mosaic(prefix=f"{name}_")).build()
        for name in data.draw(st.sampled_from(["a", "ab", "abc"]))
    }
    for part in parts.values():
        ofm.setup(part.mdata, label_key="celltype", batch_key="batch")
    out = ofm.concat({name: part.mdata for name, part in parts.items()}, batch_key="study")
    assert contract.check(out).ok, str(contract.check(out))
    assert contract.keys(out) == contract.Keys(batch="study", label="celltype")
    assert list(out.obs_names) == [cell for part in parts.values() for cell in part.mdata.obs_names]
    mask = out.obsm["modality_mask"]
    for name, part in parts.items():
        mdata = part.mdata
        assert set(out.obs.loc[mdata.obs_names, "study"]) == {name}
        for mod in out.mod:
            cells = mask.index[mask[mod]].intersection(mdata.obs_names)
            if mod not in mdata.mod:
                assert not len(cells)
                continue
            assert set(cells) == set(mdata.mod[mod].obs_names)
            same = out.mod[mod][mdata.mod[mod].obs_names, mdata.mod[mod].var_names]
            np.testing.assert_array_equal(_dense(same.X), _dense(mdata.mod[mod].X))
    for mod, adata in out.mod.items():
        panels = [set(part.mdata.mod[mod].var_names) for part in parts.values() if mod in part.mdata.mod]
        differ = any(panel != set(adata.var_names) for panel in panels)
        counts = contract.recipe_of(out, mod) in ("rna", "atac", "protein", "guide")
        assert ("measured" in adata.varm) == (differ and counts)
        if differ and counts:
            measured = contract.measured(out, mod)
            for part in parts.values():
                if mod in part.mdata.mod:
                    rows = adata.obs_names.isin(part.mdata.mod[mod].obs_names)
                    has = adata.var_names.isin(part.mdata.mod[mod].var_names)
                    assert (measured[rows] == has).all()
                    assert not _dense(adata.X)[np.ix_(rows, ~has)].any()
        if not counts:
            known = sum(int(np.isnan(_dense(p.mdata.mod[mod].X)).sum()) for p in parts.values() if mod in p.mdata.mod)
            filled = sum(
                p.mdata.mod[mod].n_obs * (adata.n_vars - p.mdata.mod[mod].n_vars)
                for p in parts.values()
                if mod in p.mdata.mod
            )
            assert np.isnan(_dense(adata.X)).sum() == known + filled


def test_panels_that_differ_are_declared(two):
    out = ofm.concat(two)
    assert sp.issparse(out.mod["adt"].X)
    assert out.mod["adt"].X.dtype == np.float32
    assert list(out.mod["adt"].var_names) == ["p1", "p2", "p3"]
    assert out.mod["adt"].varm["measured"].to_dict("list") == {"a": [True, True, False], "b": [False, True, True]}
    assert "measured" not in out.mod["rna"].varm  # the same genes in another order
    np.testing.assert_array_equal(contract.measured(out, "adt")[[0, -1]], [[1, 1, 0], [0, 1, 1]])
    assert list(contract.batches(out)) == ["a"] * 3 + ["b"] * 4
    assert contract.labels(out).fillna("-").tolist() == ["T", "B", "T", "NK", "-", "T", "NK"]
    assert contract.check(out).ok
    assert contract.history(out)[-1]["params"]["inputs"]["a"]["n_obs"] == 3


def test_another_batch_key_later_does_not_lose_the_panels(two):
    out = ofm.concat(two)
    out.obs["donor"] = ["d1", "d2"] * 3 + ["d1"]
    ofm.setup(out, batch_key="donor")
    np.testing.assert_array_equal(contract.measured(out, "adt")[0], [True, True, False])


def test_a_concat_of_concats_keeps_what_was_measured(two, make_counts):
    first = ofm.concat(two)
    third = _compat.make_mudata({"adt": make_counts(2, ["p1", "p4"], cells=["e0", "e1"])})
    out = ofm.concat({"old": first, "new": third}, batch_key="study")
    assert contract.check(out).ok
    names = out.mod["adt"].var_names
    measured = pd.DataFrame(contract.measured(out, "adt"), index=out.mod["adt"].obs_names, columns=names)
    assert [name for name in names if measured.loc["c0", name]] == ["p1", "p2"]
    assert [name for name in names if measured.loc["d3", name]] == ["p2", "p3"]
    assert [name for name in names if measured.loc["e1", name]] == ["p1", "p4"]


def test_obs_columns_keep_types_that_can_be_stored(two, tmp_path):
    two["a"].obs["mixed"], two["b"].obs["mixed"] = "x", 1.5
    out = ofm.concat(two)
    assert out.obs["celltype"].cat.categories.tolist() == ["B", "T", "NK"]
    assert out.obs["n"].isna().sum() == 4
    assert str(out.obs["male"].dtype) == "boolean"
    assert out.obs["mixed"].tolist() == ["x"] * 3 + ["1.5"] * 4
    for suffix in (".h5mu", ".zarr"):
        back = io.read(io.write(out, tmp_path / f"x{suffix}"))
        assert back.obs["mixed"].tolist() == out.obs["mixed"].tolist()
        assert back.obs["male"].isna().sum() == 3
        np.testing.assert_array_equal(contract.measured(back, "adt"), contract.measured(out, "adt"))


def test_what_belongs_to_features_is_kept_where_the_sets_agree(two):
    a, b = two["a"].mod["rna"], two["b"].mod["rna"]
    a.var["gene_id"], b.var["gene_id"] = ["g1", "g2"], ["g2", "g1"]  # b holds B, A
    a.varm["prior"] = np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32)
    b.varm["prior"] = a.varm["prior"][::-1]
    a.varm["kmer"], b.varm["kmer"] = sp.csr_matrix([[1.0], [0.0]]), sp.csr_matrix([[0.0], [1.0]])
    a.varp["contacts"] = sp.csr_matrix([[0.0, 5.0], [5.0, 0.0]])
    two["a"].mod["adt"].varm["seq"] = np.array([[1.0], [2.0]])
    two["a"].uns["genome"], two["b"].uns["genome"] = {"name": "GRCh38"}, {"name": "GRCh38"}
    two["b"].uns["extra"] = [1, 2]
    two["a"].uns["samples"] = pd.DataFrame({"sex": ["f"]}, index=["s1"])
    two["b"].uns["samples"] = pd.DataFrame({"sex": ["m", "f"]}, index=["s2", "s1"])
    two["a"].varp["peak_to_gene"] = sp.csr_matrix(np.eye(4))
    two["a"].obsm["X_z"], two["b"].obsm["X_z"] = np.ones((3, 2)), np.zeros((4, 2))
    out = ofm.concat(two)  # a warning would be an error
    rna = out.mod["rna"]
    assert rna.var["gene_id"].tolist() == ["g1", "g2"]
    np.testing.assert_array_equal(rna.varm["prior"], a.varm["prior"])
    assert rna.varm["prior"].dtype == np.float32
    np.testing.assert_array_equal(rna.varm["kmer"].toarray(), [[1], [0]])
    np.testing.assert_array_equal(rna.varp["contacts"].toarray(), [[0, 5], [5, 0]])
    np.testing.assert_array_equal(out.mod["adt"].varm["seq"], [[1], [2], [np.nan]])
    assert out.uns["genome"] == {"name": "GRCh38"}
    assert out.uns["extra"] == [1, 2]
    assert sorted(out.uns["samples"].index) == ["s1", "s2"]
    position = out.var_names.get_indexer(["A", "B", "p1", "p2"])
    np.testing.assert_array_equal(out.varp["peak_to_gene"].toarray()[np.ix_(position, position)], np.eye(4))
    assert out.obsm["X_z"].sum() == 6


def test_what_the_sets_contradict_each_other_in_is_named(two):
    a, b = two["a"].mod["rna"], two["b"].mod["rna"]
    a.var["n_cells"], b.var["n_cells"] = [1, 2], [3, 4]
    a.varm["PCs"], b.varm["PCs"] = np.ones((2, 2)), np.zeros((2, 2))
    a.varp["contacts"], b.varp["contacts"] = sp.csr_matrix(np.eye(2)), sp.csr_matrix(2 * np.eye(2))
    a.uns["log1p"], b.uns["log1p"] = {"base": 2}, {"base": None}
    a.layers["raw"] = a.X.copy()
    two["a"].obsm["X_z"] = np.ones((3, 2))
    ofm.setup(two["a"], donor_key="celltype")
    ofm.setup(two["b"], donor_key="male")
    with pytest.warns(ofm.OmicsfmWarning) as caught:
        out = ofm.concat(two)
    assert len(caught) == 1
    text = str(caught[0].message)
    for part in ("rna.var['n_cells']", "rna.varm['PCs']", "rna.varp['contacts']", "rna.uns['log1p']",
                 "rna.layers['raw']", "mdata.obsm['X_z']", "the donor key (celltype, male)"):  # fmt: skip
        assert part in text
    assert not out.mod["rna"].varm
    assert contract.check(out).ok


def test_continuous_panels_are_filled_with_nan(make_counts):
    a, b = make_counts(2, ["d1", "d2"]), make_counts(2, ["d2"], cells=["x", "y"])
    a.X, b.X = a.X.toarray(), b.X.toarray()
    out = ofm.concat({"a": _compat.make_mudata({"drugs": a}), "b": _compat.make_mudata({"drugs": b})})
    assert out.mod["drugs"].X.dtype == np.float32
    assert np.isnan(out.mod["drugs"].X[2:, 0]).all()
    assert "measured" not in out.mod["drugs"].varm


def test_inputs_are_left_as_they_were(two):
    before = {name: (contract.fingerprint(m), list(m.obs.columns), list(m.uns)) for name, m in two.items()}
    ofm.concat(two)
    assert {name: (contract.fingerprint(m), list(m.obs.columns), list(m.uns)) for name, m in two.items()} == before


def test_repeated_cells_are_refused_and_the_fix_works(good):
    other = contract.subset(good, list(good.obs_names))
    with pytest.raises(ofm.InputError, match="6 obs names of 'b' are in 'a' too, such as 'c0'") as error:
        ofm.concat({"a": good, "b": other}, batch_key="study")
    mdatas = {"a": good, "b": other}
    with _compat.silent():
        exec(str(error.value).split("Fix: ")[1], {"mdatas": mdatas})
    out = ofm.concat(mdatas, batch_key="study")
    assert out.n_obs == 12
    assert contract.check(out).ok
    assert out.obsm["modality_mask"].loc["b_c0"].tolist() == [True, False]


def test_bad_input(good, make_counts):
    with pytest.raises(ofm.InputError, match="needed a dictionary"):
        ofm.concat([good])
    with pytest.raises(ofm.InputError, match="found an AnnData"):
        ofm.concat({"a": good.mod["rna"]})
    with pytest.raises(ofm.InputError, match="column 'batch' in obs already"):
        ofm.concat({"a": good})
    foo = _compat.make_mudata({"foo": make_counts(2, ["F"], cells=["f0", "f1"])})
    with pytest.raises(ofm.InputError, match="modality 'foo' has no recipe"):
        ofm.concat({"a": foo})
    with pytest.raises(ofm.InputError, match="the recipe of 'rna': continuous, rna"):
        other = _compat.make_mudata({"rna": make_counts(2, ["F"], cells=["f0", "f1"])})
        ofm.setup(other, modalities={"rna": "continuous"})
        ofm.concat({"a": good, "b": other}, batch_key="study")
    with pytest.raises(ofm.InputError, match="the organism: human, mouse"):
        other = _compat.make_mudata({"rna": make_counts(2, ["F"], cells=["f0", "f1"])})
        ofm.setup(other, organism="mouse")
        ofm.setup(good, organism="human")
        ofm.concat({"a": good, "b": other}, batch_key="study")
    with _compat.silent():
        twice = AnnData(np.ones((2, 2)), var=pd.DataFrame(index=["A", "A"]))
    with pytest.raises(ofm.InputError, match="var names more than once"):
        ofm.concat({"a": _compat.make_mudata({"rna": twice})})


def test_backed_inputs(good, tmp_path):
    del good.obs["batch"]
    backed = io.read(io.write(good, tmp_path / "x.h5mu"), backed=True)
    out = ofm.concat({"a": backed})
    backed.file.close()
    np.testing.assert_array_equal(_dense(out.mod["rna"].X), _dense(good.mod["rna"].X))


def test_two_real_panels(omicsfm_data):
    mdatas = {}
    for name in ("5k", "10k"):
        adata = io.read(omicsfm_data / f"pbmc_cite_scvi/pbmc_{name}_protein_v3.h5ad").mod["rna"]
        protein = adata.obsm.pop("protein_expression")
        names = adata.uns.pop("protein_names") if "protein_names" in adata.uns else protein.columns
        adata.var = adata.var[[]]
        adata.obs_names = [f"{name}_{cell}" for cell in adata.obs_names]
        with _compat.silent():
            adt = AnnData(
                sp.csr_matrix(np.asarray(protein, dtype=np.float32)),
                obs=adata.obs[[]],
                var=pd.DataFrame(index=[f"protein:{n}" for n in names]),
            )
        mdatas[name] = _compat.make_mudata({"rna": adata, "protein": adt})
    out = ofm.concat(mdatas)
    ofm.setup(out, organism="human")
    table = out.mod["protein"].varm["measured"]
    assert table.to_numpy().all(axis=1).sum() == 14
    assert contract.measured(out, "protein").shape == out.mod["protein"].shape
