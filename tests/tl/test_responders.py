"""Responding cells: told from the silent ones, never by themselves, and not where nothing can be told."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from scipy import sparse, stats

from omicsfm import _compat, contract, datasets
from omicsfm.tl._responders import cross_scores, mixture, responders


def make(x: np.ndarray, obs: pd.DataFrame) -> MuData:
    names = pd.Index([f"c{i}" for i in range(len(x))])
    var = pd.DataFrame(index=[f"g{i}" for i in range(x.shape[1])])
    mods = {"rna": ad.AnnData(sparse.csr_matrix(x), obs=pd.DataFrame(index=names), var=var)}
    mdata = _compat.make_mudata(mods, obs.set_axis(names))
    key = "context" if "context" in obs else None
    contract.setup(
        mdata, perturbation_key="condition", control="ctrl", context_key=key, modalities={"rna": "continuous"}
    )
    return mdata


@pytest.fixture(scope="module")
def screen() -> tuple[MuData, np.ndarray, pd.DataFrame]:
    """Of A 60 % respond, of "full" all; "null" does nothing, "few" are few, and ten cells have no perturbation."""
    rng = np.random.default_rng(0)
    condition = ["ctrl"] * 400 + ["A"] * 250 + ["full"] * 100 + ["null"] * 250 + ["few"] * 5 + [None] * 10
    x = rng.normal(size=(len(condition), 120))
    responds = np.zeros(len(x), dtype=bool)
    responds[400:550] = responds[650:750] = True
    x[responds, :12] += 1.5
    mdata = make(x, pd.DataFrame({"condition": condition}))
    return mdata, responds, responders(mdata).set_index("perturbation")


def test_calls_find_the_responding_cells(screen):
    mdata, responds, table = screen
    call = mdata.obs["responder"].astype(object).to_numpy()
    in_a = (mdata.obs["condition"] == "A").to_numpy()
    assert ((call == "responder") == responds)[in_a].mean() > 0.95
    assert table.loc["A", "share"] == pytest.approx(0.6, abs=0.05) and table.loc["full", "share"] > 0.97
    assert table.loc["A", "separation"] > 3 and table.loc["A", "n_genes"] >= 12 and table.loc["A", "measurable"]
    probability = mdata.obs["responder_probability"].to_numpy()
    assert ((probability[in_a] > 0.5) == (call[in_a] == "responder")).all()


def test_what_cannot_be_told_is_not_called(screen):
    mdata, _, table = screen
    obs = mdata.obs
    for name, why in (("null", "fewer than 5 genes differ"), ("few", "fewer than 20 cells")):
        own = obs["condition"] == name
        assert (obs.loc[own, "responder"] == "not measurable").all()
        assert obs.loc[own, "responder_probability"].isna().all()
        assert not table.loc[name, "measurable"] and table.loc[name, "why"].startswith(why)
    assert (obs.loc[obs["condition"] == "ctrl", "responder"] == "control").all()
    assert obs.loc[obs["condition"].isna(), "responder"].isna().all()
    assert contract.history(mdata)[-1]["step"] == "responders"


def test_context_without_controls_has_a_row_and_no_calls():
    rng = np.random.default_rng(1)
    condition, context = ["ctrl"] * 50 + ["A"] * 50 + ["A"] * 30, ["x"] * 100 + ["y"] * 30
    x = rng.normal(size=(130, 30))
    x[50:, :8] += 2
    mdata = make(x, pd.DataFrame({"condition": condition, "context": context}))
    table = responders(mdata).set_index("context")
    assert table.loc["x", "measurable"] and not table.loc["y", "measurable"]
    assert table.loc["y", "why"] == "no controls in its context" and table.loc["y", "n_cells"] == 30
    assert (mdata.obs["responder"][100:] == "not measurable").all()


def test_scores_of_nothing_lean_to_no_side_though_those_of_training_do():
    """The direction fits the noise of the cells it was learnt from; held-out cells must not gain by it."""
    difference, own = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, is_a = rng.normal(size=(200, 300)), np.arange(200) < 100
        score = cross_scores(x, is_a, rng)
        difference.append(stats.ttest_ind(score[is_a], score[~is_a]).statistic)
        direction = x[is_a].mean(0) - x[~is_a].mean(0)
        own.append(stats.ttest_ind(x[is_a] @ direction, x[~is_a] @ direction).statistic)
    assert abs(np.mean(difference)) < 1.2 and np.mean(own) > 10


def test_scores_are_in_units_of_the_effect():
    rng = np.random.default_rng(2)
    x, is_a = rng.normal(size=(600, 50)), np.arange(600) < 300
    x[is_a, :10] += 2.0
    for scale in (1.0, 7.0):
        for given in (x * scale + 3, sparse.csr_matrix(x * scale + 3)):
            score = cross_scores(given, is_a, np.random.default_rng(0))
            assert score[is_a].mean() == pytest.approx(1, abs=0.05)
            assert score[~is_a].mean() == pytest.approx(0, abs=0.05)


def test_mixture_holds_to_the_controls_and_rises_with_the_score():
    rng = np.random.default_rng(3)
    control = rng.normal(0, 1, 2000)
    perturbed = np.concatenate([rng.normal(0, 1, 300), rng.normal(4, 2, 700)])
    probability, separation = mixture(perturbed, control)
    assert probability.mean() == pytest.approx(0.7, abs=0.05) and separation == pytest.approx(4, abs=0.4)
    assert (np.diff(probability[np.argsort(perturbed)]) >= 0).all() and probability[perturbed < -2].max() < 0.3


def test_papalexi_interferon_pathway_responds_and_the_null_half_is_left_alone(omicsfm_data, monkeypatch):
    monkeypatch.setenv("OMICSFM_DATA", str(omicsfm_data))
    mdata = datasets.load("papalexi21_thp1_eccite_sceptredata")
    contract.setup(mdata, perturbation_key="target", control="non-targeting", replicate_key="bio_rep")
    table = responders(mdata).set_index("perturbation")
    assert (table.loc[["IFNGR1", "IFNGR2", "JAK2", "STAT1", "SMAD4", "IRF1"], "share"] > 0.6).all()
    assert not table.loc[["CAV1", "CD86", "ATF2", "MARCH8", "ETV7", "PDCD1LG2"], "measurable"].any()
