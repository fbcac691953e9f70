"""One look for all figures: narrow enough to be read on a phone, colours that the colour-blind tell apart."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito 2008 without yellow, which white paper swallows; beyond seven, Tol's "muted".
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
TOL_MUTED = ("#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499")
MARKERS = ("o", "^", "s", "D", "v", "P")
GOOD, BAD, NEUTRAL = "#0072B2", "#D55E00", "#767676"
MISSING = "#BBBBBB"
INK = "#1A1A1A"

# Inches. 4.1 in is 394 CSS pixels: on a phone the figure stands at its own size and 9 pt stay 9 pt.
WIDTH = 4.1
SCREEN_DPI = 150  # a notebook shows one pixel per pixel: at 100 small words blur

_RC: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "omicsfm",
}


_DETACHED: ContextVar[bool] = ContextVar("detached", default=False)


@contextmanager
def detached() -> Iterator[None]:
    """Make new figures that pyplot does not know, for those that nobody will look at in a session."""
    token = _DETACHED.set(True)
    try:
        yield
    finally:
        _DETACHED.reset(token)


@contextmanager
def canvas(height: float, ax: Axes | None = None) -> Iterator[Axes]:
    """Give axes to draw on, in our style: `ax`, or those of a new figure, which notebooks show by themselves.

    Parameters
    ----------
    height
        Inches, for a new figure.
    ax
        Axes to use instead.
    """
    import matplotlib as mpl

    # Outside of our settings: pyplot loads a notebook's backend with its first figure, and what that sets must stay.
    figure = _figure(height) if ax is None else figure_of(ax)
    with mpl.rc_context(_RC):
        yield ax or figure.add_subplot()


def _figure(height: float) -> Figure:
    looks: Any = {"figsize": (WIDTH, height), "layout": "constrained", "facecolor": "white"}
    if _DETACHED.get():
        from matplotlib.figure import Figure

        return Figure(**looks)
    import matplotlib.pyplot as plt

    return plt.figure(**looks, dpi=SCREEN_DPI)


def finish(ax: Axes, save: str | os.PathLike[str] | None) -> Axes:
    """Write the figure of axes to a file if one is named, and give the axes back."""
    if save is not None:
        figure_of(ax).savefig(save, bbox_inches="tight", dpi=200)
    return ax


def figure_of(drawn: Axes | Figure) -> Figure:
    """Give the whole figure that axes belong to."""
    figure: Any = drawn.get_figure(root=True)
    return figure


def colours(n: int) -> list[str]:
    """Give `n` colours; from the tenth on they repeat, and the marker must tell them apart."""
    palette = OKABE_ITO if n <= len(OKABE_ITO) else TOL_MUTED
    return [palette[i % len(palette)] for i in range(n)]


def plain(name: Any, longest: int = 30) -> str:
    """Make a name from the data safe to draw: no formula, no control characters, not longer than the figure."""
    text = "".join(c if c.isprintable() else " " for c in str(name))
    return (text if len(text) <= longest else text[: longest - 1] + "…").replace("$", r"\$")


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Move positions apart until neighbours are at least `gap` apart, each as little as a sweep up and down allows."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    out = [float(p) for p in positions]
    for _ in range(50):
        moved = False
        for below, above in zip(order, order[1:], strict=False):
            short = gap - (out[above] - out[below])
            if short > 1e-9:
                out[below] -= short / 2
                out[above] += short / 2
                moved = True
        if not moved:
            break
    return out


def svg(drawn: Axes | Figure) -> str:
    """Give a figure as SVG text: words stay text, scatters are pictures inside it; the same figure, the same bytes.

    Parameters
    ----------
    drawn
        Any matplotlib Figure, or axes in one, as the functions here return them.

    Returns
    -------
    The ``<svg>`` element, without XML declaration.
    """
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context(_RC):
        figure_of(drawn).savefig(buffer, format="svg", dpi=160, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
