"""The section on predicted responses: what it says follows from the numbers, and no verdict where none can be given."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from omicsfm import InputError, report
from omicsfm.bench._response_picture import response_picture
from omicsfm.models._responder import Response
from omicsfm.report import _response
from omicsfm.tasks._perturbation_calibration import ScreenCalibration

N, GENES = 60, 400
TASK, DATA = "unseen_target", "screen"


def calibration(*, allowed: bool = True, nmse: bool = True) -> ScreenCalibration:
    table = pd.DataFrame(
        {
            "drf": [0.6, 0.4 if nmse else 0.08],
            "bds": [0.95, 0.9 if nmse else 0.55],
            "informative": [True, nmse],
            "n": N,
        },
        index=["pearson_delta", "nmse"],
    )
    reason = "a replicate beats the mean" if allowed else "effects do not repeat (median split-half r 0.08)"
    return ScreenCalibration(table, pd.Series(dtype=float), (), allowed, reason)


def picture(*, bad: str = "", trust: float = -1.0, **more: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    names = [f"GENE{i}{bad}" for i in range(N)]
    genes = [f"g{i}{bad}" for i in range(GENES)]
    truth = rng.normal(size=(N, GENES)) * rng.gamma(0.5, 1, GENES)
    reliability = rng.uniform(0, 1, N)
    mean = pd.DataFrame(truth * 0.6 + rng.normal(0, 0.2, truth.shape), columns=genes)
    observed = pd.DataFrame(truth, columns=genes)
    observed.iloc[0, 0] = np.nan
    design = pd.DataFrame({"perturbation": names, "context": "all", "dose": np.nan})
    answer = Response(design, mean, mean, mean, mean, pd.Series(reliability), 0.9)
    value = np.clip(0.4 + 0.4 * reliability + rng.normal(0, 0.15, N), -1, 1)
    comparisons = pd.DataFrame(
        [
            (metric, "ResponseModel", baseline, sign * gain, sign * gain - 0.03, sign * gain + 0.03, favours)
            for metric, sign in (("pearson_delta", 1), ("nmse", -1))
            for baseline, gain, favours in (
                ("Mean", 0.2, "method"),
                ("Ridge", 0.01, "neither"),
                ("kNN", -0.05, "baseline"),
            )
        ],
        columns=["metric", "method", "baseline", "difference", "lower", "upper", "favours"],
    )
    screen = pd.DataFrame(
        {
            "perturbation": names,
            "context": "all",
            "n_cells": rng.lognormal(5, 0.8, N).round(),
            "reliability": np.where(np.arange(N) == 3, np.nan, rng.uniform(0, 1, N)),
            "measurable": np.arange(N) % 3 > 0,
        }
    )
    given = {
        "metric": "pearson_delta",
        "value": value,
        "baseline": f"Mean{bad}",
        "baseline_value": np.where(np.arange(N) == 5, np.nan, rng.normal(0.3, 0.1, N)),
        "error": 1 + trust * 0.7 * reliability + rng.normal(0, 0.15, N),
        "comparisons": comparisons,
        "calibration": calibration(),
        "screen": screen,
    }
    return response_picture(TASK, f"{DATA}{bad}", answer, observed, **given | more)


def verdicts(*, bad: str = "") -> pd.DataFrame:
    rows = [("pearson_delta", 0.2, 0.17, 0.23, "method"), ("nmse", -0.2, -0.23, -0.17, "method")]
    table = pd.DataFrame(rows, columns=["metric", "difference", "lower", "upper", "favours"])
    words = [f"ResponseModel beats Mean by 0.200 [0.170, 0.230] in {metric}" for metric in table["metric"]]
    return table.assign(
        task=TASK, dataset=f"{DATA}{bad}", method="ResponseModel", baseline="Mean", p=0.001, p_holm=0.002, n_units=5,
        covers="5 folds", cost_ratio=2.0, words=words,
    )  # fmt: skip


def results(found: dict[str, Any], *, bad: str = "") -> SimpleNamespace:
    rows = [
        (
            TASK,
            f"{DATA}{bad}",
            method,
            0,
            f"fold {k}",
            f"fold {k}",
            metric,
            score + 0.01 * k,
            12,
            1.0,
            cpu,
            1.0,
            1.0,
            1.0,
            1.0,
        )
        for metric, scores in (("pearson_delta", (0.6, 0.4, 0.59)), ("nmse", (0.7, 0.9, 0.71)))
        for method, score, cpu in zip(("ResponseModel", "Mean", "Ridge"), scores, (3.0, 0.1, 1.0), strict=True)
        for k in range(5)
    ]
    columns = ["task", "dataset", "method", "seed", "split", "unit", "metric", "value", "n", "wall_s", "cpu_s"]
    table = pd.DataFrame(rows, columns=[*columns, "peak_rss_mb", "peak_gpu_mb", "flops", "kwh"])
    audit = pd.DataFrame(
        [(TASK, "fold 0", "target hidden", "no cell of it", True)], columns=["task", "split", "check", "found", "ok"]
    )
    return SimpleNamespace(
        table=table, verdicts=verdicts(bad=bad), audit=audit.assign(dataset=f"{DATA}{bad}"), meta={"suite": "quick"},
        pictures={"response": [found]},
    )  # fmt: skip


def test_the_picture_is_small_and_json():
    found = picture()
    text = json.dumps(found, allow_nan=False)
    assert len(text) < 60_000
    assert json.loads(text) == found
    assert len(found["heatmap"]["genes"]) == 25 and len(found["heatmap"]["names"]) == 10
    assert len(found["ranking"]["names"]) == N and found["ranking"]["baseline_value"][5] is None


def test_genes_of_the_picture_are_chosen_without_the_truth():
    rng = np.random.default_rng(1)
    design = pd.DataFrame({"perturbation": ["A", "B", "C"], "context": ["k", "k", "r"], "dose": np.nan})
    mean = pd.DataFrame(rng.normal(size=(3, 100)), columns=[f"g{i}" for i in range(100)])
    answer = Response(design, mean, mean, mean, mean, pd.Series([0.1, 0.2, 0.3]), 0.9)
    args = {"metric": "nmse", "value": [1, 1, 1], "baseline": "Mean", "baseline_value": [1, 1, 1], "error": [1, 1, 1]}
    found = [
        response_picture(TASK, DATA, answer, truth, **args) for truth in (mean, mean * rng.gamma(0.3, 9, mean.shape))
    ]
    assert found[0]["heatmap"]["genes"] == found[1]["heatmap"]["genes"] != []
    assert found[0]["ranking"]["names"] == ["A, k", "B, k", "C, r"]  # contexts are named where there are several
    with pytest.raises(InputError, match="3 rows .*'error': 2"):
        response_picture(TASK, DATA, answer, mean, **args | {"error": [1, 1]})
    with pytest.raises(InputError, match="found \\['new'\\]"):
        response_picture(TASK, DATA, answer, mean.rename(columns={"g0": "new"}), **args)


def test_the_section_shows_all_and_says_what_it_shows():
    found = _response.section(picture())
    assert len(found["figures"]) == 2 + 4
    text = " ".join(found["words"])
    assert "40 of 60 perturbations can be measured" in text
    assert "its errors are smaller (rank correlation -0." in text
    assert re.search(r"\d+ of 59 predictions are better than Mean in pearson_delta. Best: GENE\d+ \([01]\.\d\d\)", text)
    assert all(f.alt and f.caption and f.uri.startswith("data:image/svg") for f in found["figures"])
    assert any("had no part in the choice" in f.caption for f in found["figures"])
    assert _response.section(None) is None


@pytest.mark.parametrize(("trust", "words"), [(0.0, "No evidence that the predicted"), (1.0, "reliability misleads")])
def test_a_reliability_that_fails_is_said_to_fail(trust, words):
    assert any(words in sentence for sentence in _response.section(picture(trust=trust))["words"])


def test_a_metric_that_cannot_tell_is_named():
    found = _response.section(picture(calibration=calibration(nmse=False)))
    words = next(words for words in found["words"] if words.startswith("No verdict on nmse"))
    assert "a duplicate of the experiment goes 8% of the way" in words and "on 55% of 60" in words
    forests = [f.alt for f in found["figures"] if "baselines" in f.alt]
    assert len(forests) == 2 and "Gain in pearson_delta" in forests[0] and "Mean: method" in forests[0]


def test_a_screen_that_does_not_repeat_gets_no_verdict_at_all():
    found = picture(calibration=calibration(allowed=False), comparisons=None)
    section = _response.section(found)
    assert section["words"][0].startswith("No verdict is given: effects do not repeat")
    assert not any("baselines" in f.alt for f in section["figures"])


def test_effects_without_cells_are_said_to_be_untried():
    none = ScreenCalibration(pd.DataFrame(), pd.Series(dtype=float), (), True, "effects without cells")
    words = _response.section(picture(calibration=none))["words"]
    assert words[0] == "The metrics themselves could not be tried: effects without cells."


def test_little_to_show_is_no_error():
    found = picture(calibration=None, screen=None, comparisons=None, error=np.full(N, np.nan))
    section = _response.section(found)
    assert len(section["figures"]) == 2
    assert section["words"][0].startswith("Whether the metrics can tell")


def test_the_page_holds_the_section(tmp_path):
    bad = "<script>alert('x')</script>&\""
    found = picture(bad=bad, calibration=calibration(nmse=False))
    html = report.build(results(found, bad=bad), tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.count("<img") >= 5 + 2
    assert "<script>alert" not in html
    assert "No verdict on nmse" in html
    assert "What does a perturbation do whose target was never perturbed" in html
    assert "beats Mean by 0.200 [0.170, 0.230] in pearson_delta" in html
