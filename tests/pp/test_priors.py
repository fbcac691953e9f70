"""Priors of real targets, and their place in a MuData."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from mudata import MuData

import omicsfm as ofm
from omicsfm import InputError, OmicsfmWarning, _compat, contract, datasets
from omicsfm.pp import priors_of
from omicsfm.pp._priors import ANNOTATIONS, add_priors, expression_prior, target_priors

GENES = ["STAT1", "JAK2", "IFNGR1", "IRF1", "SMAD4", "BRD4", "CD274", "ACTB", "ENSG00000160255", "MYC"]


@pytest.fixture
def real(omicsfm_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMICSFM_DATA", str(omicsfm_data))


def screen(*, genes: list[str] = GENES, organism: str | None = None, control: str | None = "NT") -> MuData:
    """Counts of 200 cells: STAT1, JAK2, a pair, something that is no gene, and controls; JAK2 follows STAT1."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(4.0, (200, len(genes))).astype(np.float32)
    counts[:, 1] = counts[:, 0] + rng.poisson(1.0, 200)
    cells = [f"c{i}" for i in range(200)]
    with _compat.silent():
        rna = AnnData(counts, obs=pd.DataFrame(index=cells), var=pd.DataFrame(index=genes))
    names = np.array(["NT", "STAT1", "JAK2", "JAK2+STAT1", "nothing9"])[np.arange(200) % 5]
    mdata = _compat.make_mudata({"rna": rna}, pd.DataFrame({"guide": names}, index=cells))
    ofm.setup(mdata, perturbation_key="guide", control=control, organism=organism)
    return mdata


def test_replogle_targets_are_known_in_the_shares_measured(real: None) -> None:
    obs = datasets.load("replogle22_k562_rpe1_sigrecon", progress=False).obs
    targets = obs["perturbation"].unique()
    with pytest.warns(
        OmicsfmWarning, match=r"nothing is known of 4 of 585 targets \(C14orf178, CCDC84, GUCD1, TTC27\)"
    ):
        found = target_priors(targets)
    known = {name: len(prior) for name, prior in found.items()}
    assert known == {"go_bp": 572, "go_mf": 522, "go_cc": 538, "pathways": 511, "hallmark": 207, "regulon": 191}
    for prior in found.values():
        x = prior.to_numpy(dtype=float)
        assert prior.shape[1] <= 500 and np.isfinite(x).all()
        length = np.linalg.norm(x, axis=1)
        assert length.max() < 1 + 1e-5 and length.min() > 0.8
    go = found["pathways"]
    nearest = (go @ go.loc["RPL10A"]).drop("RPL10A").nlargest(10)
    assert nearest.index.str.startswith("RP").all()  # other ribosomal proteins


def test_combinations_stand_for_their_members_and_nothing_for_controls(real: None) -> None:
    found = target_priors(["STAT1+JAK2", "control", "stat1", "ENSG00000115415"], names=("hallmark", "regulon"))
    for prior in found.values():
        assert set(prior.index) <= {"JAK2", "STAT1", "stat1", "ENSG00000115415"}
    row = found["regulon"].loc
    np.testing.assert_array_equal(row["STAT1"], row["stat1"])
    np.testing.assert_array_equal(row["STAT1"], row["ENSG00000115415"])


def test_priors_in_a_mudata_are_missing_not_zero_and_survive_the_disk(real: None, tmp_path: Path) -> None:
    mdata = screen(organism="human")
    with pytest.warns(OmicsfmWarning, match=r"nothing is known of 1 of 3 targets \(nothing9\)"):
        add_priors(mdata)
    guides = mdata.mod["guide"]
    assert list(guides.var["target"]) == ["JAK2", "STAT1", "control", "nothing9"]
    for name in (*ANNOTATIONS, "expression"):
        values = guides.varm[f"prior_{name}"]
        assert values.dtype == np.float32
        assert np.isfinite(values).all(axis=1).tolist() == [True, True, False, False]
        assert np.isnan(values[2:]).all()
    assert set(priors_of(mdata)["go_bp"].index) == {"JAK2", "STAT1"}
    again = ofm.io.read(ofm.io.write(mdata, tmp_path / "x.h5mu"))
    for key, values in guides.varm.items():
        np.testing.assert_array_equal(again.mod["guide"].varm[key], values)
    assert contract.check(again).ok
    told = again.uns["omicsfm"]["priors"]["go_bp"]
    assert told["n_known"] == 2 and told["n_targets"] == 3 and "go_dag_parents" in told["source"]
    files = {file.name: file.sha256 for file in datasets.info("priors").files}
    assert told["sha256"].split(", ") == [files[name] for name in told["source"].split(", ")]
    step = contract.history(again)[-1]
    assert step["step"] == "pp.add_priors" and step["params"]["seed"] == 0
    ofm.setup(again, label_key="guide")
    assert set(again.uns["omicsfm"]["priors"]) == {*ANNOTATIONS, "expression"}


def test_real_guides_of_one_target_agree_and_controls_have_none(real: None) -> None:
    mdata = datasets.load("papalexi21_thp1_eccite_sceptredata", progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        add_priors(mdata, ("go_bp", "hallmark", "expression"))
    var, varm = mdata.mod["guide"].var, mdata.mod["guide"].varm
    go = pd.DataFrame(varm["prior_go_bp"], index=var["target"].astype(str))
    assert go.notna().all(axis=1).equals(go.index.to_series() != "non-targeting")  # MARCH8 too, now MARCHF8
    assert (go.dropna().groupby(level=0).nunique() == 1).all(axis=None)
    assert mdata.uns["omicsfm"]["priors"]["go_bp"]["n_known"] == 26
    assert mdata.uns["omicsfm"]["priors"]["expression"]["n_known"] == 9
    assert varm["prior_expression"].shape[1] == 50


def test_expression_is_the_correlation_among_controls_alone() -> None:
    mdata = screen()
    found = expression_prior(mdata)
    x = mdata.mod["rna"].X[mdata.obs["guide"] == "NT"]
    logged = np.log1p(x / x.sum(axis=1, keepdims=True) * 1e4)
    r = np.corrcoef(logged[:, 0], logged[:, 1])[0, 1]
    assert set(found.index) == {"STAT1", "JAK2"}
    n = len(x)  # all components: the correlation itself (variances over n - 1, lengths over n)
    assert found.loc["STAT1"] @ found.loc["JAK2"] * (n - 1) / n == pytest.approx(r, abs=1e-5)
    mdata.mod["rna"].X[(mdata.obs["guide"] != "NT").to_numpy()] += 50
    pd.testing.assert_frame_equal(found, expression_prior(mdata))


def test_targets_are_found_among_genes_by_case_and_id() -> None:
    mdata = screen(genes=["Stat1", "ENSG00000096968", *GENES[2:]])
    assert set(expression_prior(mdata).index) == {"STAT1"}
    mdata.mod["rna"].var["symbol"] = ["x", "JAK2", *GENES[2:]]
    assert set(expression_prior(mdata).index) == {"STAT1", "JAK2"}


def test_other_species_get_no_human_prior(real: None) -> None:
    mouse = ["Stat1", "Jak2", "Ifngr1", "Irf1", "Smad4", "Brd4", "Cd274", "Actb", "Gapdh", "Myc"]
    with pytest.raises(InputError, match="go_bp are priors on human genes, found organism 'mouse'"):
        add_priors(screen(genes=mouse, organism="mouse"), ("go_bp", "expression"))
    with pytest.raises(InputError, match="hallmark are priors on human genes, found gene symbols written as in mouse"):
        add_priors(screen(genes=mouse), ("hallmark",))
    mdata = screen(genes=mouse, organism="mouse")
    with pytest.warns(OmicsfmWarning):
        add_priors(mdata, ("expression",))
    assert set(mdata.mod["guide"].varm) == {"prior_expression"}


def test_a_prior_that_knows_nothing_is_not_written(real: None) -> None:
    with pytest.warns(OmicsfmWarning, match="nothing is known of 2 of 2 targets"):
        assert target_priors(["dasatinib", "JQ1"], names=("hallmark", "text")) == {}
    mdata = screen()
    with pytest.warns(OmicsfmWarning, match="nothing is known of 3 of 3 targets"):
        add_priors(mdata, ("text",))
    assert not mdata.mod["guide"].varm
    assert mdata.uns["omicsfm"]["priors"] == {}


@pytest.mark.parametrize("names", ["go_bp", (), ("go_bp", "string")])
def test_names_of_priors_are_checked(names: object) -> None:
    with pytest.raises(InputError, match=r"target_priors: names needs a list of \['go_bp', 'go_mf'"):
        target_priors(["STAT1"], names)
    with pytest.raises(InputError, match=r"add_priors: names needs .*'expression'"):
        add_priors(screen(), names)


def test_what_is_missing_is_said() -> None:
    with pytest.raises(InputError, match="add_priors: there is no guide modality"):
        add_priors(screen(control=None), ("expression",))
    mdata = screen()
    with pytest.raises(InputError, match="expression_prior: there is no modality 'atac'"):
        expression_prior(mdata, "atac")
    mdata.obs["guide"] = "STAT1"
    with pytest.raises(InputError, match="expression_prior: 2 controls or more are needed, found 0"):
        expression_prior(mdata)
