"""Whether the score rests on the bases that an explanation names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from omicsfm._errors import InputError
from omicsfm.pl._style import BAD, GOOD, NEUTRAL, canvas, finish, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOOKS = {"deletion": (BAD, "o"), "insertion": (GOOD, "^")}


def faithfulness(
    found: Any,
    *,
    title: str = "Is the explanation true to the model?",
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
) -> Axes:
    """Draw deletion and insertion curves, each beside that of random orders.

    Parameters
    ----------
    found
        From :func:`omicsfm.explain.faithfulness`.
    title
        Heading.
    ax
        Axes to draw on; else those of a new figure.
    save
        File to write the figure to; its ending says the format.

    Returns
    -------
    The axes: full lines in the order of the explanation, dashed ones in random order; the legend says what lies
    between them, with its interval.

    Raises
    ------
    InputError
        If it is no such result.
    """
    curves = getattr(found, "curves", None)
    if curves is None:
        raise InputError(
            f"pl.faithfulness: what ofm.explain.faithfulness returns was needed, found {type(found).__name__}. "
            "Fix: pass that."
        )
    with canvas(2.9, ax) as ax:
        for curve, (colour, marker) in _LOOKS.items():
            gain = getattr(found, curve)
            told = f"{curve}: {gain.difference:+.3f} [{gain.low:.3f}, {gain.high:.3f}]"
            for order, style, mark in (("attribution", "-", marker), ("random", "--", "")):
                rows = curves[(curves["curve"] == curve) & (curves["order"] == order)]
                looks: dict[str, Any] = {"color": colour, "linestyle": style, "marker": mark, "markersize": 4}
                ax.plot(rows["fraction"], rows["score"], label=told if mark else None, linewidth=1.5, **looks)
        ax.plot([], [], color=NEUTRAL, linestyle="--", label="random order")
        ax.set_xlabel("bases taken away, or put in")
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        ax.set_ylabel("mean score")
        ax.legend(loc="best")
        ax.set_title(plain(title, 60))
        return finish(ax, save)
