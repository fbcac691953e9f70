"""Effects and their errors: right in size, honest about replicates, uniform p where there is nothing."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from scipy import sparse, stats

from omicsfm import InputError, _compat, contract, datasets
from omicsfm.tl._perturbation_effects import effect_size, perturbation_effects
from omicsfm.tl._screen_moderate import squeeze


def make(x: np.ndarray, obs: pd.DataFrame, *, recipe: str = "continuous", dense: bool = False) -> MuData:
    names = pd.Index([f"c{i}" for i in range(len(x))])
    var = pd.DataFrame(index=[f"g{i}" for i in range(x.shape[1])])
    held = x.astype(np.float64) if dense else sparse.csr_matrix(x.astype(np.float64))
    mods = {"rna": ad.AnnData(held, obs=pd.DataFrame(index=names), var=var)}
    mdata = _compat.make_mudata(mods, obs.set_axis(names))
    keys = {f"{role}_key": role for role in ("context", "replicate", "dose") if role in obs}
    contract.setup(mdata, perturbation_key="condition", control="ctrl", modalities={"rna": recipe}, **keys)
    return mdata


def counts(
    rng: np.random.Generator, n_control: int, n: int, *, n_genes: int = 400, times: np.ndarray | None = None
) -> tuple[np.ndarray, list[str]]:
    """Overdispersed counts, half of the genes rare; `times` multiplies the rates of perturbed cells."""
    rate = np.exp(rng.normal(-1.5, 1.5, n_genes))
    every = np.tile(rate, (n_control + n, 1))
    every[n_control:] *= 1 if times is None else times
    x = rng.poisson(every * rng.gamma(2, 0.5, every.shape))
    x[:, 0] += 20  # library size is not zero
    return x, ["ctrl"] * n_control + ["A"] * n


def rates(p: pd.Series) -> list[float]:
    return [float((p < level).mean() / level) for level in (0.2, 0.05, 0.01, 0.001)]


def test_effect_is_the_weighted_mean_of_matched_differences():
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {
            "condition": ["ctrl"] * 8 + ["A"] * 3 + ["ctrl"] * 4 + ["A"] * 6 + ["A"] * 5 + ["ctrl"] * 7,
            "replicate": ["r1"] * 11 + ["r2"] * 10 + ["only perturbed"] * 5 + ["only control"] * 7,
        }
    )
    x = rng.normal(size=(len(obs), 6)) + 10 * (obs["replicate"] == "r2").to_numpy()[:, None]
    effects = perturbation_effects(make(x, obs)).set_index("gene")
    is_a = (obs["condition"] == "A").to_numpy()
    differences, worth = [], []
    for r in ("r1", "r2"):
        own = (obs["replicate"] == r).to_numpy()
        differences.append(x[own & is_a].mean(0) - x[own & ~is_a].mean(0))
        n1, n2 = (own & is_a).sum(), (own & ~is_a).sum()
        worth.append(n1 * n2 / (n1 + n2))
    np.testing.assert_allclose(effects["effect"], np.average(differences, axis=0, weights=worth))
    assert (effects["n_cells"] == 9).all() and (effects["n_replicates"] == 2).all()
    assert effects.reset_index().columns.tolist() == [
        *("gene", "perturbation", "context", "effect", "se", "p", "q", "n_cells", "n_replicates")
    ]


def test_q_is_within_perturbation_and_context_and_units_are_log_counts():
    rng = np.random.default_rng(1)
    x, condition = counts(rng, 200, 100, times=np.where(np.arange(400) < 20, 3.0, 1.0))
    obs = pd.DataFrame({"condition": condition, "context": "k"})
    effects = perturbation_effects(make(x, obs, recipe="rna"))
    scaled = np.log1p(x / x.sum(1, keepdims=True) * 1e4)
    np.testing.assert_allclose(effects["effect"], scaled[200:].mean(0) - scaled[:200].mean(0), atol=1e-4)
    np.testing.assert_allclose(effects["q"], stats.false_discovery_control(effects["p"]))
    again = perturbation_effects(make(x, obs, recipe="rna", dense=True))
    np.testing.assert_allclose(again["p"], effects["p"], rtol=1e-3)


@pytest.mark.parametrize("n", [20, 200])
def test_p_is_not_small_without_an_effect_however_few_the_cells(n):
    p = []
    for seed in range(6):
        x, condition = counts(np.random.default_rng(seed), 600, n)
        p.append(perturbation_effects(make(x, pd.DataFrame({"condition": condition}), recipe="rna"))["p"])
    found = rates(pd.concat(p))
    assert found[0] == pytest.approx(0.9, abs=0.2) and found[1] < 1.3 and found[2] < 1.5 and found[3] < 2.5
    assert n < 100 or found[1] > 0.7


def test_error_of_cells_agrees_with_welch_where_cells_are_many():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(4000, 5)) * np.where(np.arange(4000) < 2000, 1, 3)[:, None]
    effects = perturbation_effects(make(x, pd.DataFrame({"condition": ["ctrl"] * 2000 + ["A"] * 2000})))
    welch = stats.ttest_ind(x[2000:], x[:2000], equal_var=False)
    np.testing.assert_allclose(effects["effect"] / effects["se"], welch.statistic, rtol=0.01)
    np.testing.assert_allclose(effects["p"], welch.pvalue, rtol=0.05)


def test_replicates_that_disagree_widen_the_error_to_theirs():
    """Effects vary between replicates by 0.5: the error of cells would call nearly every gene significant."""
    p, spread = [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        n, reps, genes = 100, 4, 200
        condition = np.tile(["ctrl", "A"], n * reps)
        replicate = np.repeat([f"r{i}" for i in range(reps)], 2 * n)
        x = rng.normal(size=(len(condition), genes))
        for i in range(reps):
            x[(replicate == f"r{i}") & (condition == "A")] += rng.normal(0, 0.5, genes)
        obs = pd.DataFrame({"condition": condition})
        naive = perturbation_effects(make(x, obs))
        assert (naive["p"] < 0.05).mean() > 0.4
        known = perturbation_effects(make(x, obs.assign(replicate=replicate)))
        p.append(known["p"])
        spread.append((known["effect"] / known["se"]).std())
    found = rates(pd.concat(p))
    assert 0.7 < found[0] < 1.3 and 0.6 < found[1] < 1.5
    assert np.mean(spread) == pytest.approx(1, abs=0.15)


def test_replicates_that_agree_cost_nothing_and_p_stays_uniform():
    p = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(900, 200)) + rng.normal(0, 3, (3, 200))[np.arange(900) % 3]  # batches, same in both
        obs = pd.DataFrame({"condition": rng.permutation(["ctrl", "A"] * 450), "replicate": np.arange(900) % 3})
        p.append(perturbation_effects(make(x, obs.astype(str)))["p"])
    found = rates(pd.concat(p))
    assert 0.8 < found[0] < 1.15 and 0.6 < found[1] < 1.3 and found[2] < 1.8


def test_a_replicate_without_controls_does_not_lend_its_batch_to_the_effect():
    rng = np.random.default_rng(3)
    condition = ["ctrl"] * 100 + ["A"] * 50 + ["A"] * 50
    replicate = ["r1"] * 150 + ["r2"] * 50
    x = rng.normal(size=(200, 20)) + 5 * (np.arange(200) >= 150)[:, None]
    effects = perturbation_effects(make(x, pd.DataFrame({"condition": condition, "replicate": replicate})))
    assert (effects["n_replicates"] == 1).all() and (effects["n_cells"] == 50).all()
    assert effects["effect"].abs().max() < 1
    never = pd.DataFrame({"condition": condition, "replicate": ["r1"] * 100 + ["r2"] * 100})
    confounded = perturbation_effects(make(x, never))
    assert (confounded["n_replicates"] == 0).all() and (confounded["n_cells"] == 100).all()


def test_doses_contexts_single_cells_and_cells_without_a_name():
    rng = np.random.default_rng(4)
    x = np.vstack([rng.normal(size=(60, 4)), np.full((10, 4), 1000.0)])
    x[:, 3] = 7  # no spread
    obs = pd.DataFrame(
        {
            "condition": ["ctrl"] * 30 + ["A"] * 14 + ["B"] + ["A"] * 15 + [None] * 10,
            "context": ["x"] * 15 + ["y"] * 15 + ["x"] * 15 + ["z"] * 15 + ["x"] * 10,
            "dose": [0.0] * 30 + [0.1, 1.0] * 7 + [1.0] * 26,
        }
    )
    effects = perturbation_effects(make(x, obs))
    units = effects[["perturbation", "context", "dose", "n_cells"]].drop_duplicates()
    assert units.to_numpy().tolist() == [["A", "x", 0.1, 7], ["A", "x", 1.0, 7], ["B", "x", 1.0, 1]]
    assert effects["effect"].abs().max() < 5
    still = effects[effects["gene"] == "g3"]
    assert (still["p"] == 1).all() and (still["se"] == 0).all()
    assert np.isfinite(effects[["effect", "se", "p", "q"]].to_numpy()).all()
    with pytest.raises(InputError, match="no perturbed cell has controls in its own context"):
        perturbation_effects(make(x, obs.assign(context=["x"] * 30 + ["y"] * 40)))


def test_squeeze_finds_the_scale_and_gives_up_borrowing_where_genes_differ():
    rng = np.random.default_rng(5)
    every = np.ones(5000, dtype=bool)
    alike, df = squeeze(2.0 * rng.chisquare(3, 5000) / 3, 3, common=every)
    assert alike.std() < 0.25 and alike.mean() == pytest.approx(2, abs=0.1) and df[0] > 30
    own = 2.0 * 6 / rng.chisquare(6, 5000)  # scaled inverse chi-square of 6 degrees of freedom
    differ, df = squeeze(own * rng.chisquare(3, 5000) / 3, 3, common=every)
    assert df[0] == pytest.approx(9, abs=1.5) and np.corrcoef(np.log(differ), np.log(own))[0, 1] > 0.5
    missing, _ = squeeze(np.array([np.nan, *rng.chisquare(3, 50) / 3]), 3, common=every[:51])
    assert np.isfinite(missing).all()


def brute(parts: list[tuple[float, np.ndarray]]) -> float:
    """Noise-corrected size of a contrast of group means."""
    delta = sum(w * x.mean(0) for w, x in parts)
    return float((delta**2).sum() - sum(w**2 * x.var(0, ddof=1).sum() / len(x) for w, x in parts))


def test_size_and_its_error_are_those_of_leaving_out_each_cell():
    rng = np.random.default_rng(6)
    obs = pd.DataFrame({"condition": ["ctrl"] * 12 + ["A"] * 7, "replicate": ["r1", "r2"] * 9 + ["r1"]})
    x = rng.normal(size=(19, 5)) + 2 * (obs["condition"] == "A").to_numpy()[:, None]
    row = effect_size(make(x, obs)).iloc[0]
    groups = {key: part.index.to_numpy() for key, part in obs.groupby(["condition", "replicate"])}
    n = {key: len(rows) for key, rows in groups.items()}
    worth = {r: n["A", r] * n["ctrl", r] / (n["A", r] + n["ctrl", r]) for r in ("r1", "r2")}
    weight = {key: (1 if key[0] == "A" else -1) * worth[key[1]] / sum(worth.values()) for key in groups}
    assert row["size"] == pytest.approx(brute([(weight[key], x[rows]) for key, rows in groups.items()]))
    variance = 0.0
    for key, rows in groups.items():
        left = [
            brute([(weight[k], x[np.setdiff1d(r, [cell]) if k == key else r]) for k, r in groups.items()])
            for cell in rows
        ]
        variance += (len(rows) - 1) * np.var(left)
    assert row["se"] == pytest.approx(np.sqrt(variance))
    mean_of = np.array([np.delete(x[groups["A", "r1"]], i, axis=0).mean(0) for i in range(n["A", "r1"])])
    jackknife = (len(mean_of) - 1) * mean_of.var(axis=0)
    np.testing.assert_allclose(jackknife, x[groups["A", "r1"]].var(0, ddof=1) / len(mean_of))


def sizes(height: float, *, times: int, dense: bool) -> pd.DataFrame:
    """Estimates of a size that is 4 height^2, one per context."""
    x = np.random.default_rng(0).normal(size=(times, 90, 40))
    x[:, 60:, :4] += height
    context = np.repeat([f"k{i}" for i in range(times)], 90)
    obs = pd.DataFrame({"condition": (["ctrl"] * 60 + ["A"] * 30) * times, "context": context})
    return effect_size(make(x.reshape(-1, 40), obs, dense=dense))


def test_size_is_unbiased_and_its_error_errs_to_the_safe_side():
    weak, strong = sizes(0.5, times=150, dense=False), sizes(3.0, times=150, dense=True)
    assert weak["size"].mean() == pytest.approx(1, abs=0.2) and weak["squared"].mean() > 2.5
    assert 0.9 < weak["se"].mean() / weak["size"].std() < 1.5  # a jackknife is too wide where noise rules
    assert (np.abs(weak["size"] - 1) < 1.96 * weak["se"]).mean() > 0.9
    assert weak["share"].mean() == pytest.approx(1 / 3, abs=0.1)
    assert strong["size"].mean() == pytest.approx(36, rel=0.05) and strong["share"].min() > 0.9
    assert strong["se"].mean() == pytest.approx(strong["size"].std(), rel=0.3)


@pytest.mark.parametrize("name", ["papalexi21_thp1_eccite_sceptredata", "kang18_ifnb_harmony"])
def test_split_controls_of_real_screens_do_not_differ(omicsfm_data, monkeypatch, name):
    monkeypatch.setenv("OMICSFM_DATA", str(omicsfm_data))
    mdata = datasets.load(name)
    control = mdata.mod["rna"].X[mdata.obs["is_control"].to_numpy(dtype=bool)].toarray()
    control = control[:, (control > 0).mean(0) > 0.05]
    p = []
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(control))
        condition = np.full(len(control), "ctrl", dtype=object)
        condition[order[:150]], condition[order[150:250]] = "A", "B"
        p.append(perturbation_effects(make(control, pd.DataFrame({"condition": condition}), recipe="rna"))["p"])
    found = rates(pd.concat(p))
    assert 0.85 < found[0] < 1.15 and 0.6 < found[1] < 1.3 and found[2] < 1.6
