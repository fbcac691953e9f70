"""Predicted beside observed responses to perturbations."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from omicsfm._errors import InputError
from omicsfm.pl._style import BAD, GOOD, MISSING, canvas, figure_of, finish, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def top_genes(predicted: pd.DataFrame, n: int) -> pd.Index:
    """Give the genes with the largest predicted effect (root mean square over rows), in their order in the table.

    The choice must not look at what was observed: of thousands of genes, those that happened to move most would be
    shown, and no prediction reaches a maximum of noise.
    """
    size = np.square(predicted.to_numpy(dtype=np.float64)).mean(axis=0)
    return predicted.columns[np.sort(np.argsort(-size, kind="stable")[:n])]


def response_heatmap(
    predicted: pd.DataFrame,
    observed: pd.DataFrame,
    *,
    n_genes: int = 25,
    n_perturbations: int = 10,
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
) -> Axes:
    """Draw predicted beside observed effects, in one colour scale, for the genes predicted to respond most.

    Parameters
    ----------
    predicted
        (perturbations x genes) effects, such as ``Response.mean``.
    observed
        The same rows and genes, measured; NaN where not measured.
    n_genes, n_perturbations
        How many of each: those with the largest *predicted* effect, never by what was observed.
    ax
        Axes to draw on; else a new figure.
    save
        File to write the figure to.

    Returns
    -------
    The axes: genes as rows, sorted by their mean predicted effect; two blocks of perturbations. The colours end at the
    98th percentile of all absolute values shown.

    Raises
    ------
    InputError
        If rows or genes differ, or nothing is predicted.
    """
    from matplotlib.colors import LinearSegmentedColormap

    if list(predicted.index) != list(observed.index) or set(predicted.columns) != set(observed.columns):
        raise InputError(
            "response_heatmap: predicted and observed need the same rows in the same order, and the same genes. "
            "Fix: observed.loc[predicted.index, predicted.columns]."
        )
    if predicted.empty:
        raise InputError("response_heatmap: nothing is predicted, found an empty table. Fix: pass predictions.")
    size = np.square(predicted.to_numpy(dtype=np.float64)).sum(axis=1)
    rows = np.sort(np.argsort(-size, kind="stable")[:n_perturbations])
    genes = top_genes(predicted.iloc[rows], n_genes)
    left = predicted.iloc[rows][genes]
    genes = left.mean().sort_values(ascending=False, kind="stable").index
    left, right = (table.iloc[rows][genes].to_numpy(dtype=np.float64).T for table in (predicted, observed))
    both = np.abs(np.concatenate([left, right], axis=1))
    limit = float(np.nanquantile(both, 0.98)) or float(np.nanmax(both)) or 1.0
    names = [plain(name, 16) for name in predicted.index[rows]]
    gap, many = 0.6, len(rows)
    colours = LinearSegmentedColormap.from_list("effect", [GOOD, "#FFFFFF", BAD]).with_extremes(bad=MISSING)
    with canvas(1.5 + 0.16 * len(genes) + 0.07 * max(map(len, names)), ax) as ax:
        looks: dict[str, Any] = {"cmap": colours, "vmin": -limit, "vmax": limit, "aspect": "auto",
                                 "interpolation": "nearest"}  # fmt: skip
        for start, block, head in ((0.0, left, "predicted"), (many + gap, right, "observed")):
            image = ax.imshow(block, extent=(start - 0.5, start + many - 0.5, len(genes) - 0.5, -0.5), **looks)
            ax.text(start + many / 2 - 0.5, -0.8, head, ha="center", va="bottom", fontweight="bold")
        ax.set_xlim(-0.5, 2 * many + gap - 0.5)
        ax.set_ylim(len(genes) - 0.5, -0.5)
        ax.set_xticks([*range(many), *(i + many + gap for i in range(many))], names * 2, rotation=90, fontsize=7.5)
        ax.set_yticks(range(len(genes)), [plain(gene, 16) for gene in genes], fontsize=7.5)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        bar = figure_of(ax).colorbar(image, ax=ax, orientation="horizontal", fraction=0.03, pad=0.02, extend="both")
        bar.set_label("effect (down blue, up orange)")
        bar.outline.set_visible(False)  # type: ignore[operator]
        ax.set_title("Genes chosen by predicted effect", pad=18)
        return finish(ax, save)
