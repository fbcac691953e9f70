"""The truth scores best, the mean scores as the mean, no change scores nothing; a screen without effects is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from omicsfm import contract, datasets
from omicsfm._errors import InputError
from omicsfm.bench._compare import base_metric
from omicsfm.metrics import METRICS
from omicsfm.metrics._response_reliability import reliability_correlation
from omicsfm.pp import ResponseData
from omicsfm.tasks import Task
from omicsfm.tasks.perturbation import PerturbationResponse

TARGETS = tuple(f"T{i}" for i in range(12))


@pytest.fixture(scope="module")
def mdata(screen):
    return screen(TARGETS, contexts=("K", "R"), n_cells=40)


@pytest.fixture(scope="module")
def task():
    return PerturbationResponse("unseen_target", n_folds=2)


@pytest.fixture(scope="module")
def split(mdata, task):
    return next(task.splits(mdata))


def test_it_is_a_task_with_registered_metrics(task, split, answer):
    assert isinstance(task, Task)
    scores = task.score(answer(split, split.truth["baseline"]), split)
    known = {base_metric(name) for name in scores} - {"reliability_correlation"}
    assert known <= set(METRICS)
    assert set(task.primary) <= known


def test_the_truth_is_perfect(task, split, answer):
    scores = task.score(answer(split, split.truth["effect"]), split)
    np.testing.assert_allclose(scores["pearson_delta"], 1)
    np.testing.assert_allclose(scores["nmse"], 0, atol=1e-12)
    np.testing.assert_allclose(scores["l2_delta"], 0, atol=1e-12)
    np.testing.assert_allclose(scores["discrimination"], 1)
    np.testing.assert_allclose(scores["centroid_accuracy"], 1)
    np.testing.assert_allclose(scores["interval_coverage"], 1)
    assert scores["noise_corrected_mse"].mean() < 0
    assert scores["pearson_delta:perturbed"].mean() > 0.95


def test_the_mean_of_training_is_the_zero_of_the_scale(task, split, answer):
    scores = task.score(answer(split, split.truth["baseline"]), split)
    for context in ("K", "R"):
        at = split.truth["context"] == context
        assert scores["nmse"][at].mean() == pytest.approx(1)
        assert scores["discrimination"][at].mean() == pytest.approx(0.5)
    np.testing.assert_array_equal(scores["pearson_delta:perturbed"], 0)
    np.testing.assert_array_equal(scores["discrimination:perturbed"], 0.5)
    assert scores["weighted_r2"].max() <= 1e-9


def test_no_change_scores_nothing_against_the_control(task, split, answer):
    scores = task.score(answer(split, np.zeros_like(split.truth["effect"])), split)
    np.testing.assert_array_equal(scores["pearson_delta"], 0)
    np.testing.assert_array_equal(scores["discrimination"], 0.5)
    assert scores["noise_corrected_mse"].mean() == pytest.approx(1, abs=0.05)


def test_a_null_screen_gives_the_mean_no_correlation(screen, answer):
    """One control for both sides would make it positive without any effect."""
    null = screen(TARGETS, contexts=("K",), n_cells=40, seed=1)
    rng = np.random.default_rng(0)
    control = null["rna"].X[np.flatnonzero(null.obs["done"] == "ctrl")]
    null.mod["rna"].X = control[rng.integers(0, control.shape[0], null.n_obs)]
    task = PerturbationResponse("unseen_target", n_folds=3)
    found = []
    for seed in range(8):
        task.seed = seed
        for split in task.splits(null):
            scores = task.score(answer(split, split.truth["baseline"]), split)
            shared = [
                np.corrcoef(a, b)[0, 1] for a, b in zip(split.truth["baseline"], split.truth["shift"], strict=True)
            ]
            found.append((scores["pearson_delta"].mean(), np.mean(shared)))
    own, shared = np.mean(found, axis=0)
    assert shared > 0.2
    assert own < shared - 0.2


def test_contexts_are_ranked_apart(mdata, task, split, answer):
    """The effects of one context added to all predictions of another leave its ranks as they were."""
    truth = split.truth
    rng = np.random.default_rng(0)
    mean = truth["effect"] + rng.normal(0, 0.5, truth["effect"].shape)
    scores = task.score(answer(split, mean), split)
    other = mean.copy()
    other[truth["context"] == "R"] *= -1
    again = task.score(answer(split, other), split)
    at = truth["context"] == "K"
    for name in ("nmse", "discrimination", "discrimination:perturbed", "centroid_accuracy", "noise_corrected_mse"):
        np.testing.assert_allclose(scores[name][at], again[name][at])
        assert not np.allclose(scores[name][~at], again[name][~at])


def test_the_targets_themselves_do_not_help_to_tell_perturbations_apart(screen, answer):
    mdata = screen(tuple(f"G{i}" for i in range(12)), contexts=("K",), n_cells=40)
    task = PerturbationResponse("unseen_target", n_folds=2)
    split = next(task.splits(mdata))
    mean = np.zeros_like(split.truth["effect"])
    genes = list(split.truth["genes"])
    for i, name in enumerate(split.query["perturbation"]):
        split.truth["effect"][i, genes.index(name)] = mean[i, genes.index(name)] = -5.0
    scores = task.score(answer(split, mean), split)
    np.testing.assert_array_equal(scores["discrimination"], 0.5)
    assert scores["pearson_delta"].min() > 0.3


def test_intervals_are_counted_per_perturbation(task, split, answer):
    effect = split.truth["effect"]
    mean = effect.copy()
    mean[0, : effect.shape[1] // 2] += 9
    scores = task.score(answer(split, mean), split)
    assert scores["interval_coverage"][0] == pytest.approx(0.5)
    assert scores["interval_coverage:worst decile"] == pytest.approx(0.5)
    np.testing.assert_allclose(scores["interval_coverage"][1:], 1)
    np.testing.assert_allclose(scores["interval_width"], 0.2)


def test_reliability_is_worth_something_if_errors_fall_as_it_rises(task, split, answer):
    effect, rng = split.truth["effect"], np.random.default_rng(0)
    size = np.linspace(0.05, 1, len(effect))
    mean = effect + size[:, None] * rng.normal(size=effect.shape)
    right = task.score(answer(split, mean, reliability=1 - size), split)
    wrong = task.score(answer(split, mean, reliability=size), split)
    assert right["reliability_correlation"] > 0.7
    assert wrong["reliability_correlation"] == pytest.approx(-right["reliability_correlation"])
    assert "reliability_correlation" not in task.score(answer(split, mean), split)
    assert reliability_correlation([1, 2, 3], [3, 2, 2.5]) == pytest.approx(0.5)


def test_combinations_are_told_apart_by_what_was_seen_of_them(screen, answer):
    names = ("A", "B", "C", "A+B", "A+C", "B+X", "X+Y")
    task = PerturbationResponse("unseen_combination", n_folds=1 + 1)
    for split in task.splits(screen(names, contexts=("K",))):
        scores = task.score(answer(split, split.truth["baseline"]), split)
        seen = np.asarray(split.truth["n_seen"])
        assert len(set(seen)) > 1
        for k in set(seen):
            np.testing.assert_array_equal(scores[f"nmse:{k} seen"], scores["nmse"][seen == k])
            name = f"pearson_delta:perturbed,{k} seen"
            assert base_metric(name) == "pearson_delta"
            assert len(scores[name]) == (seen == k).sum()


def test_a_prediction_without_the_genes_is_refused(task, split, answer):
    found = answer(split, split.truth["effect"])
    less = dataclasses.replace(found, mean=found.mean.iloc[:, 1:])
    with pytest.raises(InputError, match="lacks 1 genes"):
        task.score(less, split)


# -- calibration


def test_a_screen_with_effects_allows_a_verdict(mdata, task):
    found = task.calibration(mdata)
    assert found.verdict_allowed
    assert found.table.loc["nmse", "informative"]
    assert found.table.loc["nmse", "baseline"] == pytest.approx(1)
    assert found.table.loc["nmse", "anchor"] < 0.5
    assert set(found.measurable) == set(TARGETS)
    assert len(found.reproducibility) == 2 * len(TARGETS)


def test_a_screen_without_effects_is_refused_and_says_why(screen):
    null = screen(TARGETS, contexts=("K",), n_cells=40)
    rng = np.random.default_rng(0)
    control = null["rna"].X[np.flatnonzero(null.obs["done"] == "ctrl")]
    null.mod["rna"].X = control[rng.integers(0, control.shape[0], null.n_obs)]
    found = PerturbationResponse("unseen_target", n_folds=3).calibration(null)
    assert not found.verdict_allowed
    assert "not measurable" in found.reason


def test_effects_that_repeat_but_are_all_alike_are_refused(screen):
    """A replicate that is no better than the mean tells no model from the mean."""
    mdata = screen(TARGETS, contexts=("K",), n_cells=40)
    rng = np.random.default_rng(0)
    first = mdata["rna"].X[np.flatnonzero(mdata.obs["done"] == "T0")]
    x = mdata["rna"].X.tolil()
    rows = np.flatnonzero(mdata.obs["done"] != "ctrl")
    x[rows] = first[rng.integers(0, first.shape[0], len(rows))]
    mdata.mod["rna"].X = x.tocsr()
    found = PerturbationResponse("unseen_target", n_folds=3).calibration(mdata)
    assert found.reproducibility.median() > 0.5
    assert not found.verdict_allowed
    assert "does not beat" in found.reason


def test_effects_without_cells_say_that_there_is_no_replicate():
    design = pd.DataFrame({"perturbation": list("ABCDEF"), "context": "K", "dose": np.nan})
    data = ResponseData(pd.DataFrame(np.random.default_rng(0).normal(size=(6, 9))), design)
    found = PerturbationResponse("unseen_target", n_folds=2).calibration(data)
    assert found.verdict_allowed
    assert "no replicate" in found.reason


@pytest.fixture
def real(omicsfm_data, monkeypatch):
    monkeypatch.setenv("OMICSFM_DATA", str(omicsfm_data))
    return datasets.load


def test_glioma_lines_are_refused_whatever_is_asked(real):
    mdata = real("mcfaline23")
    for kind in ("unseen_target", "unseen_context", "known_target_new_context"):
        found = PerturbationResponse(kind).calibration(mdata)
        assert not found.verdict_allowed, (kind, found.reason)


def test_pairs_of_genes_and_interferon_can_be_judged(real):
    norman = real("norman19")
    assert PerturbationResponse("unseen_combination").calibration(norman).verdict_allowed
    assert PerturbationResponse("unseen_target").calibration(norman).verdict_allowed
    assert PerturbationResponse("unseen_context").calibration(real("kang18_ifnb_distinct100")).verdict_allowed


def test_monocytes_can_be_judged_on_the_targets_that_repeat(real):
    mdata = real("papalexi21_thp1_eccite_sceptredata")
    everything = PerturbationResponse("unseen_target").calibration(mdata)
    assert not everything.verdict_allowed
    assert {"IFNGR1", "IFNGR2", "JAK2", "STAT1", "SMAD4", "IRF1"} <= set(everything.measurable)
    assert not {"ATF2", "CAV1", "CD86", "MARCH8"} & set(everything.measurable)
    assert PerturbationResponse("unseen_target", measurable=everything.measurable).calibration(mdata).verdict_allowed


def test_honest_splits_of_real_screens_pass_the_audit(real):
    for name, kind in (("norman19", "unseen_combination"), ("papalexi21_thp1_eccite_sceptredata", "unseen_target")):
        task = PerturbationResponse(kind)
        split = next(task.splits(real(name)))
        assert all(f.ok for f in task.audit(split)), task.audit(split)
        assert contract.check(split.train).ok
