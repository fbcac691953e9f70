"""What quality costs."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from omicsfm.pl._style import BAD, GOOD, INK, canvas, finish, plain, spread
from omicsfm.pl.facts import arrow, means

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def quality_cost(
    table: pd.DataFrame,
    metric: str,
    *,
    tested: Collection[str] = (),
    title: str = "",
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
) -> Axes:
    """Draw one metric against CPU seconds, one point per method, cost on a log axis.

    Parameters
    ----------
    table
        Rows of ``Results.table`` of one task and data set.
    metric
        Which metric.
    tested
        Methods under test; all others are baselines and drawn as such.
    title
        Heading.
    ax
        Axes to draw on; else those of a new figure.
    save
        File to write the figure to; its ending says the format.

    Returns
    -------
    The axes. Methods whose cost or value was not measured are named below it.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    mean = means(table[table["metric"] == metric]).droplevel("metric")
    known = mean[(mean["cpu_s"] > 0) & mean["value"].notna()]
    missing = [str(name) for name in mean.index.difference(known.index)]
    known = known.sort_values("value")
    values, costs = (known[column].to_numpy(dtype=float) for column in ("value", "cpu_s"))
    with canvas(max(2.9, 0.9 + 0.2 * len(known)), ax) as ax:
        ax.set_xscale("log")
        for name, value, cost in zip(known.index, values, costs, strict=True):
            mine = name in tested
            colour = GOOD if mine else BAD
            looks: dict[str, Any] = {"marker": "o", "markersize": 7} if mine else {"marker": "D", "markersize": 5.5}
            label = "under test" if mine else "baseline"
            face = colour if mine else "white"
            ax.plot(cost, value, color=colour, markerfacecolor=face, linestyle="", label=label, zorder=3, **looks)
        ax.margins(0.08)
        decades = np.log10(costs.max() / costs.min()) if len(known) else 1.0
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2 else (1,), numticks=6))
        ax.xaxis.set_major_formatter(lambda seconds, _: f"{seconds:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
        low, high = ax.get_ylim()
        # Names stand in a column beside the points, led to them by lines: methods of like cost and quality are common.
        gap = 1 / max(len(known), 12)
        heights = spread(((values - low) / (high - low)).tolist(), gap)
        over = max(max(heights, default=0) - 1, 0)
        for name, value, cost, height in zip(known.index, values, costs, heights, strict=True):
            ax.annotate(
                plain(name),
                xy=(cost, value),
                xytext=(1.06, height - over),
                textcoords="axes fraction",
                va="center",
                fontsize=8.5,
                fontweight="bold" if name in tested else "normal",
                color=INK,
                arrowprops={"arrowstyle": "-", "color": "#AAAAAA", "linewidth": 0.7, "shrinkA": 1, "shrinkB": 3},
            )
        handles, words = ax.get_legend_handles_labels()
        kinds = dict(sorted(zip(words, handles, strict=True), key=lambda kind: kind[0], reverse=True))
        if kinds:
            ax.legend(kinds.values(), kinds.keys(), loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, borderpad=0)
        ax.set_ylabel(f"{plain(metric, 60)} {arrow(metric)}".replace(":", ":\n"))
        note = f"\nnot drawn, cost not measured: {', '.join(plain(name) for name in missing)}" if missing else ""
        ax.set_xlabel(f"CPU seconds, log scale{note}")
        ax.set_title(plain(title, 60), pad=20 if kinds else None)
        return finish(ax, save)
