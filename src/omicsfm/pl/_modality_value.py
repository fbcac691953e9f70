"""What each modality adds to each task, with intervals."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from omicsfm.pl._style import BAD, GOOD, NEUTRAL, canvas, finish, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TOLD = {"cell_state": "label of a cell", "imputation": "imputed", "matching": "halves matched"}


def modality_value(
    table: pd.DataFrame,
    *,
    title: str = "What each modality adds",
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
) -> Axes:
    """Draw what each modality adds to each task: difference and interval, one line each.

    Parameters
    ----------
    table
        From :func:`omicsfm.tl.modality_value`.
    title
        Heading.
    ax
        Axes to draw on; else those of a new figure.
    save
        File to write the figure to; its ending says the format.

    Returns
    -------
    The axes. Right of zero the modality helps; filled where the interval leaves zero out.
    """
    rows = table[table["modality"] != ""].reset_index(drop=True)
    with canvas(0.8 + 0.52 * max(len(rows), 1), ax) as ax:
        for i, row in rows.iterrows():
            gain, low, high = (float(row[key]) for key in ("difference", "lower", "upper"))
            colour, marker = (GOOD, "o") if low > 0 else (BAD, "s") if high < 0 else (NEUTRAL, "o")
            face = "white" if colour == NEUTRAL else colour
            ax.plot([0, 0], [i - 0.14, i + 0.3], color="#666666", linewidth=0.8, zorder=0)
            ax.plot([low, high], [i, i], color=colour, linewidth=2, solid_capstyle="butt")
            ax.plot([gain], [i], marker=marker, color=colour, markerfacecolor=face, markersize=6, linestyle="")
            line: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": 8.5}
            task = f"{_TOLD.get(row['task'], row['task'])}: {row['target']}"
            number = "not compared" if np.isnan(low) else f"{gain:+.3f} [{low:.3f}, {high:.3f}]"
            ax.text(0, i - 0.56, plain(task, 52), ha="left", **line)
            ax.text(0, i - 0.29, plain(f"with {row['modality']}", 29), ha="left", color="#555555", **line)
            ax.text(1, i - 0.29, number, ha="right", color=colour, **line)
        ax.set_ylim(max(len(rows), 1) - 0.6, -0.8)
        reach = np.nanmax(np.abs(rows[["difference", "lower", "upper"]].to_numpy(dtype=float)), initial=1e-3) * 1.08
        ax.set_xlim(-reach, reach)
        ax.locator_params(axis="x", nbins=5)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.set_xlabel("← hurts  |  adds →")
        ax.set_title(plain(title, 60))
        return finish(ax, save)
