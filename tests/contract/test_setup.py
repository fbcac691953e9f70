"""setup(): what it writes, what it never touches, and that it fails in one piece."""

from __future__ import annotations

import hashlib

import mudata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import omicsfm as ofm
from omicsfm import _compat, contract, io


def _bytes(X) -> str:
    arrays = [X.data, X.indices, X.indptr] if sp.issparse(X) else [X]
    text = "".join(f"{a.dtype}{a.shape}{hashlib.sha256(a.tobytes()).hexdigest()}" for a in map(np.asarray, arrays))
    return f"{type(X).__name__}{text}"


@settings(max_examples=60)
@given(data=st.data())
def test_any_mosaic_is_set_up_and_its_x_stays_bit_for_bit(data, draw_mosaic):
    mosaic = data.draw(draw_mosaic()).build()
    mdata = mosaic.mdata
    before = {mod: (id(adata.X), _bytes(adata.X)) for mod, adata in mdata.mod.items()}
    ofm.setup(mdata, batch_key="batch", label_key="celltype")
    assert {mod: (id(adata.X), _bytes(adata.X)) for mod, adata in mdata.mod.items()} == before
    mask = mdata.obsm["modality_mask"]
    pd.testing.assert_frame_equal(mask, mosaic.truth.loc[mdata.obs_names], check_names=False)
    assert {mod: contract.recipe_of(mdata, mod) for mod in mdata.mod} == mosaic.recipes
    assert contract.check(mdata).ok
    assert contract.labels(mdata).isna().sum() == mdata.obs["celltype"].isna().sum()


def test_the_record_holds_keys_recipes_and_history(good):
    ofm.setup(good, batch_key="batch", organism="Homo sapiens")
    state = good.uns["omicsfm"]
    assert state["schema_version"] == 1
    assert state["keys"] == {"batch": "batch"}
    assert state["modalities"] == {"rna": "rna", "protein": "protein"}
    assert state["organism"] == "human"
    assert [step["step"] for step in contract.history(good)] == ["setup"]


def test_a_second_call_replaces_what_is_given_and_keeps_the_rest(good):
    good.obs["donor"] = "d1"
    ofm.setup(good, batch_key="batch", modalities={"protein": "continuous"}, organism="human")
    ofm.setup(good, label_key="celltype", batch_key="donor")
    assert contract.keys(good) == contract.Keys(batch="donor", label="celltype")
    assert contract.recipe_of(good, "protein") == "continuous"
    assert contract.organism_of(good) == "human"
    assert len(contract.history(good)) == 2


def test_a_failed_setup_lists_everything_and_changes_nothing(good):
    good.mod["rna"].X[0, 0] = -1
    good.mod["rna"].var["chr"] = "chr1"
    before = contract.fingerprint(good)
    with pytest.raises(ofm.InputError) as error:
        ofm.setup(good, batch_key="batsh", label_key="nope", modalities={"protein": "prot", "atac": "atac"})
    text = str(error.value)
    assert text.startswith("setup: 5 problems")
    for part in ("batch_key", "did you mean 'batch'?", "'nope'", "unknown recipe 'prot'", "no modality 'atac'", "-1"):
        assert part in text
    assert "omicsfm" not in good.uns
    assert "modality_mask" not in good.obsm
    assert "chrom" not in good.mod["rna"].var
    assert contract.fingerprint(good) == before


def test_genome_columns_are_stored_under_our_names(good):
    rna = good.mod["rna"]
    rna.var["Chromosome"], rna.var["Start"], rna.var["gene_ids"] = "chr2", 5, ["g1", "g2", "g3"]
    ofm.setup(good)
    assert list(rna.var["chrom"]) == ["chr2"] * 3
    assert list(rna.var["start"]) == [5] * 3
    assert list(rna.var["gene_id"]) == ["g1", "g2", "g3"]
    assert "Chromosome" in rna.var  # other tools still find theirs
    assert "chrom" not in good.mod["protein"].var


def test_an_existing_chrom_is_not_overwritten(good):
    good.mod["rna"].var["chrom"], good.mod["rna"].var["chr"] = "chr1", "chr9"
    ofm.setup(good)
    assert set(good.mod["rna"].var["chrom"]) == {"chr1"}


def test_a_view_becomes_its_own_and_its_parent_stays(good):
    ofm.setup(good, batch_key="batch")
    parent = good.uns["omicsfm"]
    view = good[["c5", "c2"]]
    ofm.setup(view, label_key="celltype")
    assert good.uns["omicsfm"] is parent
    assert contract.keys(good).label is None
    assert contract.keys(view) == contract.Keys(batch="batch", label="celltype")
    assert list(view.obsm["modality_mask"].index) == ["c5", "c2"]
    assert view.obsm["modality_mask"].to_numpy().tolist() == [[False, True], [True, True]]


def test_a_backed_mudata_is_set_up_with_x_left_on_disk(good, tmp_path):
    path = io.write(good, tmp_path / "x.h5mu")
    backed = io.read(path, backed=True)
    ofm.setup(backed, batch_key="batch")
    assert backed.isbacked
    assert backed.obsm["modality_mask"].sum().to_dict() == {"rna": 4, "protein": 4}
    with pytest.raises(ofm.InputError, match="view of a backed"):
        ofm.setup(backed[["c2", "c3"]])
    backed.file.close()


def test_a_stale_mask_is_rebuilt(good):
    good.obsm["modality_mask"] = pd.DataFrame(True, index=good.obs_names, columns=["rna", "protein"])
    assert contract.modality_mask(good).to_numpy().sum() == 8
    ofm.setup(good)
    assert good.obsm["modality_mask"].to_numpy().sum() == 8


@pytest.mark.skipif(not hasattr(mudata, "set_options"), reason="the option is of mudata 0.3")
@pytest.mark.parametrize("chosen", [None, True, False])
def test_the_option_of_mudata_is_adopted_unless_the_user_chose(good, chosen):
    before = mudata.set_options(pull_on_update=chosen).opts["pull_on_update"]
    try:
        ofm.setup(good)
        with _compat.silent():
            after = mudata.set_options(pull_on_update=chosen).opts["pull_on_update"]
    finally:
        mudata.set_options(pull_on_update=before)
    assert after is (False if chosen is None else chosen)


def test_named_indices_and_a_measured_cell_of_zeros(make_counts):
    rna, protein = make_counts(3, ["A", "B"]), make_counts(2, ["p"], cells=["c1", "c9"])
    rna.X.data[rna.X.indptr[1] : rna.X.indptr[2]] = 0
    rna.obs.index.name, protein.obs.index.name = "cell", "barcode"
    mdata = _compat.make_mudata({"rna": rna, "protein": protein})
    mdata.obs["batch"] = "x"
    ofm.setup(mdata, batch_key="batch")
    with _compat.silent():
        assert mdata[["c9", "c1"]].copy().n_obs == 2  # mudata 0.3 fails on named indices
    assert mdata.obsm["modality_mask"].loc["c1"].all()
    assert any("1 measured cells hold nothing but zeros" in note for note in contract.check(mdata).notes)
    assert contract.subset(mdata, ["c1"]).n_obs == 1
