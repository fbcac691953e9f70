"""Cells in two dimensions, coloured by group."""

from __future__ import annotations

import os
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from scipy.spatial import KDTree

from omicsfm._errors import InputError
from omicsfm.bench._pictures import measured_sets
from omicsfm.pl._style import INK, MARKERS, MISSING, TOL_MUTED, WIDTH, canvas, colours, figure_of, finish, plain, spread
from omicsfm.tl._layout import umap_layout

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_GROUPS = len(TOL_MUTED) * len(MARKERS)
_NAMED_IN_PLACE = 12
_NEAR = 10


def _middle(points: np.ndarray) -> np.ndarray:
    """Give the point nearest to the median: that of a group in two pieces lies where it has no cell."""
    return points[np.argmin(np.linalg.norm(points - np.median(points, axis=0), axis=1))]


def embedding(
    data: MuData | AnnData,
    basis: str = "X_mosaic",
    *,
    color: str | None = None,
    title: str | None = None,
    seed: int = 0,
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
) -> Axes:
    """Scatter cells in two dimensions, coloured by what is known of them. For looking only.

    Parameters
    ----------
    data
        With the embedding in ``obsm``.
    basis
        Its key. One with more than two columns, such as the state that :func:`omicsfm.tl.integrate` writes, is laid out
        by UMAP first (at most 5,000 cells, drawn at random); nothing is written back.
    color
        Column of ``obs``, or "modality_mask": the modalities that a cell was measured in. Numbers get a scale, all else
        groups, whose names are written at their middle where there are at most 12 and they lie apart; None: all cells
        alike.
    title
        Heading; None: `color`.
    seed
        Of the layout.
    ax
        Axes to draw on; else those of a new figure.
    save
        File to write the figure to; its ending says the format.

    Returns
    -------
    The axes.

    Raises
    ------
    InputError
        If there is no such embedding or column.
    """
    if basis not in data.obsm:
        raise InputError(
            f"embedding: there is no obsm['{basis}'], found {[str(key) for key in data.obsm]}. "
            "Fix: ofm.tl.integrate(mdata), or name another."
        )
    state = np.asarray(data.obsm[basis], dtype=np.float64)
    rows, xy = (np.arange(len(state)), state) if state.shape[1] == 2 else umap_layout(state, seed=seed)
    heading = (color or "") if title is None else title
    values = _values(data, color)
    if isinstance(values, pd.Series) and pd.api.types.is_numeric_dtype(values) and values.dtype.kind != "b":
        return _scaled(xy, values.to_numpy(dtype=float)[rows], title=heading, ax=ax, save=save)
    groups = (np.full(len(state), None) if values is None else np.asarray(values, dtype=object))[rows]
    apart = _lie_apart(xy, groups)
    return grouped(xy[:, 0], xy[:, 1], list(groups), title=heading, name_in_place=apart, ax=ax, save=save)


def _lie_apart(xy: np.ndarray, groups: np.ndarray) -> bool:
    """Tell whether cells of most groups have neighbours of their own: a name in the middle of others misleads."""
    known = pd.notna(groups)
    xy, group = xy[known], groups[known].astype(str)
    if len(xy) <= _NEAR:
        return True
    near = KDTree(xy).query(xy, k=_NEAR + 1)[1][:, 1:]
    same = pd.Series((group[near] == group[:, None]).mean(axis=1)).groupby(group).mean()
    chance = pd.Series(group).value_counts(normalize=True)[same.index]
    return bool(((same - chance) >= 0.5 * (1 - chance)).mean() >= 0.5)  # half of the way from mixed to apart


def _values(data: MuData | AnnData, color: str | None) -> pd.Series | np.ndarray | None:
    if color is None:
        return None
    if color == "modality_mask" and isinstance(data, MuData):
        return measured_sets(data)
    if color not in data.obs.columns:
        close = get_close_matches(color, [str(c) for c in data.obs.columns], n=3)
        raise InputError(
            f"embedding: obs has no column '{color}'. "
            f"Fix: {'did you mean ' + ', '.join(close) + '?' if close else 'name a column of obs.'}"
        )
    return data.obs[color]


def _scaled(
    xy: np.ndarray, values: np.ndarray, *, title: str, ax: Axes | None, save: str | os.PathLike[str] | None
) -> Axes:
    """Colour cells by a number; those without one lie in grey below."""
    size = _size(len(xy))
    order = np.random.default_rng(0).permutation(len(xy))
    known = order[np.isfinite(values[order])]
    with canvas(WIDTH * 0.82, ax) as ax:
        none = xy[~np.isfinite(values)]
        ax.scatter(none[:, 0], none[:, 1], color=MISSING, s=size, linewidths=0, rasterized=True)
        looks: dict[str, Any] = {"s": size, "cmap": "cividis", "linewidths": 0, "rasterized": True}
        drawn = ax.scatter(xy[known, 0], xy[known, 1], c=values[known], **looks)
        bar = figure_of(ax).colorbar(drawn, ax=ax, pad=0.02)
        bar.outline.set_visible(False)  # type: ignore[operator]
        ax.set_title(plain(title, 60))
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        return finish(ax, save)


def _size(n: int) -> float:
    return float(np.clip(9000 / max(n, 1), 1.5, 14))


def grouped(
    x: Any,
    y: Any,
    groups: Sequence[Any],
    *,
    title: str = "",
    name_in_place: bool = True,
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
) -> Axes:
    """Scatter cells by two coordinates, coloured by group.

    Parameters
    ----------
    x, y
        (n,) coordinates.
    groups
        (n,) group of every cell; missing (None, NaN) is drawn in grey below the others.
    title
        Heading.
    name_in_place
        Write each group's name at the middle of its cells too (up to 12 groups). Right for groups that lie apart, such
        as cell types; wrong for those that should mix, such as donors.
    ax, save
        As in :func:`embedding`.

    Returns
    -------
    The axes; points are one picture inside them, drawn in random order so that no group hides another.

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
    size = _size(len(points))
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
                box = {"facecolor": "white", "alpha": 0.45, "edgecolor": "none", "pad": 0.2}
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
        return finish(ax, save)
