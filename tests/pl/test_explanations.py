"""Figures of explanations draw what they were given."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from omicsfm import pl
from omicsfm._errors import InputError


def test_letters_are_as_high_as_their_values(tmp_path):
    values = np.array([0.5, -1.0, 2.0, 0.0, 0.3])
    ax = pl.attribution(values, "AcGTN", start=10, save=tmp_path / "logo.png")
    boxes = [patch.get_window_extent().transformed(ax.transData.inverted()) for patch in ax.patches]
    assert len(boxes) == 5
    for i, box in enumerate(boxes):
        assert box.x0 == pytest.approx(10 + i - 0.45, abs=0.02) and box.x1 == pytest.approx(10 + i + 0.45, abs=0.02)
        assert sorted([box.y0, box.y1]) == pytest.approx(sorted([0.0, values[i]]), abs=0.02)
    assert ax.patches[0].get_facecolor() != ax.patches[1].get_facecolor()
    assert (tmp_path / "logo.png").stat().st_size > 1000
    low, high = ax.get_ylim()
    assert low < -1 and high > 2
    for bad in (values[:3], np.array([0.5, np.nan, 1, 1, 1])):
        with pytest.raises(InputError, match="one finite value for each"):
            pl.attribution(bad, "ACGTN")


def test_curves_are_drawn_with_their_intervals():
    rows = [
        {"curve": curve, "order": order, "fraction": f, "score": 1.0 + f * (order == "random")}
        for curve in ("deletion", "insertion")
        for order in ("attribution", "random")
        for f in (0.0, 0.5, 1.0)
    ]
    gain = SimpleNamespace(difference=0.25, low=0.125, high=0.5)
    ax = pl.faithfulness(SimpleNamespace(curves=pd.DataFrame(rows), deletion=gain, insertion=gain))
    drawn = [line for line in ax.lines if len(line.get_xdata())]
    assert [list(line.get_ydata()) for line in drawn] == [[1, 1, 1], [1, 1.5, 2]] * 2
    text = pl.svg(ax)
    assert "deletion: +0.250 [0.125, 0.500]" in text and "random order" in text
    with pytest.raises(InputError, match="found DataFrame"):
        pl.faithfulness(pd.DataFrame(rows))
