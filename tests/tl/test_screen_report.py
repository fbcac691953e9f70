"""The gate: what is measurable comes out again in independent halves, and what is not is said plainly."""

from __future__ import annotations

import dataclasses
import time

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from scipy import sparse

from omicsfm import InputError, _compat, contract, datasets
from omicsfm.tl import _screen_report as used
from omicsfm.tl._perturbation_effects import effect_size
from omicsfm.tl._screen_contrasts import make_contrasts
from omicsfm.tl._screen_report import screen_report
from omicsfm.tl._screen_split import _compact, cells_for, null_split_half, spearman_brown, split_half


def make(x: np.ndarray, obs: pd.DataFrame, genes: list[str] | None = None) -> MuData:
    names = pd.Index([f"c{i}" for i in range(len(x))])
    var = pd.DataFrame(index=genes or [f"g{i}" for i in range(x.shape[1])])
    mods = {"rna": ad.AnnData(sparse.csr_matrix(x), obs=pd.DataFrame(index=names), var=var)}
    mdata = _compat.make_mudata(mods, obs.set_axis(names))
    keys = {f"{role}_key": role for role in ("context", "replicate") if role in obs}
    contract.setup(mdata, perturbation_key="condition", control="ctrl", modalities={"rna": "continuous"}, **keys)
    return mdata


def groups(sizes: dict[str, int]) -> tuple[np.ndarray, sparse.csr_matrix]:
    """Code of every cell and contrasts against "control"."""
    design = pd.DataFrame({"perturbation": list(sizes), "context": "all", "dose": np.nan, "replicate": "all"})
    n = np.array(list(sizes.values()))
    return np.repeat(np.arange(len(n)), n), make_contrasts(design, n.astype(float)).weight


@pytest.fixture(scope="module")
def screen() -> MuData:
    """ "strong" and "weak" act on their genes and lower their own; "null0" to "null7" do nothing; some have no name."""
    rng = np.random.default_rng(0)
    names = ["strong", "weak", *(f"null{i}" for i in range(8))]
    condition = ["ctrl"] * 300 + [name for name in names for _ in range(60)] + [None] * 40
    replicate = rng.permutation(["r1", "r2"] * (len(condition) // 2))
    x = rng.normal(size=(len(condition), 150)) + 2 * (replicate == "r2")[:, None] * rng.normal(size=150)
    effect = rng.normal(size=(2, 150))
    x[300:360] += 1.0 * effect[0]
    x[360:420] += 0.3 * effect[1]
    x[300:360, 0] -= 5
    x[-40:] += 50
    genes = ["strong", "null0", *(f"g{i}" for i in range(148))]
    return make(x, pd.DataFrame({"condition": condition, "replicate": replicate}), genes)


@pytest.fixture(scope="module")
def report(screen):
    return screen_report(screen)


def test_known_effects_pass_and_nothing_else_does(report):
    table = report.perturbations.set_index("perturbation")
    assert {"strong", "weak"} <= set(report.measurable) and len(report.measurable) <= 3
    assert table.loc["strong", "reliability"] > 0.95 > 0.9 > table.loc["weak", "reliability"] > 0.5
    assert table.filter(like="null", axis=0)["reliability"].abs().max() < 0.35
    assert (table["n_cells"] == 60).all() and (table["n_replicates"] == 2).all()
    assert table.loc["strong", "cells_for_80"] < 60 and table["cells_for_80"].min() > 0
    assert "measurable in part" in report.verdict and report.verdict in report._repr_html_()
    assert "own RNA moved in 1 of 2" in str(report) and "median correlation between replicates" in str(report)


def test_reliability_is_the_share_of_the_effect_that_is_signal(report, screen):
    """Two estimates of the same thing by different routes: halves of cells, and variance over n."""
    table = report.perturbations
    big = table["reliability"] > 0.3
    np.testing.assert_allclose(table.loc[big, "reliability"], table.loc[big, "share"], atol=0.12)
    np.testing.assert_allclose(table["size"], effect_size(screen)["size"])


def test_own_rna(report):
    table = report.targets.set_index("perturbation")
    assert table.index.tolist() == ["null0", "strong"] and table["target"].tolist() == ["null0", "strong"]
    assert table["moved"].tolist() == ["no", "down"] and table.loc["strong", "effect"] < -4


def test_replicates_and_controls(report):
    assert report.controls["n_control"].sum() == 300 and report.controls["n_perturbed"].sum() == 600
    assert (report.controls["flag"] == "").all()
    between = report.replicates.set_index("perturbation")
    assert between.loc["strong", "r_mean"] > 0.8 and abs(between.loc["null3", "r_mean"]) < 0.3


def test_same_seed_same_report(screen, monkeypatch):
    monkeypatch.setattr(used, "N_NULL", 20)
    first, again, other = (screen_report(screen, seed=seed).perturbations for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(first, again)
    assert not first["r"].equals(other["r"]) and not first["null_95"].equals(other["null_95"])


def test_halves_share_no_cell_and_a_shared_control_would_show():
    """No effect at all: independent halves agree in nothing, halves against one control agree by its noise."""
    found, shared = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(120, 200))
        code, weight = groups({"control": 40, "A": 80})
        found.append(split_half(x, code, weight, n_splits=5, rng=rng).mean())
        order = 40 + rng.permutation(80)
        shared.append(np.corrcoef(*(x[half].mean(0) - x[:20].mean(0) for half in (order[:40], order[40:])))[0, 1])
    assert abs(np.mean(found)) < 0.05 and np.mean(shared) > 0.5


def test_correlation_is_that_of_brute_force():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4, 30))
    code, weight = groups({"A": 2, "control": 2})
    r = split_half(x, code, weight, n_splits=40, rng=rng)
    a, b = (np.corrcoef(x[0] - x[2 + i], x[1] - x[3 - i])[0, 1] for i in (0, 1))
    assert set(np.round(r.ravel(), 10)) == set(np.round([a, b], 10))
    np.testing.assert_allclose(
        split_half(sparse.csr_matrix(x), code, weight, n_splits=9, rng=np.random.default_rng(0)),
        split_half(x, code, weight, n_splits=9, rng=np.random.default_rng(0)),
    )


def test_expected_correlation_is_reliability_of_half_the_cells():
    rng = np.random.default_rng(2)
    effect = rng.normal(size=2000) * 0.3
    x = rng.normal(size=(200, 2000))
    x[100:] += effect
    code, weight = groups({"control": 100, "A": 100})
    r = split_half(x, code, weight, n_splits=20, rng=rng).mean()
    assert r == pytest.approx(0.09 / (0.09 + 2 / 50), abs=0.04)
    assert spearman_brown(r) == pytest.approx(0.09 / (0.09 + 2 / 100), abs=0.04)


def test_null_has_the_rate_that_it_promises():
    """A pseudo-perturbation is above the 95 % quantile of others in about 5 % of cases, replicates or not."""
    rng = np.random.default_rng(3)
    factor = rng.normal(size=(3, 60))  # genes move together: correlations of nothing spread widely
    x = rng.normal(size=(200, 3)) @ factor + 0.3 * rng.normal(size=(200, 60))
    for replicate in (np.repeat("all", 200), np.tile(["r1", "r2", "r3", "r4"], 50)):
        null = null_split_half(x, replicate, 0.25, n_draws=150, n_splits=6, rng=rng)
        again = null_split_half(x, replicate, 0.25, n_draws=150, n_splits=6, rng=rng)
        assert len(null) == 150 and null.std() > 0.1
        assert 0.0 < (again > np.quantile(null, 0.95)).mean() < 0.13
    wide = rng.normal(size=(30, 500))
    np.testing.assert_allclose(np.corrcoef(_compact(wide)), np.corrcoef(wide), atol=1e-8)
    assert _compact(wide).shape == (30, 60) and _compact(wide[:, :20]) is not None


def test_batches_that_hold_different_shares_of_a_perturbation_are_no_effect(monkeypatch):
    monkeypatch.setattr(used, "N_NULL", 60)
    rng = np.random.default_rng(4)
    replicate = np.array(["r1"] * 150 + ["r2"] * 150)
    condition = np.array((["ctrl"] * 120 + ["A"] * 30) + (["ctrl"] * 40 + ["A"] * 110))
    x = rng.normal(size=(300, 100)) + 3 * (replicate == "r2")[:, None] * rng.normal(size=100)
    obs = pd.DataFrame({"condition": condition, "replicate": replicate})
    assert screen_report(make(x, obs)).measurable == []
    assert screen_report(make(x, obs.drop(columns="replicate"))).measurable == ["A"]


def test_missing_controls_and_few_cells_are_rows_not_errors(monkeypatch):
    monkeypatch.setattr(used, "N_NULL", 40)
    rng = np.random.default_rng(5)
    condition = ["ctrl"] * 40 + ["A"] * 30 + ["B"] + ["A"] * 20 + ["ctrl"] * 3 + ["A"] * 5
    context = ["x"] * 71 + ["y"] * 20 + ["z"] * 8
    report = screen_report(make(rng.normal(size=(99, 50)), pd.DataFrame({"condition": condition, "context": context})))
    table = report.perturbations.set_index(["perturbation", "context"])
    assert table.loc[("A", "y"), "why"] == "no controls in its context" and table.loc[("A", "y"), "n_cells"] == 20
    assert table.loc[("B", "x"), "why"] == table.loc[("A", "z"), "why"] == "too few cells or controls"
    assert not table["measurable"].any() and report.verdict.startswith("not measurable")
    flags = report.controls.set_index("context")["flag"]
    assert flags["x"] == "" and flags["y"] == "no controls in the context" and flags["z"] == "fewer than 16 controls"
    assert "no controls in the context in 1" in str(report)
    with pytest.raises(InputError, match="no perturbed cell has controls"):
        obs = pd.DataFrame({"condition": ["ctrl"] * 5 + ["A"] * 5, "context": ["x"] * 5 + ["y"] * 5})
        screen_report(make(rng.normal(size=(10, 5)), obs))


def test_one_strong_perturbation_is_a_measurable_screen(monkeypatch):
    monkeypatch.setattr(used, "N_NULL", 60)
    rng = np.random.default_rng(6)
    x = rng.normal(size=(200, 80))
    x[100:] += rng.normal(size=80)
    assert screen_report(make(x, pd.DataFrame({"condition": ["ctrl"] * 100 + ["stim"] * 100}))).verdict.startswith(
        "measurable: 1 of 1"
    )


def test_words_of_spearman_and_brown():
    assert spearman_brown(np.array([0.5, 0.0, -0.9])).tolist() == pytest.approx([2 / 3, 0, -1])
    need = cells_for(np.array([0.8, 0.5, 0.0, np.nan]), np.array([100, 100, 100, 100]))
    assert need[:3].tolist() == [100, 400, np.inf] and np.isnan(need[3])


@pytest.mark.parametrize("name", ["norman19", "mcfaline23"])
def test_field_screens(omicsfm_data, monkeypatch, name):
    monkeypatch.setenv("OMICSFM_DATA", str(omicsfm_data))
    monkeypatch.setattr(used, "N_NULL", 80)
    mdata = datasets.load(name)
    context = "cell_type" if name == "mcfaline23" else None
    contract.setup(mdata, perturbation_key="condition", control="control", context_key=context)
    start = time.perf_counter()
    report = screen_report(mdata)
    assert time.perf_counter() - start < 30  # a few where nobody else computes
    if name == "norman19":
        assert report.verdict.startswith("measurable in part") and len(report.measurable) > 20
    else:
        assert report.verdict.startswith("not measurable") and report.perturbations["r"].median() < 0.1


def test_one_that_passes_among_many_is_no_verdict(report):
    table = report.perturbations.assign(measurable=False, p=0.5, q=0.8)
    table.loc[0, ["measurable", "p", "q"]] = [True, 0.04, 0.4]
    lucky = dataclasses.replace(report, perturbations=table)
    assert lucky.verdict.startswith("not measurable: 1 of 10") and lucky.measurable == [table.loc[0, "perturbation"]]
    table.loc[0, "q"] = 0.04
    assert lucky.verdict.startswith("measurable in part: 1 of 10")
