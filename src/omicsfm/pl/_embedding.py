"""Cells in two dimensions, coloured by group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from omicsfm._errors import InputError
from omicsfm.pl._style import INK, MARKERS, MISSING, TOL_MUTED, WIDTH, canvas, colours, figure_of, plain, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_GROUPS = len(TOL_MUTED) * len(MARKERS)
_NAMED_IN_PLACE = 12


def _middle(points: np.ndarray) -> np.ndarray:
    """Give the point nearest to the median: that of a group in two pieces lies where it has no cell."""
    return points[np.argmin(np.linalg.norm(points - np.median(points, axis=0), axis=1))]


def embedding(
    x: Any, y: Any, groups: Sequence[Any], *, title: str = "", name_in_place: bool = True, ax: Axes | None = None
) -> Figure:
    """Scatter cells by two coordinates, coloured by group.

    Parameters
    ----------
    x, y
        (n,) coordinates, such as those of a UMAP.
    groups
        (n,) group of every cell; missing (None, NaN) is drawn in grey below the others.
    title
        Heading.
    name_in_place
        Write each group's name at the middle of its cells too (up to 12 groups). Right for groups that lie apart, such
        as cell types; wrong for those that should mix, such as donors.
    ax
        Axes to draw on; else a new figure.

    Returns
    -------
    The figure; points are one picture inside it, drawn in random order so that no group hides another.

    Raises
    ------
    InputError
        If the lengths differ.
    """
    from matplotlib.lines import Line2D

    points = np.column_stack([np.asarray(x, dtype=float), np.asarray(y, dtype=float)])
    group = pd.Series(list(groups), dtype=object)
    if len(group) != len(points):
        raise InputError(
            f"embedding: one group per cell is needed, found {len(points)} cells and {len(group)} groups. "
            "Fix: pass groups in the order of the coordinates."
        )
    names = [str(name) for name in group.dropna().astype(str).value_counts().index]
    shown, rest = names[: _MOST_GROUPS - 1], names[_MOST_GROUPS - 1 :]
    codes = pd.Index(shown).get_indexer(group.where(group.notna(), None).astype(str))
    codes[group.isna().to_numpy()] = -1
    palette = np.array([*colours(len(shown)), MISSING])
    order = np.random.default_rng(0).permutation(len(points))
    order = order[np.argsort(codes[order] >= 0, kind="stable")]
    size = float(np.clip(9000 / max(len(points), 1), 1.5, 14))
    n_rows = -(-(len(shown) + bool((codes < 0).any())) // 3)
    with canvas(WIDTH * 0.82 + 0.19 * n_rows + 0.25, ax) as ax:
        for shape in range(-(-len(shown) // len(TOL_MUTED)) or 1):
            # Only with more groups than colours do shapes differ.
            mine = order[np.clip(codes[order], 0, None) // len(TOL_MUTED) == shape]
            ax.scatter(
                points[mine, 0],
                points[mine, 1],
                c=palette[codes[mine]],
                s=size,
                marker=MARKERS[shape],
                linewidths=0,
                alpha=0.8,
                rasterized=True,
            )
        if name_in_place and len(shown) <= _NAMED_IN_PLACE:
            middle = np.array([_middle(points[codes == i]) for i in range(len(shown))]).reshape(-1, 2)
            heights = spread(middle[:, 1].tolist(), gap=float(np.ptp(points[:, 1])) * 0.045)
            for name, at, height in zip(shown, middle[:, 0], heights, strict=True):
                box = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.8}
                ax.text(at, height, plain(name, 20), ha="center", va="center", fontweight="bold", color=INK, bbox=box)
        handles = [
            Line2D([], [], marker=MARKERS[i // len(TOL_MUTED)], color=palette[i], linestyle="", label=plain(name, 20))
            for i, name in enumerate(shown)
        ]
        if (codes < 0).any():
            label = f"{len(rest)} others" if rest else "none given"
            handles.append(Line2D([], [], marker="o", color=MISSING, linestyle="", label=label))
        if handles:
            ax.legend(
                handles=handles,
                loc="upper center",
                bbox_to_anchor=(0.5, -0.01),
                ncols=min(3, len(handles)),
                handletextpad=0.1,
                columnspacing=1.2,
                borderpad=0,
            )
        ax.set_title(plain(title, 60))
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        return figure_of(ax)
