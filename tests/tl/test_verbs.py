"""Verbs write what the model says, where the CLI writes it; it survives update and files; models are fitted once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from omicsfm import InputError, _compat, contract, io, testing, tl
from omicsfm.models import CCA, KNNLabels, LinearMosaic, ModalityPCA, stack
from omicsfm.models.stack import Stack

pytestmark = pytest.mark.filterwarnings("ignore::omicsfm.OmicsfmWarning")


@pytest.fixture
def toy():
    return testing.toy_mosaic()


def test_one_model_serves_all_three(toy, monkeypatch):
    monkeypatch.setattr(stack, "AUTO", ("NotYetWritten", "LinearMosaic", "CCA", "MeanKNNRidge"))
    model = tl.integrate(toy)
    assert isinstance(model, Stack) and model.members == ("LinearMosaic", "CCA", "MeanKNNRidge")
    monkeypatch.setattr(Stack, "fit", None)  # nothing may be fitted again
    assert tl.impute(toy, "protein", model) is model and tl.annotate(toy, model) is model
    mean, sd = model.embed(toy, return_sd=True)
    np.testing.assert_array_equal(toy.obsm["X_mosaic"], mean.astype(np.float32))
    np.testing.assert_array_equal(toy.obsm["X_mosaic_sd"], sd.astype(np.float32))
    found = model.impute(toy, "protein")
    for end, table in {"": found.mean, "_sd": found.sd, "_lower": found.lower, "_upper": found.upper}.items():
        stored = toy.obsm[f"imputed_protein{end}"]
        pd.testing.assert_frame_equal(stored, table.astype(np.float32), check_column_type=False)
    labels = model.annotate(toy)
    assert toy.obs["label_mosaic"].astype(str).tolist() == labels["label"].tolist()
    assert toy.obs["label_mosaic_unknown"].tolist() == labels["unknown"].tolist()
    np.testing.assert_allclose(toy.obs["label_mosaic_confidence"], labels["confidence"], atol=1e-6)
    steps = contract.history(toy)
    assert [s["step"] for s in steps] == ["setup", "embed", "impute", "annotate"]
    assert steps[1]["params"]["model"] == "Stack" and steps[1]["params"]["weights"] == model.weights_
    assert steps[1]["params"]["params"]["seed"] == 0


@pytest.mark.parametrize("suffix", [".h5mu", ".zarr"])
def test_what_is_written_survives(toy, suffix, tmp_path):
    model = tl.integrate(toy, "LinearMosaic", key_added="X_mine")
    tl.impute(toy, "rna", model)
    tl.annotate(toy, model, key_added="kind")
    before = {key: np.asarray(toy.obsm[key]) for key in toy.obsm if key != "modality_mask" and key not in toy.mod}
    assert {"X_mine", "X_mine_sd", "imputed_rna", "imputed_rna_sd", "imputed_rna_lower"} <= set(before)
    with _compat.silent():
        toy.update()
    found = io.read(io.write(toy, tmp_path / f"toy{suffix}"))
    for mdata in (toy, found):
        for key, value in before.items():
            np.testing.assert_array_equal(np.asarray(mdata.obsm[key]), value)
        assert {"kind", "kind_confidence", "kind_unknown"} <= set(mdata.obs.columns)
        assert contract.modality_mask(mdata).to_numpy().sum() == contract.modality_mask(toy).to_numpy().sum()
    assert list(found.obsm["imputed_rna"].columns) == list(toy.mod["rna"].var_names)
    part = contract.subset(toy, np.arange(10))
    np.testing.assert_array_equal(part.obsm["imputed_rna"], before["imputed_rna"][:10])


def test_setup_is_not_needed_where_names_say_it_all(toy):
    del toy.uns["omicsfm"], toy.obsm["modality_mask"]
    model = tl.integrate(toy, "LinearMosaic")
    tl.impute(toy, "protein", model)
    with _compat.silent():
        toy.update()
    contract.subset(toy, np.arange(20)[::-1])
    assert toy.obsm["imputed_protein"].notna().all(axis=None)
    with pytest.raises(InputError, match="no labels to learn from"):
        tl.annotate(toy)
    with pytest.raises(InputError, match="its name does not say"):
        tl.integrate(_compat.make_mudata({"mystery": toy.mod["rna"].copy()}))


def test_a_view_is_made_real(toy):
    model = LinearMosaic().fit(toy)
    view = toy[np.arange(30)]
    tl.integrate(view, model)
    assert view.obsm["X_mosaic"].shape[0] == 30 and "X_mosaic" not in toy.obsm


def test_model_by_name_instance_or_fitted(toy):
    by_name = tl.integrate(toy, "CCA", seed=3)
    assert by_name.seed == 3 and "X_mosaic_sd" not in toy.obsm
    mine = CCA(4)
    assert tl.integrate(toy, mine) is mine and toy.obsm["X_mosaic"].shape[1] == 4
    tl.integrate(toy, LinearMosaic())
    assert "X_mosaic_sd" in toy.obsm
    tl.integrate(toy, mine)
    assert "X_mosaic_sd" not in toy.obsm  # it was the other model's
    assert isinstance(tl.annotate(toy, "KNNLabels"), KNNLabels)
    assert "weights" not in contract.history(toy)[-1]["params"]


def test_what_cannot_be_done_is_said_before_anything_is_fitted(toy, monkeypatch):
    monkeypatch.setattr(Stack, "fit", None)
    monkeypatch.setattr(CCA, "fit", None)
    with pytest.raises(InputError, match="impute: CCA cannot"):
        tl.impute(toy, "rna", "CCA")
    with pytest.raises(InputError, match="annotate: ModalityPCA cannot"):
        tl.annotate(toy, ModalityPCA())
    with pytest.raises(InputError, match="no model 'Nothing'"):
        tl.integrate(toy, "Nothing")
    with pytest.raises(InputError, match="'atac' cannot be learnt"):
        tl.impute(toy, "atac")
    with pytest.raises(InputError, match="cannot be learnt"):
        tl.impute(testing._toy.alone(toy, "rna"), "rna")
    with pytest.raises(InputError, match="needed a MuData"):
        tl.impute(toy.mod["rna"], "rna")


def test_observed_stands_beside_the_prediction(toy):
    model = tl.impute(toy, "protein", "LinearMosaic")
    found, table = model.impute(toy, "protein"), tl.observed(toy, "protein", model)
    assert list(table.columns) == list(toy.obsm["imputed_protein"].columns) and table.index.equals(toy.obs_names)
    has = contract.modality_mask(toy)["protein"].to_numpy()
    assert 0 < has.sum() < toy.n_obs and table[~has].isna().to_numpy().all()
    raw = toy.mod["protein"]  # in an order of its own: each cell must get its own row
    for cell in (raw.obs_names[0], raw.obs_names[-1]):
        own = raw[cell].X
        expected = found.transform(own)[0]
        np.testing.assert_allclose(table.loc[cell], expected)
        assert not np.allclose(table.loc[cell], found.transform(raw[raw.obs_names[1]].X)[0])
    hidden = contract.hide(toy, "protein", has & (np.arange(toy.n_obs) % 2 == 0))
    assert (
        tl.observed(hidden, "protein", model).notna().any(axis=1).sum() == (has & (np.arange(len(has)) % 2 == 1)).sum()
    )


@pytest.mark.parametrize(("modality", "model"), [("atac", LinearMosaic()), ("protein", "LinearMosaic")])
def test_observed_needs_a_fitted_model(toy, modality, model):
    with pytest.raises(InputError, match="a fitted model is needed"):
        tl.observed(toy, modality, model)
    with pytest.raises(InputError, match="choose one of .*protein"):
        tl.observed(toy, "methylation", tl.impute(toy, "protein", "LinearMosaic"))
