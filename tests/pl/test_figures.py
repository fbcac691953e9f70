"""Figures: what they draw is what they were given, and nothing global changes."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

import omicsfm as ofm
from omicsfm import pl
from omicsfm._errors import InputError
from omicsfm.pl._embedding import grouped
from omicsfm.pl._style import spread
from omicsfm.pl.facts import arrow, gains, means


def words(ax: Axes) -> list[str]:
    """Every text in the SVG, as a reader finds it."""
    return [t.replace("&amp;", "&") for t in re.findall(r"<text[^>]*>([^<]*)</text>", pl.svg(ax))]


def all_figures(results) -> dict[str, Axes]:
    umap, imp = results.pictures["umap"], results.pictures["imputation"]
    scores = results.table[results.table["task"] == "imputation"]
    return {
        "mask": pl.modality_mask(results.pictures["mask"]),
        "label": grouped(umap["x"], umap["y"], umap["label"], title="By type"),
        "batch": grouped(umap["x"], umap["y"], umap["batch"], name_in_place=False),
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


def test_a_notebook_shows_new_figures_and_a_report_leaves_pyplot_alone(tmp_path):
    code = (
        "import sys; from omicsfm import pl\n"
        "from omicsfm.pl._style import detached; from omicsfm.pl._embedding import grouped\n"
        "assert 'matplotlib' not in sys.modules\n"
        "with detached(): pl.svg(grouped([0, 1], [1, 0], ['a', 'b']))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "grouped([0, 1], [1, 0], ['a', 'b']); import matplotlib.pyplot as plt; assert len(plt.get_fignums()) == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_a_notebooks_backend_sets_as_it_loads_outlives_a_figure(tmp_path):
    (tmp_path / "inline.py").write_text(
        "import matplotlib; from matplotlib.backends.backend_agg import *; matplotlib.interactive(True)"
    )
    code = (
        "from omicsfm import pl; from omicsfm.pl._embedding import grouped; import matplotlib\n"
        "grouped([0, 1], [1, 0], ['a', 'b']); assert matplotlib.is_interactive()"
    )
    places = os.pathsep.join([str(tmp_path), *sys.path])
    own = {**os.environ, "MPLBACKEND": "module://inline", "PYTHONPATH": places}
    subprocess.run([sys.executable, "-c", code], check=True, env=own)


@pytest.mark.parametrize("name", ["mask", "label", "forest", "cost", "imputation", "coverage"])
def test_every_figure_goes_on_given_axes_and_into_a_file(example, name, tmp_path):
    import matplotlib.pyplot as plt

    figure, given = plt.subplots(1, 2)
    results = example()
    umap, imp = results.pictures["umap"], results.pictures["imputation"]
    scores = results.table[results.table["task"] == "imputation"]
    more = {"ax": given[1], "save": tmp_path / "drawn.png"}
    ax = {
        "mask": lambda: pl.modality_mask(results.pictures["mask"], **more),
        "label": lambda: grouped(umap["x"], umap["y"], umap["label"], **more),
        "forest": lambda: pl.forest(results.verdicts, **more),
        "cost": lambda: pl.quality_cost(scores, "pearson_per_feature", **more),
        "imputation": lambda: pl.imputation(imp["observed"], imp["predicted"], **more),
        "coverage": lambda: pl.coverage(pd.DataFrame(imp["by_label"]), level=imp["level"], **more),
    }[name]()
    assert ax is given[1] and given[1].has_data() and not given[0].has_data()
    assert (tmp_path / "drawn.png").stat().st_size > 1000


@pytest.fixture(scope="module")
def cells() -> AnnData:
    rng = np.random.default_rng(0)
    kind = np.repeat(["a", "b"], 30)
    obs = pd.DataFrame(
        {"kind": pd.Categorical(kind), "depth": rng.uniform(size=60), "flag": np.arange(60) % 3 == 0},
        index=[f"c{i}" for i in range(60)],
    )
    state = rng.normal(size=(60, 6)) + 5 * (kind == "b")[:, None]
    return AnnData(np.ones((60, 2), dtype=np.float32), obs=obs, obsm={"X_mosaic": state, "X_two": state[:, :2]})


def test_an_embedding_is_drawn_as_it_is_or_laid_out(cells):
    ax = pl.embedding(cells, "X_two", color="kind")
    drawn = ax.collections[0].get_offsets()
    assert sorted(map(tuple, np.round(drawn, 9))) == sorted(map(tuple, np.round(cells.obsm["X_two"], 9)))
    assert {"a", "b"} <= set(words(ax)) and "kind" in words(ax)
    laid = pl.embedding(cells, color="kind").collections[0].get_offsets()
    again = pl.embedding(cells, color="kind").collections[0].get_offsets()
    np.testing.assert_array_equal(laid, again)
    assert list(cells.obsm) == ["X_mosaic", "X_two"]  # nothing is written back


def test_numbers_get_a_scale_and_flags_do_not(cells):
    assert len(pl.embedding(cells, "X_two", color="depth").figure.axes) == 2
    assert len(pl.embedding(cells, "X_two", color="flag").figure.axes) == 1
    assert pl.embedding(cells, "X_two").get_title(loc="left") == ""


def test_what_is_not_there_is_named(cells):
    with pytest.raises(InputError, match="did you mean kind"):
        pl.embedding(cells, "X_two", color="kinds")
    with pytest.raises(InputError, match="no obsm\\['X_umap'\\]"):
        pl.embedding(cells, "X_umap")


def test_names_stand_in_place_only_where_groups_lie_apart():
    rng = np.random.default_rng(0)
    kind = np.repeat(["B", "NK"], 60)
    obs = pd.DataFrame({"kind": kind, "donor": np.tile(["p1", "p2"], 60)}, index=[str(i) for i in range(120)])
    data = AnnData(np.zeros((120, 1)), obs=obs)
    data.obsm["X_umap"] = rng.normal(size=(120, 2)) + 8 * (kind == "B")[:, None]
    apart, mixed = (pl.embedding(data, "X_umap", color=color) for color in ("kind", "donor"))
    assert sorted(t.get_text() for t in apart.texts) == ["B", "NK"] and not mixed.texts
    assert {t.get_text() for t in mixed.get_legend().get_texts()} == {"p1", "p2"}


def test_measured_modalities_are_a_colour(omicsfm_data):
    mdata = ofm.datasets.load("pbmc_mosaic")
    mdata.obsm["X_two"] = np.random.default_rng(0).normal(size=(mdata.n_obs, 2))
    found = words(pl.embedding(mdata, "X_two", color="modality_mask"))
    assert {"rna", "protein", "rna + protein"} <= set(found)


def test_mask_of_a_mudata_counts_the_cells_and_says_absent(omicsfm_data):
    ax = pl.modality_mask(ofm.datasets.load("pbmc_mosaic"))
    found = words(ax)
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
    ax = pl.forest(table)
    found = words(ax)
    assert "+0.020 [0.010, 0.030]" in found
    assert "-0.030 [-0.050, 0.010]" in found
    lines = [line for line in ax.get_lines() if len(line.get_xdata()) == 2 and line.get_linewidth() == 2]
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
    ax = pl.quality_cost(table, "foscttm", tested=["LinearMosaic"])
    points = [line for line in ax.get_lines() if isinstance(line, Line2D)]
    assert [p.get_label() for p in points].count("under test") == 1
    assert [p.get_label() for p in points].count("baseline") == 3
    found = words(ax)
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
    ax = pl.coverage(labels, level=0.9, overall=0.91)
    found = words(ax)
    assert "92.0%, 90 cells" in found
    assert "80.0%, 9 cells" in found
    assert "not measured" in found
    assert "promised 90%" in found
    low, high = ax.get_xlim()
    assert low < 0.80 < 0.92 < high


@pytest.mark.parametrize(("n", "axes"), [(400, 1), (3000, 2)])
def test_few_pairs_are_points_and_many_a_density(n, axes):
    x = np.random.default_rng(0).normal(size=n)
    ax = pl.imputation(x, x / 2)
    assert len(ax.figure.axes) == axes  # a density has a scale
    assert (ax.get_xlim()[0] > 1.3 * x.min()) and ax.collections[0].get_offsets()[:, 1].max() <= x.max()


def test_imputation_refuses_what_it_cannot_draw():
    with pytest.raises(InputError, match="pairs"):
        pl.imputation([1.0, 2.0], [1.0])
    with pytest.raises(InputError, match="found none"):
        pl.imputation([np.nan], [1.0])


def test_embedding_refuses_other_lengths():
    with pytest.raises(InputError, match="one group per cell"):
        grouped([0.0, 1.0], [0.0, 1.0], ["a"])


def test_names_from_data_are_no_formulas_and_stay_short():
    names = ["$\\frac{1}{0}$", "a" * 200, "new\nline", "<b>&"] * 5
    found = words(grouped(range(20), range(20), names))
    assert "$\\frac{1}{0}$" in found
    assert max(map(len, found)) <= 40
    assert any("&lt;b&gt;" in word for word in found)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 30, 80])
def test_every_group_has_its_own_look(n):
    groups = [f"g{i}" for i in range(n)] * 2 + [None]
    ax = grouped(range(2 * n + 1), range(2 * n + 1), groups)
    handles = ax.get_legend().legend_handles
    looks = {(h.get_color(), h.get_marker()) for h in handles}
    assert len(looks) == len(handles)
    drawn = sum(len(c.get_offsets()) for c in ax.collections)
    assert drawn == 2 * n + 1


def test_spread_moves_apart_and_keeps_the_order():
    out = spread([0.5, 0.5, 0.9, 0.51], gap=0.1)
    assert np.diff(np.sort(out)).min() >= 0.1 - 1e-6
    assert out[2] == max(out)
    assert spread([0.1, 0.9], gap=0.1) == [0.1, 0.9]


def test_arrows():
    assert [arrow(m) for m in ("foscttm", "accuracy:rna", "interval_width", "nobody")] == ["↓", "↑", "", ""]
