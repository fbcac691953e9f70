"""Figures of responses: what they draw is what they were given, chosen without the truth."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from omicsfm import InputError, pl
from omicsfm.pl._response import calibration_bins, rank_correlation, response_ranking, response_reliability
from omicsfm.pl._response_heatmap import response_heatmap, top_genes
from omicsfm.pl._screen import reproducibility
from omicsfm.tl._screen_report import RELIABLE


def screen() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    r = np.append(rng.uniform(0, 1, 29), np.nan)
    return pd.DataFrame(
        {
            "perturbation": [f"P{i}" for i in range(30)],
            "context": "all",
            "n_cells": rng.integers(5, 900, 30),
            "reliability": r,
            "measurable": r > 0.5,
        }
    )


def scores(n: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(rng.normal(size=(n, 2)), index=[f"P{i}" for i in range(n)], columns=["value", "baseline"])


def effects(seed: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(15, 80)) * rng.gamma(1, 1, 80)
    return pd.DataFrame(values, index=[f"P{i}" for i in range(15)], columns=[f"g{i}" for i in range(80)])


def draw(name: str, **more) -> Axes:
    rng = np.random.default_rng(3)
    x = rng.uniform(size=50)
    calls = {
        "reliability": lambda: response_reliability(x, 1 - x + rng.normal(0, 0.1, 50), unit="nmse", **more),
        "gate": lambda: reproducibility(screen(), **more),
        "ranking": lambda: response_ranking(scores(), metric="nmse", baseline="Mean", **more),
        "heatmap": lambda: response_heatmap(effects(), 0.5 * effects(), **more),
    }
    return calls[name]()


def texts(ax: Axes) -> list[str]:
    return [t.get_text() for t in [*ax.texts, *ax.get_xticklabels(), *ax.get_yticklabels(), ax.title]] + [
        ax.get_title(loc="left")
    ]


@pytest.mark.parametrize("name", ["reliability", "gate", "ranking", "heatmap"])
def test_axes_in_axes_out_a_file_where_asked_and_nothing_global(name, tmp_path):
    before = dict(mpl.rcParams)
    path = tmp_path / "figure.png"
    own = draw(name, save=path)
    assert isinstance(own, Axes) and path.stat().st_size > 5_000
    given = Figure().add_subplot()
    assert draw(name, ax=given) is given
    assert dict(mpl.rcParams) == before
    text, again = (pl.svg(draw(name).get_figure()) for _ in range(2))
    assert text == again  # the same numbers, the same bytes
    assert text.startswith("<svg") and len(text) < 250_000


def test_bins_average_like_reliabilities_and_hold_all():
    rng = np.random.default_rng(0)
    x = np.where(np.arange(400) < 150, 0.0, rng.uniform(size=400))  # many are all the same
    y = 1 - x + rng.normal(0, 0.3, 400)
    bins = calibration_bins(x, y)
    assert bins["n"].sum() == 400 and len(bins) <= 8 and bins["reliability"].is_monotonic_increasing
    assert bins["n"].iloc[0] >= 150  # those that are equal lie together
    first = x < bins["reliability"].iloc[1] / 2
    assert bins["error"].iloc[0] == pytest.approx(y[first].mean(), abs=0.05)
    assert ((bins["low"] < bins["error"]) & (bins["error"] < bins["high"])).all()
    # A mean of n errors with sd 0.3: the interval is 2 x 1.96 x 0.3 / sqrt(n) wide.
    widths = (bins["high"] - bins["low"]) / (2 * 1.96 * 0.3 / np.sqrt(bins["n"]))
    assert widths.between(0.6, 1.4).all()


def test_reliability_tells_the_rank_correlation_and_hides_no_failure():
    x = np.append(np.linspace(0, 1, 60), np.nan)
    y = np.append(np.linspace(2, 1, 60) ** 3, 5.0)
    ax = response_reliability(x, y)
    assert any("-1.00" in t for t in texts(ax)) and rank_correlation(x[:-1], y[:-1]) == pytest.approx(-1)
    y = np.ones(600)
    y[300] = 1000.0
    ax = response_reliability(np.linspace(0, 1, 600), y)
    assert "1 of the errors above the figure" in ax.get_xlabel() or ax.get_ylim()[1] >= 1000
    assert any("the same for all" in t for t in texts(response_reliability(np.full(9, 0.5), np.arange(9))))
    with pytest.raises(InputError, match="one error per reliability"):
        response_reliability([0.1, 0.2], [1.0])
    with pytest.raises(InputError, match="found 2"):
        response_reliability([0.1, 0.2, 0.3], [1.0, 2.0, np.nan])


def test_the_gate_names_what_is_measurable_and_draws_the_line_of_the_report():
    table = screen()
    ax = reproducibility(table)
    told = texts(ax)
    good = table[table["measurable"]].nlargest(12, "reliability")["perturbation"]
    assert set(good) <= set(told)
    assert not set(table.loc[~table["measurable"], "perturbation"]) & set(told)
    assert f"{int(table['measurable'].sum())} of 30 perturbations measurable" in told
    assert any(np.allclose(line.get_ydata(), RELIABLE) for line in ax.get_lines())
    drawn = sum(len(line.get_xdata()) for line in ax.get_lines() if line.get_marker() == "o")
    assert drawn == 29  # one could not be judged
    assert "P26, k" in texts(reproducibility(table.assign(context="k", measurable=True), threshold=0.5))
    with pytest.raises(InputError, match="lacks reliability"):
        reproducibility(table.drop(columns="reliability"))
    with pytest.raises(InputError, match="no perturbation has a reliability"):
        reproducibility(table.assign(reliability=np.nan))


@pytest.mark.parametrize(("metric", "up"), [("pearson_delta", True), ("nmse", False)])
def test_ranking_goes_the_way_of_the_metric(metric, up):
    table = scores()
    ax = response_ranking(table, metric=metric, n=5)
    names = [t.get_text() for t in ax.get_yticklabels()]
    order = table["value"].sort_values(ascending=not up).index
    assert names == [*order[:5], *order[-5:]] and "30 between" in texts(ax)
    better = next(line for line in ax.get_lines() if line.get_label() == "better")
    shown = table.loc[names]
    wins = shown["value"] > shown["baseline"] if up else shown["value"] < shown["baseline"]
    np.testing.assert_array_equal(better.get_xdata(), shown.loc[wins, "value"])
    bars = next(line for line in ax.get_lines() if line.get_marker() == "|")
    np.testing.assert_array_equal(bars.get_xdata(), shown["baseline"])


def test_ranking_of_few_shows_each_once_and_refuses_what_it_cannot_rank():
    table = scores(7)
    table.iloc[2, 1] = np.nan
    assert len(response_ranking(table, metric="nmse").get_yticks()) == 6
    with pytest.raises(InputError, match="does not rank"):
        response_ranking(table, metric="interval_coverage")
    with pytest.raises(InputError, match="no perturbation has both"):
        response_ranking(table * np.nan, metric="nmse")
    with pytest.raises(InputError, match="value and baseline"):
        response_ranking(table[["value"]], metric="nmse")


def test_heatmap_chooses_by_prediction_and_shares_one_scale():
    predicted = effects()
    observed = effects(seed=9) * 3
    observed.iloc[0, 0] = np.nan
    ax = response_heatmap(predicted, observed, n_genes=12, n_perturbations=4)
    left, right = (image.get_array() for image in ax.images)
    rows = predicted.index[np.sort(np.argsort(-(predicted**2).sum(axis=1))[:4])]
    names = [t.get_text() for t in ax.get_xticklabels()]
    genes = [t.get_text() for t in ax.get_yticklabels()]
    assert names == [*rows, *rows] and len(genes) == 12
    np.testing.assert_array_equal(left, predicted.loc[rows, genes].T)
    np.testing.assert_array_equal(np.ma.filled(right, np.nan), observed.loc[rows, genes].T)
    assert set(genes) == set((predicted.loc[rows] ** 2).mean().nlargest(12).index)
    limits = {image.get_clim() for image in ax.images}
    assert len(limits) == 1 and sum(limits.pop()) == 0
    assert any("chosen by predicted effect" in t for t in texts(ax))
    assert list(top_genes(predicted, 3)) == [g for g in predicted if g in set((predicted**2).mean().nlargest(3).index)]


def test_heatmap_takes_genes_in_any_order_and_refuses_other_rows():
    predicted = effects()
    shuffled = predicted[predicted.columns[::-1]]
    left, right = (np.asarray(image.get_array()) for image in response_heatmap(predicted, shuffled).images)
    np.testing.assert_array_equal(left, right)
    with pytest.raises(InputError, match="same rows in the same order"):
        response_heatmap(predicted, predicted.iloc[::-1])
    with pytest.raises(InputError, match="empty table"):
        response_heatmap(predicted.iloc[:0], predicted.iloc[:0])
    assert response_heatmap(0 * predicted, 0 * predicted).images[0].get_clim() == (-1, 1)
