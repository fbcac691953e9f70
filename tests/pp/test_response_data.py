"""Effects against a groupby of pandas, and what is left out of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

import omicsfm as ofm
from omicsfm import _compat, pp
from omicsfm.pp._response_data import group_moments

N, G = 240, 9
GENES = [f"g{i}" for i in range(G)]


def cells(seed=0, *, doses=False):
    """Counts and obs of a screen: two perturbations, their combination and controls in two cell types."""
    rng = np.random.default_rng(seed)
    obs = pd.DataFrame(
        {
            "pert": rng.choice(["NT", "A", "B", "B+A"], N),
            "type": rng.choice(["x", "y"], N),
            "donor": rng.choice(["d1", "d2"], N),
        },
        index=[f"c{i}" for i in range(N)],
    )
    if doses:
        obs["dose"] = np.where(obs["pert"] == "NT", rng.choice([0.0, 5.0], N), rng.choice([1.0, 10.0], N))
    return rng.poisson(rng.gamma(1, 3, (N, G))).astype(np.float32), obs


def make(x, obs, *, mod="rna", recipes=None, extra=None, **keys):
    with _compat.silent():
        mods = {mod: AnnData(x, obs=pd.DataFrame(index=obs.index), var=pd.DataFrame(index=GENES))}
        mods.update(extra or {})
    mdata = _compat.make_mudata(mods, obs)
    told = {"perturbation_key": "pert", "control": "NT", "context_key": "type", **keys}
    ofm.setup(mdata, modalities=recipes, **told)
    return mdata


def log10k(x):
    total = x.sum(axis=1, keepdims=True)
    return np.log1p(1e4 * x / np.where(total > 0, total, 1))


def by_pandas(values, obs, by=("pert", "type")):
    """Effects and standard errors by (perturbation, context, ...)."""
    name = obs["pert"].replace({"B+A": "A+B"})
    keys = [name, *(obs[k] for k in by[1:])]
    table = pd.DataFrame(values, index=obs.index, columns=GENES)
    mean, var, n = table.groupby(keys).mean(), table.groupby(keys).var(ddof=1), table.groupby(keys).size()
    control = obs["pert"] == "NT"
    c_mean = table[control].groupby(obs["type"]).mean()
    c_se2 = table[control].groupby(obs["type"]).var(ddof=1).div(table[control].groupby(obs["type"]).size(), axis=0)
    out = {}
    for key in mean.index:
        if key[0] != "NT":
            out[key] = mean.loc[key] - c_mean.loc[key[1]], np.sqrt(var.loc[key] / n[key] + c_se2.loc[key[1]])
    return out, c_mean


def test_effects_and_errors_are_those_of_pandas():
    x, obs = cells()
    found = pp.response_data(make(x, obs))
    expected, controls = by_pandas(log10k(x.astype(float)), obs)
    assert len(found.design) == len(expected) == 6
    for i, row in found.design.iterrows():
        effect, se = expected[row["perturbation"], row["context"]]
        np.testing.assert_allclose(found.effects.loc[i], effect, atol=1e-10)
        np.testing.assert_allclose(found.se.loc[i], se, atol=1e-10)
    np.testing.assert_allclose(found.controls.loc[["x", "y"]], controls.loc[["x", "y"]], atol=1e-10)
    assert found.design["dose"].isna().all()
    assert found.effects.columns.tolist() == GENES


def test_every_dose_is_a_row_and_controls_are_one_whatever_their_dose():
    x, obs = cells(doses=True)
    found = pp.response_data(make(x, obs, dose_key="dose"))
    values = log10k(x.astype(float))
    assert len(found.design) == 12
    for i, row in found.design.iterrows():
        here = (obs["type"] == row["context"]).to_numpy()
        mine = here & (obs["pert"].replace({"B+A": "A+B"}) == row["perturbation"]).to_numpy()
        mine &= (obs["dose"] == row["dose"]).to_numpy()
        effect = values[mine].mean(axis=0) - values[here & (obs["pert"] == "NT").to_numpy()].mean(axis=0)
        np.testing.assert_allclose(found.effects.loc[i], effect, atol=1e-10)
        assert found.design.loc[i, "n_cells"] == mine.sum()


@pytest.mark.parametrize("recipe", ["rna", "continuous"])
@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_matrix, sp.csr_array])
def test_sparse_and_dense_give_the_same(kind, recipe):
    x, obs = cells()
    mod = "rna" if recipe == "rna" else "metabolite"
    dense, sparse = (pp.response_data(make(v, obs, mod=mod, recipes={mod: recipe}), modality=mod) for v in (x, kind(x)))
    np.testing.assert_allclose(sparse.effects, dense.effects, atol=1e-10)
    np.testing.assert_allclose(sparse.se, dense.se, atol=1e-10)
    pd.testing.assert_frame_equal(sparse.design, dense.design)


def test_what_is_no_count_comes_as_it_is():
    x, obs = cells()
    found = pp.response_data(make(x + 0.5, obs, mod="metabolite"), modality="metabolite")
    expected, _ = by_pandas(x + 0.5, obs)
    for i, row in found.design.iterrows():
        np.testing.assert_allclose(found.effects.loc[i], expected[row["perturbation"], row["context"]][0], atol=1e-5)


def test_what_was_not_measured_is_no_zero_and_spoils_no_gene():
    x, obs = cells()
    x = x.astype(np.float64) + 0.5
    x[np.random.default_rng(1).random(x.shape) < 0.2] = np.nan
    found = pp.response_data(make(x, obs, mod="metabolite"), modality="metabolite")
    expected, _ = by_pandas(x, obs)  # pandas skips NaN
    for i, row in found.design.iterrows():
        np.testing.assert_allclose(found.effects.loc[i], expected[row["perturbation"], row["context"]][0], atol=1e-8)


def test_a_context_without_controls_has_no_effects():
    x, obs = cells()
    obs.loc[(obs["type"] == "y") & (obs["pert"] == "NT"), "pert"] = "A"
    found = pp.response_data(make(x, obs))
    assert set(found.design["context"]) == {"x"}
    assert found.controls.index.tolist() == ["x"]


def test_a_context_with_controls_alone_can_still_be_asked_about():
    x, obs = cells()
    obs.loc[obs["type"] == "y", "pert"] = "NT"
    found = pp.response_data(make(x, obs))
    assert set(found.design["context"]) == {"x"}
    np.testing.assert_allclose(
        found.controls.loc["y"], log10k(x.astype(float))[(obs["type"] == "y").to_numpy()].mean(axis=0), atol=1e-10
    )


def test_no_controls_anywhere_is_an_error_that_names_the_fix():
    x, obs = cells()
    obs["type"] = np.where(obs["pert"] == "NT", "elsewhere", obs["type"])
    with pytest.raises(ofm.InputError, match=r"controls in its own context.*Fix"):
        pp.response_data(make(x, obs))


def test_an_unknown_control_is_an_error_that_names_the_fix():
    x, obs = cells()
    with pytest.raises(ofm.InputError, match=r"control.*Fix"):
        pp.response_data(make(x, obs, control=None))


def test_cells_without_perturbation_or_context_count_nowhere():
    x, obs = cells()
    whole = pp.response_data(make(x, obs))
    more = pd.DataFrame({"pert": ["A", None, "NT"], "type": [None, "x", None], "donor": "d1"}, index=["n1", "n2", "n3"])
    found = pp.response_data(make(np.vstack([x, np.full((3, G), 99, np.float32)]), pd.concat([obs, more])))
    np.testing.assert_array_equal(found.effects, whole.effects)
    np.testing.assert_array_equal(found.controls, whole.controls)


def test_cells_that_the_modality_lacks_count_nowhere():
    x, obs = cells()
    part = np.random.default_rng(2).permutation(N)[: N // 2]  # in an order of their own
    protein = AnnData(
        np.ones((N, 2), np.float32), obs=pd.DataFrame(index=obs.index), var=pd.DataFrame(index=["p0", "p1"])
    )
    with _compat.silent():
        rna = AnnData(x[part], obs=pd.DataFrame(index=obs.index[part]), var=pd.DataFrame(index=GENES))
    mdata = _compat.make_mudata({"protein": protein, "rna": rna}, obs)
    ofm.setup(mdata, perturbation_key="pert", control="NT", context_key="type")
    found = pp.response_data(mdata)
    expected, _ = by_pandas(log10k(x[part].astype(float)), obs.iloc[part])
    for i, row in found.design.iterrows():
        np.testing.assert_allclose(found.effects.loc[i], expected[row["perturbation"], row["context"]][0], atol=1e-10)


def test_a_group_of_one_cell_borrows_the_typical_variance():
    x, obs = cells()
    obs["pert"] = np.where(obs["pert"] == "B", "A", obs["pert"])
    obs.iloc[0, :2] = ["Q", "x"]
    found = pp.response_data(make(x, obs))
    row = found.design.index[found.design["perturbation"] == "Q"][0]
    assert np.isfinite(found.se.to_numpy()).all()
    assert found.se.loc[row].mean() > 3 * found.se.drop(row).to_numpy().mean()


def test_an_empty_cell_is_a_measured_zero():
    x, obs = cells()
    x[3] = 0
    found = pp.response_data(make(x, obs))
    expected, _ = by_pandas(log10k(x.astype(float)), obs)
    for i, row in found.design.iterrows():
        np.testing.assert_allclose(found.effects.loc[i], expected[row["perturbation"], row["context"]][0], atol=1e-10)


def test_replicates_are_groups_of_their_own():
    x, obs = cells()
    found = group_moments(make(x, obs, replicate_key="donor"), replicates=True)
    values = pd.DataFrame(log10k(x.astype(float)), index=obs.index)
    keys = [obs["pert"].replace({"B+A": "A+B", "NT": "control"}), obs["type"], obs["donor"]]
    mean, var, n = (getattr(values.groupby(keys), f)() for f in ("mean", "var", "size"))
    assert len(found.n) == len(n) == 16
    for i, row in found.design.iterrows():
        key = row["perturbation"], row["context"], row["replicate"]
        assert found.n[i] == n[key]
        np.testing.assert_allclose(found.mean[i], mean.loc[key], atol=1e-10)
        np.testing.assert_allclose(found.var[i], var.loc[key], atol=1e-8)


def test_priors_are_read_by_target_and_unknown_rows_dropped():
    x, obs = cells()
    mdata = make(x, obs)
    guides = mdata.mod["guide"]
    assert guides.var["target"].tolist() == ["A", "B", "control"]
    guides.varm["prior_go"] = sp.csr_matrix(np.array([[1.0, 0], [0, 2], [3, 3]]))
    guides.varm["prior_text"] = np.array([[1.0], [np.nan], [2]])
    guides.varm["other"] = np.ones((3, 1))
    found = pp.response_data(mdata).priors
    assert set(found) == {"go", "text"}
    assert found["go"].loc["B"].tolist() == [0, 2]
    assert "B" not in found["text"].index


def test_the_order_of_cells_does_not_matter():
    x, obs = cells()
    order = np.random.default_rng(3).permutation(N)
    one, other = pp.response_data(make(x, obs)), pp.response_data(make(x[order], obs.iloc[order]))
    pd.testing.assert_frame_equal(one.design, other.design)
    np.testing.assert_allclose(one.effects, other.effects, atol=1e-10)
