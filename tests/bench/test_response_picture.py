"""What a run on screens says and shows: pictures of held-out responses, and no verdict where none can be given."""

from __future__ import annotations

import json

import numpy as np
import pytest

from omicsfm import bench, report
from omicsfm.bench import Results
from omicsfm.bench import _run as runner
from omicsfm.bench._suites import _response
from omicsfm.metrics import METRICS
from omicsfm.tasks import PerturbationResponse

SCREENS = (
    _response(
        "norman19", PerturbationResponse("unseen_combination", n_seen=2), "AdditiveResponse", "MaxAbs", "MeanResponse"
    ),
    _response("mcfaline23", PerturbationResponse("unseen_context"), "MatchedContext"),
)


@pytest.fixture(scope="module")
def screens(omicsfm_data, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(runner.SUITES, "screens", SCREENS)
        path = tmp_path_factory.mktemp("bench") / "results.parquet"
        bench.run("screens", path, seeds=(0,))
        return Results.load(path)


def test_a_screen_that_does_not_repeat_is_not_judged(screens):
    assert set(screens.verdicts["dataset"]) == {"norman19"}
    assert any("No verdict on mcfaline23" in words and "not measurable" in words for words in screens.meta["limits"])
    assert (screens.table["dataset"] == "mcfaline23").any()  # the scores are shown all the same


def test_a_metric_that_cannot_tell_is_not_judged(screens):
    refused = screens.pictures["response"][0]["calibration"]["refused"]
    assert "discrimination" in refused and "pearson_delta" not in refused
    assert not set(refused) & set(screens.verdicts["metric"])
    assert any("discrimination: a duplicate of the experiment" in words for words in screens.meta["limits"])


def test_the_picture_shows_what_the_table_holds(screens):
    norman, mcfaline = screens.pictures["response"]
    json.dumps(norman, allow_nan=False)
    table = screens.table[(screens.table["dataset"] == "norman19") & (screens.table["metric"] == "pearson_delta")]
    for name, key in (("ResponseModel", "value"), (norman["ranking"]["baseline"], "baseline_value")):
        own = table[table["method"] == name]
        assert np.mean(norman["ranking"][key]) == pytest.approx(np.average(own["value"], weights=own["n"]), abs=1e-4)
    baselines = table[table["method"].isin(SCREENS[0].baselines)].groupby("method")["value"].mean()
    assert METRICS["pearson_delta"].higher_is_better and norman["ranking"]["baseline"] == baselines.idxmax()
    assert {row["baseline"] for row in norman["comparisons"]} == set(SCREENS[0].baselines)
    assert len(norman["gate"]) == 33 and 20 < sum(row["measurable"] for row in norman["gate"]) < 33
    assert not mcfaline["comparisons"] and not mcfaline["calibration"]["allowed"]


def test_the_page_holds_both(screens, tmp_path):
    html = report.build(screens, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "of 33 perturbations can be measured" in html
    assert "No verdict is given: not measurable" in html
    assert html.count("Best and worst held-out predictions") == 2
