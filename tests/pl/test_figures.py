"""Figures: what they draw is what they were given, and nothing global changes."""

from __future__ import annotations

import re
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import omicsfm as ofm
from omicsfm import pl
from omicsfm._errors import InputError
from omicsfm.pl._style import spread
from omicsfm.pl.facts import arrow, gains, means


def words(figure: Figure) -> list[str]:
    """Every text in the SVG, as a reader finds it."""
    return [t.replace("&amp;", "&") for t in re.findall(r"<text[^>]*>([^<]*)</text>", pl.svg(figure))]


def all_figures(results) -> dict[str, Figure]:
    umap, imp = results.pictures["umap"], results.pictures["imputation"]
    scores = results.table[results.table["task"] == "imputation"]
    return {
        "mask": pl.modality_mask(results.pictures["mask"]),
        "label": pl.embedding(umap["x"], umap["y"], umap["label"], title="By type"),
        "batch": pl.embedding(umap["x"], umap["y"], umap["batch"], name_in_place=False),
        "forest": pl.forest(results.verdicts),
        "cost": pl.quality_cost(scores, "pearson_per_feature", tested=["LinearMosaic"]),
        "imputation": pl.imputation(imp["observed"], imp["predicted"], scale="CLR"),
        "coverage": pl.coverage(pd.DataFrame(imp["by_label"]), level=imp["level"], overall=imp["coverage"]),
    }


def test_no_global_state_and_small_svg_with_text(example):
    before = dict(mpl.rcParams)
    figures = all_figures(example())
    drawn = {name: pl.svg(figure) for name, figure in figures.items()}
    assert dict(mpl.rcParams) == before
    for name, text in drawn.items():
        assert text.startswith("<svg"), name
        assert "<text" in text, f"{name}: words were turned into outlines"
        assert len(text) < 200_000, f"{name}: {len(text)} bytes"
    # The same figure twice, the same bytes: reports can be compared.
    assert drawn["forest"] == pl.svg(all_figures(example())["forest"])


def test_pyplot_is_left_alone():
    code = (
        "import sys, omicsfm.pl as pl; assert 'matplotlib' not in sys.modules; "
        "pl.svg(pl.embedding([0, 1], [1, 0], ['a', 'b'])); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_mask_of_a_mudata_counts_the_cells_and_says_absent(omicsfm_data):
    figure = pl.modality_mask(ofm.datasets.load("pbmc_mosaic"))
    found = words(figure)
    assert found.count("400") == 6
    assert found.count("absent") == 2
    assert {"p1_0", "p2_0", "p3_0", "p4_0", "rna", "protein"} <= set(found)


def test_mask_sums_up_what_is_too_much_to_draw():
    groups = [{"batch": f"b{i}", "n": 100 - i, "measured": ["rna"]} for i in range(50)]
    found = words(pl.modality_mask({"modalities": ["rna"], "groups": groups}))
    assert f"and 10 smaller groups, {sum(100 - i for i in range(40, 50))} cells" in found
    assert "b49" not in found


def test_forest_turns_lower_is_better_around():
    table = pd.DataFrame(
        {
            "metric": ["foscttm:rna-protein", "accuracy"],
            "method": "A",
            "baseline": "B",
            "difference": [-0.02, -0.03],
            "lower": [-0.03, -0.05],
            "upper": [-0.01, 0.01],
            "favours": ["method", "neither"],
        }
    )
    out = gains(table)
    assert out.loc[0].tolist() == [0.02, 0.01, 0.03]
    assert out.loc[1].tolist() == [-0.03, -0.05, 0.01]
    figure = pl.forest(table)
    found = words(figure)
    assert "+0.020 [0.010, 0.030]" in found
    assert "-0.030 [-0.050, 0.010]" in found
    lines = [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 2 and line.get_linewidth() == 2]
    assert sorted(tuple(np.round(line.get_xdata(), 3)) for line in lines) == [(-0.05, 0.01), (0.01, 0.03)]


def test_forest_says_what_could_not_be_compared():
    row = {"metric": "accuracy", "method": "A", "baseline": "B", "favours": "neither"}
    nothing = {"difference": np.nan, "lower": np.nan, "upper": np.nan}
    single = {"difference": 0.1, "lower": np.nan, "upper": np.nan}
    found = words(pl.forest(pd.DataFrame([row | nothing, row | single])))
    assert "not compared" in found
    assert "+0.100, no interval" in found


def test_quality_cost_marks_what_is_tested_and_names_what_has_no_cost(example):
    table = example().table
    table = table[table["task"] == "integration"].copy()
    table.loc[table["method"] == "WNN", "cpu_s"] = np.nan
    figure = pl.quality_cost(table, "foscttm", tested=["LinearMosaic"])
    points = [line for line in figure.axes[0].get_lines() if isinstance(line, Line2D)]
    assert [p.get_label() for p in points].count("under test") == 1
    assert [p.get_label() for p in points].count("baseline") == 3
    found = words(figure)
    assert "not drawn, cost not measured: WNN" in found
    assert "foscttm ↓" in found
    mean = means(table)["value"]["LinearMosaic", "foscttm"]
    own = next(p for p in points if p.get_label() == "under test")
    assert own.get_ydata()[0] == pytest.approx(mean)


def test_means_give_seeds_equal_weight():
    rows = [(0, 1.0)] * 3 + [(1, 3.0)]
    table = pd.DataFrame(rows, columns=["seed", "value"]).assign(
        method="A", metric="accuracy", split="donor", cpu_s=1.0, wall_s=1.0
    )
    assert means(table)["value"].tolist() == [2.0]


def test_coverage_draws_nominal_and_reached():
    labels = pd.DataFrame({"label": ["T", "B", "rare"], "n": [90, 9, 1], "coverage": [0.92, 0.80, np.nan]})
    figure = pl.coverage(labels, level=0.9, overall=0.91)
    found = words(figure)
    assert "92.0%, 90 cells" in found
    assert "80.0%, 9 cells" in found
    assert "not measured" in found
    assert "promised 90%" in found
    low, high = figure.axes[0].get_xlim()
    assert low < 0.80 < 0.92 < high


def test_imputation_refuses_what_it_cannot_draw():
    with pytest.raises(InputError, match="pairs"):
        pl.imputation([1.0, 2.0], [1.0])
    with pytest.raises(InputError, match="found none"):
        pl.imputation([np.nan], [1.0])


def test_embedding_refuses_other_lengths():
    with pytest.raises(InputError, match="one group per cell"):
        pl.embedding([0.0, 1.0], [0.0, 1.0], ["a"])


def test_names_from_data_are_no_formulas_and_stay_short():
    names = ["$\\frac{1}{0}$", "a" * 200, "new\nline", "<b>&"] * 5
    found = words(pl.embedding(range(20), range(20), names))
    assert "$\\frac{1}{0}$" in found
    assert max(map(len, found)) <= 40
    assert any("&lt;b&gt;" in word for word in found)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 30, 80])
def test_every_group_has_its_own_look(n):
    groups = [f"g{i}" for i in range(n)] * 2 + [None]
    figure = pl.embedding(range(2 * n + 1), range(2 * n + 1), groups)
    handles = figure.axes[0].get_legend().legend_handles
    looks = {(h.get_color(), h.get_marker()) for h in handles}
    assert len(looks) == len(handles)
    drawn = sum(len(c.get_offsets()) for c in figure.axes[0].collections)
    assert drawn == 2 * n + 1


def test_spread_moves_apart_and_keeps_the_order():
    out = spread([0.5, 0.5, 0.9, 0.51], gap=0.1)
    assert np.diff(np.sort(out)).min() >= 0.1 - 1e-6
    assert out[2] == max(out)
    assert spread([0.1, 0.9], gap=0.1) == [0.1, 0.9]


def test_arrows():
    assert [arrow(m) for m in ("foscttm", "accuracy:rna", "interval_width", "nobody")] == ["↓", "↑", "", ""]
