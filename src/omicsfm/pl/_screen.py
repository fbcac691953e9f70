"""Which perturbations of a screen can be measured."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from omicsfm._errors import InputError
from omicsfm.pl._style import GOOD, INK, NEUTRAL, canvas, finish, plain, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAMED = 12


def reproducibility(
    table: pd.DataFrame,
    *,
    threshold: float | None = None,
    title: str = "",
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
) -> Axes:
    """Draw how well each perturbation's effect repeats, against its number of cells.

    Parameters
    ----------
    table
        ``omicsfm.tl.screen_report(mdata).perturbations``: perturbation, context, n_cells, reliability, measurable.
    threshold
        Reliability that was needed; None: that of `screen_report`.
    title
        Heading; empty: how many are measurable.
    ax
        Axes to draw on; else a new figure.
    save
        File to write the figure to; its ending says the format.

    Returns
    -------
    The axes. Filled circles are measurable, the twelve most reliable of them named; open ones are not. Some lie above
    the line and are not measurable: control cells of that number repeat as well.

    Raises
    ------
    InputError
        If a column is missing, or no perturbation had enough cells to be cut in halves.
    """
    from omicsfm.tl._screen_report import RELIABLE

    needed = ["perturbation", "n_cells", "reliability", "measurable"]
    if missing := [column for column in needed if column not in table.columns]:
        raise InputError(
            f"reproducibility: the table lacks {', '.join(missing)}. Fix: ofm.tl.screen_report(mdata).perturbations."
        )
    judged = table[table["reliability"].notna()].reset_index(drop=True)
    if judged.empty:
        raise InputError(
            "reproducibility: no perturbation has a reliability, found cells too few to be cut in halves. "
            "Fix: draw a screen with more cells."
        )
    limit = RELIABLE if threshold is None else threshold
    good = judged["measurable"].to_numpy(dtype=bool)
    x, y = judged["n_cells"].to_numpy(dtype=float), judged["reliability"].to_numpy(dtype=float)
    with canvas(3.3, ax) as ax:
        ax.set_xscale("log")
        looks: list[tuple[np.ndarray, str, str, str]] = [
            (~good, NEUTRAL, "white", f"not measurable ({int((~good).sum())})"),
            (good, GOOD, GOOD, f"measurable ({int(good.sum())})"),
        ]
        for own, colour, face, label in looks:
            ax.plot(x[own], y[own], "o", color=colour, markerfacecolor=face, markersize=5, label=label)
        ax.axhline(limit, color="#666666", linewidth=0.8, linestyle="--", zorder=0)
        ax.annotate(f"{limit:g}", (0, limit), xycoords=("axes fraction", "data"), xytext=(2, 2), fontsize=8.5,
                    textcoords="offset points", color="#555555")  # fmt: skip
        ax.set_ylim(-0.04, 1.04)
        _whole_ticks(ax, x)
        best = judged[good].nlargest(_NAMED, "reliability").index
        _name_beside(ax, [_name(judged.loc[i]) for i in best], x[best], y[best])
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, borderpad=0, handletextpad=0.2)
        ax.set_xlabel("perturbed cells, log scale")
        ax.set_ylabel("reproducibility of the effect\n(independent halves, Spearman-Brown)")
        told = f"{int(good.sum())} of {len(table)} perturbations measurable"
        ax.set_title(plain(title or told, 60), pad=20)
        return finish(ax, save)


def _name(row: pd.Series) -> str:
    several = "context" in row and row["context"] != "all"
    return f"{row['perturbation']}, {row['context']}" if several else str(row["perturbation"])


def _whole_ticks(ax: Axes, x: np.ndarray) -> None:
    """Label a log axis of cells with numbers of cells."""
    from matplotlib.ticker import LogLocator, NullFormatter

    decades = np.log10(x.max() / max(x.min(), 1))
    ax.set_xlim(max(x.min(), 1) / 1.2, x.max() * 1.2)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2 else (1,), numticks=6))
    ax.xaxis.set_major_formatter(lambda cells, _: f"{cells:,.0f}")
    ax.xaxis.set_minor_formatter(NullFormatter())


def _name_beside(ax: Axes, names: list[str], x: np.ndarray, y: np.ndarray) -> None:
    """Write names in a column right of the axes, led to their points by lines: points lie close."""
    low, high = ax.get_ylim()
    heights = spread(((y - low) / (high - low)).tolist(), 1 / 14)
    shift = max(max(heights, default=0) - 1, 0)
    looks: dict[str, Any] = {"arrowstyle": "-", "color": "#AAAAAA", "linewidth": 0.7, "shrinkA": 1, "shrinkB": 3}
    for name, at_x, at_y, height in zip(names, x, y, heights, strict=True):
        ax.annotate(plain(name, 18), xy=(at_x, at_y), xytext=(1.06, height - shift), textcoords="axes fraction",
                    va="center", fontsize=8.5, color=INK, arrowprops=looks)  # fmt: skip
