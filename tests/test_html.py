"""What a notebook shows: everything that results hold, and nothing that data could run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from omicsfm import datasets
from omicsfm.bench import Results
from omicsfm.contract import CheckReport
from omicsfm.contract._types import Violation
from omicsfm.models import Imputation, LinearMosaic, Response

BAD = "<script>alert(1)</script>"


def imputation() -> Imputation:
    names = [f"p{i}" for i in range(40)]
    one = pd.DataFrame(np.ones((5, 40)), columns=[BAD, *names[1:]])
    return Imputation(one, one, one - 1, one + 1, 0.9, lambda x: x)


def response() -> Response:
    design = pd.DataFrame({"perturbation": [BAD, "B"], "context": "k", "dose": np.nan})
    mean = pd.DataFrame([[0.1, -3.0], [0.0, 0.2]], columns=["g1", "g2"])
    return Response(design, mean, mean, mean, mean, pd.Series([0.25, 0.5]), 0.9)


def results() -> Results:
    row = {"task": "t", "dataset": "d", "method": BAD, "metric": "accuracy", "value": 0.75}
    said = pd.DataFrame({"words": ["A beats B by 0.1"]})
    return Results(pd.DataFrame([row]), said, pd.DataFrame(), {"suite": "quick", "limits": ["two donors"]}, {})


SHOWN = {
    "report": (CheckReport((Violation("rna", BAD, "found", "do this"),), ("a note",)), ("do this", "a note", "rna")),
    "imputation": (imputation(), ("5 cells x 40 features", "90% intervals", "width")),
    "response": (response(), ("2 predictions x 2 genes", "g2", "0.25")),
    "results": (results(), ("A beats B by 0.1", "0.75", "two donors", "quick")),
}


@pytest.mark.parametrize("name", SHOWN)
def test_it_says_what_it_holds_and_escapes_what_it_was_given(name):
    shown, words = SHOWN[name]
    html = shown._repr_html_()
    assert all(word in html for word in words), html
    assert BAD not in html and "&lt;script&gt;" in html


@pytest.mark.parametrize("name", ["imputation", "response", "results"])
def test_as_text_it_is_one_short_line(name):
    assert len(repr(SHOWN[name][0])) < 100 and "\n" not in repr(SHOWN[name][0])


def test_a_good_report_and_the_registry():
    assert "meets the contract" in CheckReport()._repr_html_()
    html = datasets.registry()._repr_html_()
    assert all(name in html for name in datasets.registry().names())


def test_models_show_their_parameters():
    assert "n_latent" in LinearMosaic()._repr_html_()
