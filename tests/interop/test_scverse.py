"""What comes out goes on in scanpy, muon, scvi-tools, decoupler and pertpy."""

from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import NearestNeighbors

import omicsfm as ofm
from omicsfm.testing import toy_screen

# mudata 0.3 puts NA into a table of booleans in obsm (our mask) whenever it updates; nothing is lost.
old_mudata = pytest.mark.filterwarnings("ignore:Setting an item of incompatible dtype:FutureWarning")


def test_neighbors_of_scanpy_are_those_of_the_state(result):
    import scanpy as sc

    sc.pp.neighbors(result, use_rep="X_mosaic", n_neighbors=10)
    found = result.obsp["distances"]
    state = result.obsm["X_mosaic"]
    exact = NearestNeighbors(n_neighbors=10).fit(state).kneighbors(state, return_distance=False)[:, 1:]
    shared = [len({*found[i].indices} & {*exact[i]}) for i in range(result.n_obs)]
    assert np.mean(shared) / 9 > 0.95
    assert result.uns["neighbors"]["params"]["use_rep"] == "X_mosaic"


@old_mudata
def test_muon_filters_and_our_answers_follow_their_cells(result):
    import muon

    before = pd.DataFrame(result.obsm["X_mosaic"], index=result.obs_names)
    paired = ofm.modality_mask(result).all(axis=1)
    muon.pp.intersect_obs(result)
    assert set(result.obs_names) == set(paired.index[paired])
    np.testing.assert_array_equal(before.loc[result.obs_names], result.obsm["X_mosaic"])
    assert ofm.modality_mask(result).to_numpy().all()
    assert ofm.check(result).ok


@old_mudata
def test_muon_result_goes_to_and_fro_on_disk(result, tmp_path):
    import mudata

    ofm.io.write(result, tmp_path / "a.h5mu")
    theirs = mudata.read_h5mu(tmp_path / "a.h5mu")
    np.testing.assert_array_equal(theirs.obsm["X_mosaic"], result.obsm["X_mosaic"])
    mudata.write_h5mu(tmp_path / "b.h5mu", theirs)
    ours = ofm.io.read(tmp_path / "b.h5mu")
    assert ofm.check(ours).ok
    pd.testing.assert_frame_equal(ofm.modality_mask(ours), ofm.modality_mask(result))


def test_scvi_tools_takes_a_modality_with_what_we_added(result):
    scvi = pytest.importorskip("scvi")
    rna = result["rna"].copy()
    rna.obs["label"] = result.obs["label_mosaic"].iloc[ofm.contract.rows(result, "rna")].astype(str).to_numpy()
    rna.obs["batch"] = result.obs["batch"].iloc[ofm.contract.rows(result, "rna")].astype(str).to_numpy()
    scvi.model.SCANVI.setup_anndata(rna, labels_key="label", unlabeled_category="unknown", batch_key="batch")
    model = scvi.model.SCANVI(rna, n_latent=3, n_hidden=8)
    assert model.summary_stats.n_batch == 2
    assert model.summary_stats.n_cells == rna.n_obs


@old_mudata
def test_totalvi_is_set_up_on_the_paired_cells(result):
    scvi = pytest.importorskip("scvi")
    counted = np.asarray(result["rna"].X.sum(axis=1)).ravel() > 0  # one cell of the toy has no RNA counts
    names = result["rna"].obs_names[counted].intersection(result["protein"].obs_names)
    paired = ofm.contract.subset(result, names)
    for adata in paired.mod.values():
        adata.obs["batch"] = paired.obs["batch"].loc[adata.obs_names].astype(str)
    scvi.model.TOTALVI.setup_mudata(
        paired, batch_key="batch", modalities={"rna_layer": "rna", "protein_layer": "protein", "batch_key": "rna"}
    )
    model = scvi.model.TOTALVI(paired, n_latent=3, n_hidden=8, empirical_protein_background_prior=False)
    assert model.summary_stats.n_proteins == 15


def wide() -> pd.DataFrame:
    """Effects as decoupler wants them: perturbations x genes, float, no missing value."""
    effects = ofm.tl.perturbation_effects(toy_screen())
    one = effects[effects["context"] == "T"]
    return one.pivot(index="perturbation", columns="gene", values="effect")


def test_effects_become_the_matrix_that_decoupler_takes():
    table = wide()
    assert table.to_numpy().dtype.kind == "f"
    assert np.isfinite(table.to_numpy()).all()
    assert table.index.is_unique and table.columns.is_unique
    assert {"A", "F", "A+B"} <= set(table.index)


@pytest.mark.skipif(importlib.util.find_spec("decoupler") is None, reason="decoupler is not installed")
def test_decoupler_scores_them():
    import decoupler

    table = wide()
    net = pd.DataFrame({"source": "S", "target": table.columns[:10], "weight": 1.0})
    scores = decoupler.mt.ulm(table, net, tmin=3)[0]
    assert list(scores.index) == list(table.index)


@pytest.mark.skipif(importlib.util.find_spec("pertpy") is None, reason="pertpy is not installed")
def test_pertpy_reads_perturbations_from_obs():
    pertpy = pytest.importorskip("pertpy", exc_type=ImportError)
    screen = toy_screen()
    rna = screen["rna"].copy()
    rna.obs["perturbation"] = ofm.contract.perturbations(screen)["perturbation"].loc[rna.obs_names].astype(str)
    bulk = pertpy.tl.PseudobulkSpace().compute(rna, target_col="perturbation", mode="mean", layer_key=None)
    assert set(bulk.obs_names) == set(rna.obs["perturbation"])
