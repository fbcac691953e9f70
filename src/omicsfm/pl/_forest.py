"""Differences to the best baseline, with their intervals."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from omicsfm.pl._style import BAD, GOOD, NEUTRAL, canvas, finish, plain
from omicsfm.pl.facts import gains

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# favours -> colour and shape; the shape says it without the colour.
LOOKS = {"method": (GOOD, "o", GOOD), "baseline": (BAD, "s", BAD), "neither": (NEUTRAL, "o", "white")}


def forest(
    verdicts: pd.DataFrame, *, title: str = "", ax: Axes | None = None, save: str | os.PathLike[str] | None = None
) -> Axes:
    """Draw every comparison of a method with its best baseline: gain and interval, one line each.

    Parameters
    ----------
    verdicts
        Rows of ``Results.verdicts``: ``metric``, ``method``, ``baseline``, ``difference``, ``lower``, ``upper``,
        ``favours`` ("method", "baseline" or "neither").
    title
        Heading.
    ax
        Axes to draw on; else those of a new figure.
    save
        File to write the figure to; its ending says the format.

    Returns
    -------
    The axes. Values right of zero favour the method, also for metrics that should be low.
    """
    table = pd.concat([verdicts.reset_index(drop=True), gains(verdicts.reset_index(drop=True))], axis=1)
    several = table["method"].nunique() > 1
    with canvas(0.8 + 0.52 * max(len(table), 1), ax) as ax:
        for i, row in enumerate(table.itertuples(index=False)):
            colour, marker, face = LOOKS[str(row.favours)]
            ax.plot([0, 0], [i - 0.14, i + 0.3], color="#666666", linewidth=0.8, zorder=0)
            if not np.isnan(row.low):
                ax.plot([row.low, row.high], [i, i], color=colour, linewidth=2, solid_capstyle="butt")
            if not np.isnan(row.gain):
                ax.plot([row.gain], [i], marker=marker, color=colour, markerfacecolor=face, markersize=6, linestyle="")
            number = f"{row.gain:+.3f} [{row.low:.3f}, {row.high:.3f}]"
            if np.isnan(row.low):
                number = "not compared" if np.isnan(row.gain) else f"{row.gain:+.3f}, no interval"
            line: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": 8.5}
            against = f"{plain(row.method, 12)} vs {row.baseline}" if several else f"vs {row.baseline}"
            ax.text(0, i - 0.56, plain(row.metric, 52), ha="left", **line)
            ax.text(1, i - 0.29, number, ha="right", color=colour, **line)
            ax.text(0, i - 0.29, plain(against, 29), ha="left", color="#555555", **line)
        ax.set_ylim(max(len(table), 1) - 0.6, -0.8)
        reach = np.nanmax(np.abs(table[["gain", "low", "high"]].to_numpy()), initial=1e-3) * 1.08
        ax.set_xlim(-reach, reach)
        ax.locator_params(axis="x", nbins=5)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.set_xlabel("← baseline better  |  method better →")
        ax.set_title(plain(title, 60))
        return finish(ax, save)
