"""What each base contributes, as letters of that height."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from omicsfm._errors import InputError
from omicsfm.pl._style import INK, MISSING, canvas, finish, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {"A": "#009E73", "C": "#0072B2", "G": "#E69F00", "T": "#D55E00"}
_LONGEST = 400  # letters that can still be told apart on paper


def attribution(
    values: Any,
    sequence: str,
    *,
    start: int = 0,
    title: str = "What each base contributes",
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
) -> Axes:
    """Draw one explained sequence as a logo: a letter is as high as its base contributes, below zero if it takes away.

    Parameters
    ----------
    values
        (L,) contributions, such as a row of :func:`omicsfm.explain.deeplift`.
    sequence
        The L bases; of a long one pass the part to look at, and its `start`.
    start
        Position of the first base, for the axis.
    title
        Heading.
    ax
        Axes to draw on; else those of a new figure.
    save
        File to write the figure to; its ending says the format.

    Returns
    -------
    The axes. A base that is not known is a grey bar.

    Raises
    ------
    InputError
        If there is not one finite value per base, or there are more than 400.
    """
    from matplotlib.patches import PathPatch, Rectangle
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    heights = np.asarray(values, dtype=np.float64)
    if heights.shape != (len(sequence),) or not np.isfinite(heights).all() or not 0 < len(sequence) <= _LONGEST:
        raise InputError(
            f"pl.attribution: one finite value for each of 1 to {_LONGEST} bases was needed, found shape "
            f"{heights.shape} for {len(sequence)} bases. Fix: pass one row, and a part of it if it is long."
        )
    letters = {}
    for letter in _COLOURS:
        path = TextPath((0, 0), letter, size=1)
        box = path.get_extents()
        # Each letter fills a square of 1, so that its height is its value.
        letters[letter] = path.transformed(Affine2D().translate(-box.x0, -box.y0).scale(1 / box.width, 1 / box.height))
    with canvas(1.9, ax) as ax:
        for i, (letter, height) in enumerate(zip(sequence.upper(), heights, strict=True)):
            if letter not in letters:
                ax.add_patch(Rectangle((start + i - 0.45, 0), 0.9, height, color=MISSING, linewidth=0))
                continue
            place = Affine2D().scale(0.9, height).translate(start + i - 0.45, 0)
            patch = PathPatch(letters[letter].transformed(place), facecolor=_COLOURS[letter], linewidth=0)
            ax.add_patch(patch)
        ax.axhline(0, color=INK, linewidth=0.6)
        ax.set_xlim(start - 0.7, start + len(sequence) - 0.3)
        low, high = min(heights.min(), 0.0), max(heights.max(), 0.0)
        room = 0.06 * ((high - low) or 1.0)
        ax.set_ylim(low - room, high + room)
        ax.locator_params(axis="x", integer=True, nbins=8)
        ax.locator_params(axis="y", nbins=4)
        ax.set_xlabel("position")
        ax.set_ylabel("contribution")
        ax.set_title(plain(title, 60))
        return finish(ax, save)
