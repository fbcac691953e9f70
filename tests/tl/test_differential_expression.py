"""Differential expression: each perturbation against the controls of its own context, and nothing else."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from scipy import sparse
from scipy.stats import false_discovery_control, mannwhitneyu

from omicsfm import InputError, _compat, contract, datasets
from omicsfm.tl._differential_expression import differential_expression

GENES = [f"g{i}" for i in range(30)]


def make(x: np.ndarray, obs: pd.DataFrame, recipe: str = "rna", control: str = "ctrl") -> MuData:
    var = pd.DataFrame(index=[f"g{i}" for i in range(x.shape[1])])
    mods = {"rna": ad.AnnData(x, obs=pd.DataFrame(index=obs.index), var=var)}
    mdata = _compat.make_mudata(mods, obs)
    key = "line" if "line" in obs else None
    recipes = {"rna": recipe}
    contract.setup(mdata, perturbation_key="condition", control=control, context_key=key, modalities=recipes)
    return mdata


@pytest.fixture(scope="module")
def cells() -> tuple[np.ndarray, pd.DataFrame]:
    """Two contexts that differ a lot; "A" raises g0 to g4 in both. g29 is never seen, g28 only in the context "y".

    Cells without a perturbation or a context, and the context "z" without controls, have other counts altogether.
    """
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {
            "condition": ["ctrl", "A", "B+A", "ctrl", None] * 60,
            "line": ["x"] * 140 + ["y"] * 110 + ["z"] * 30 + [None] * 20,
        },
        index=[f"c{i}" for i in range(300)],
        dtype=object,
    )
    obs.loc[(obs["line"] == "z") & (obs["condition"] == "ctrl"), "condition"] = "A"
    rate = np.exp(rng.normal(size=30)) * np.where(obs["line"] == "y", rng.uniform(0.3, 3, (30, 1)), 1).T
    rate[obs["condition"] == "A", :5] *= 4
    rate[(obs["condition"].isna() | ~obs["line"].isin(["x", "y"])).to_numpy()] *= np.linspace(0, 20, 30)
    rate[:, 29] = 0
    rate[obs["line"] != "y", 28] = 0
    return rng.poisson(rate * rng.lognormal(0, 0.5, (300, 1))).astype(np.float32), obs


@pytest.fixture
def screen(cells) -> MuData:
    return make(sparse.csr_matrix(cells[0]), cells[1])


def cp10k(mdata: MuData) -> np.ndarray:
    x = mdata.mod["rna"].X.toarray().astype(float)
    return 1e4 * x / np.maximum(x.sum(axis=1, keepdims=True), 1)


def by_hand(mdata: MuData, treated: np.ndarray, control: np.ndarray) -> pd.DataFrame:
    x = cp10k(mdata)
    with np.errstate(invalid="ignore"):
        rank = np.log1p(x).astype(np.float32).astype(np.float64)
        p = mannwhitneyu(rank[treated], rank[control], use_continuity=False, method="asymptotic").pvalue
    change = np.log2((x[treated].mean(axis=0) + 1) / (x[control].mean(axis=0) + 1))
    out = pd.DataFrame({"log2_fold_change": change, "p": p, "q": np.nan}, index=GENES)
    seen = x[treated | control].any(axis=0)
    out.loc[~seen, "p"] = np.nan
    out.loc[seen, "q"] = false_discovery_control(out.loc[seen, "p"])
    return out


@pytest.mark.parametrize("by_context", [True, False])
def test_is_what_scipy_finds_on_the_cells_of_one_context(screen, by_context):
    found = differential_expression(screen, by_context=by_context)
    columns = ["perturbation", "context", "gene", "log2_fold_change", "statistic", "p", "q", "n_cells"]
    assert found.columns.tolist() == columns
    contexts = ["x", "y"] if by_context else ["all"]
    units = found[["perturbation", "context"]].drop_duplicates().to_numpy().tolist()
    assert units == [[name, context] for name in ("A", "A+B") for context in contexts]
    for (name, context), table in found.groupby(["perturbation", "context"], observed=True):
        assert table["gene"].tolist() == GENES
        here = (screen.obs["line"] == context).to_numpy() if by_context else np.ones(300, dtype=bool)
        treated = here & (screen.obs["condition"] == {"A": "A", "A+B": "B+A"}[name]).to_numpy()
        control = here & (screen.obs["condition"] == "ctrl").to_numpy()
        expected = by_hand(screen, treated, control)
        got = table.set_index(table["gene"].astype(str))[["log2_fold_change", "p", "q"]]
        pd.testing.assert_frame_equal(got, expected, rtol=1e-9, check_names=False)
        assert (table["n_cells"] == treated.sum()).all()
        if name == "A":
            assert (table[["log2_fold_change", "statistic"]].head(5) > 0).all(axis=None)


def test_a_gene_that_is_nowhere_is_not_tested_and_weighs_on_no_other(screen):
    found = differential_expression(screen).set_index(["context", "gene"]).sort_index()
    assert found.loc[[("x", "g28"), ("x", "g29"), ("y", "g29")], ["statistic", "p", "q"]].isna().all(axis=None)
    assert (found.loc[[("x", "g28"), ("x", "g29")], "log2_fold_change"] == 0).all()
    assert found.loc[("y", "g28"), "q"].notna().all()


def test_equal_shares_of_cells_of_unequal_depth_are_ties():
    depth = np.arange(1, 121)
    x = depth[:, None] * np.array([1, 2, 7])
    obs = pd.DataFrame({"condition": ["ctrl", "A"] * 60}, index=[f"c{i}" for i in range(120)])
    found = differential_expression(make(x.astype(np.float32), obs))
    assert (found["statistic"] == 0).all() and (found["p"] == 1).all()


def test_what_is_no_count_is_ranked_and_has_no_fold_change(screen, cells):
    logged = np.log1p(cp10k(screen)).astype(np.float32)
    counted = differential_expression(screen).drop(columns="log2_fold_change")
    for x in (logged, sparse.csr_matrix(logged)):
        found = differential_expression(make(x, cells[1], "continuous"))
        assert found.pop("log2_fold_change").isna().all()
        pd.testing.assert_frame_equal(found, counted)


def test_nothing_is_written_to_the_data(screen):
    before = contract.fingerprint(screen)
    differential_expression(screen)
    assert contract.fingerprint(screen) == before


def test_controls_are_needed_in_the_context(cells):
    x, obs = cells
    keep = ((obs["line"] == "x") & (obs["condition"] == "ctrl") | (obs["line"] == "z")).to_numpy()
    mdata = make(x[keep], obs[keep])
    with pytest.raises(InputError, match="no context has both"):
        differential_expression(mdata)
    assert len(differential_expression(mdata, by_context=False))


def test_real_knock_outs_lower_their_pathway(omicsfm_data, monkeypatch):
    monkeypatch.setenv("OMICSFM_DATA", str(omicsfm_data))
    found = differential_expression(datasets.load("papalexi21_thp1_eccite_sceptredata"))
    hits = (found["q"] < 0.05).groupby(found["perturbation"], observed=True).sum()
    assert set(hits.nlargest(4).index) == {"IFNGR1", "IFNGR2", "JAK2", "STAT1"}  # one pathway, known
    own = found[(found["perturbation"] == "STAT1") & (found["gene"] == "STAT1")].iloc[0]
    assert own["log2_fold_change"] < -1 and own["q"] < 1e-100
