"""Predicted against measured, and how often the interval held it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from omicsfm._errors import InputError
from omicsfm.pl._style import BAD, GOOD, canvas, figure_of, finish, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MANY = 30
_FEW = 2000  # pairs that points can show


def imputation(
    observed: Any,
    predicted: Any,
    *,
    scale: str = "",
    title: str = "",
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
) -> Axes:
    """Draw predicted against measured values: points, or beyond 2,000 pairs their density.

    Parameters
    ----------
    observed, predicted
        (n,) values on the same scale; pairs that are not finite are left out.
    scale
        Name of that scale, for the axes.
    title
        Heading.
    ax
        Axes to draw on; else those of a new figure.
    save
        File to write the figure to; its ending says the format.

    Returns
    -------
    The axes; the diagonal is a perfect prediction.

    Raises
    ------
    InputError
        If the lengths differ or no finite pair is left.
    """
    x, y = np.asarray(observed, dtype=float), np.asarray(predicted, dtype=float)
    if x.shape != y.shape:
        raise InputError(f"imputation: needed pairs, found shapes {x.shape} and {y.shape}. Fix: pass equal lengths.")
    kept = np.isfinite(x) & np.isfinite(y)
    x, y = x[kept], y[kept]
    if not len(x):
        raise InputError("imputation: needed finite pairs, found none. Fix: pass measured values and predictions.")
    unit = f" ({plain(scale)} scale)" if scale else ""
    # A few extreme values must not squeeze the rest into a corner.
    low, high = np.quantile(np.concatenate([x, y]), [0.001, 0.999])
    inside = (x >= low) & (x <= high) & (y >= low) & (y <= high)
    with canvas(3.5, ax) as ax:
        if inside.sum() <= _FEW:
            ax.scatter(x[inside], y[inside], s=8, color=GOOD, alpha=0.5, linewidths=0, rasterized=True)
        else:
            looks: dict[str, Any] = {"gridsize": 45, "extent": (low, high, low, high), "bins": "log", "mincnt": 1}
            density = ax.hexbin(x[inside], y[inside], cmap="cividis_r", linewidths=0, rasterized=True, **looks)
            bar = figure_of(ax).colorbar(density, ax=ax, label="pairs", pad=0.02)
            bar.outline.set_visible(False)
        ax.plot([low, high], [low, high], color=BAD, linewidth=1.2, linestyle="--", label="perfect")
        ax.set_xlabel(f"measured{unit}")
        ax.set_ylabel(f"predicted{unit}")
        ax.legend(loc="upper left", borderpad=0)
        ax.set_title(plain(title, 60))
        return finish(ax, save)


def coverage(
    by_label: pd.DataFrame,
    *,
    level: float,
    overall: float | None = None,
    title: str = "",
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
) -> Axes:
    """Draw how many measured values the intervals held, by cell type, against the level they promise.

    Parameters
    ----------
    by_label
        Columns ``label``, ``n`` (cells) and ``coverage`` (share of values inside). Beyond 30 labels the smallest are
        left out, and the figure says so.
    level
        Nominal coverage.
    overall
        Coverage of all values.
    title
        Heading.
    ax
        Axes to draw on; else those of a new figure.
    save
        File to write the figure to; its ending says the format.

    Returns
    -------
    The axes.
    """
    table = by_label.sort_values("n", ascending=False)
    hidden = max(len(table) - _MANY, 0)
    table = table.head(_MANY)
    with canvas(1.15 + 0.23 * len(table), ax) as ax:
        reached = table["coverage"].to_numpy(dtype=float)
        ax.axvline(level, color="#333333", linewidth=1.2, linestyle="--", label=f"promised {level:.0%}")
        if overall is not None and np.isfinite(overall):
            ax.axvline(overall, color=GOOD, linewidth=1.2, label=f"reached, all cells {overall:.1%}")
        for i, (share, row) in enumerate(zip(reached, table.itertuples(index=False), strict=True)):
            if np.isfinite(share):
                ax.plot([level, share], [i, i], color="#999999", linewidth=1)
                ax.plot([share], [i], marker="o", color=GOOD, markersize=6, linestyle="")
            words = f"{share:.1%}, {int(row.n):,} cells" if np.isfinite(share) else "not measured"
            ax.text(1.02, i, words, transform=ax.get_yaxis_transform(), va="center", fontsize=8.5)
        low = min(np.nanmin(reached, initial=level), level)
        ax.set_xlim(max(low - 0.04, -0.02), min(max(np.nanmax(reached, initial=level), level) + 0.03, 1.02))
        ax.set_yticks(range(len(table)), [plain(label, 16) for label in table["label"]])
        ax.set_ylim(len(table) - 0.5, -0.5)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        ax.locator_params(axis="x", nbins=4)
        note = f"\nthe {hidden} smallest labels are not drawn" if hidden else ""
        ax.set_xlabel(f"measured values inside their interval{note}")
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, borderpad=0.2, columnspacing=1)
        ax.set_title(plain(title, 60), pad=20)
        return finish(ax, save)
