"""Which batch was measured in which modality."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
from mudata import MuData

from omicsfm import contract
from omicsfm.pl._style import GOOD, canvas, finish, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MANY = 40


def _groups(mdata: MuData) -> dict[str, Any]:
    """Count the cells of every batch by the set of modalities they have."""
    mask = contract.modality_mask(mdata)
    table = mask.assign(batch=contract.batches(mdata).astype(str)).groupby(["batch", *mask.columns], sort=True).size()
    groups = []
    for key, n in table.items():
        batch, *has = key if isinstance(key, tuple) else (key,)
        names = [mod for mod, there in zip(mask.columns, has, strict=True) if there]
        groups.append({"batch": str(batch), "n": int(n), "measured": names})
    return {"modalities": list(mask.columns), "groups": groups}


def modality_mask(
    data: MuData | Mapping[str, Any], *, ax: Axes | None = None, save: str | os.PathLike[str] | None = None
) -> Axes:
    """Draw which batches have which modalities: filled = measured, dashed = absent, cells in numbers.

    Parameters
    ----------
    data
        A MuData, or ``{"modalities": [name, ...], "groups": [{"batch", "n", "measured": [name, ...]}, ...]}``. A batch
        may have several groups. Beyond 40 groups the smallest are summed up in one last line.
    ax
        Axes to draw on; else those of a new figure.
    save
        File to write the figure to; its ending says the format.

    Returns
    -------
    The axes.
    """
    from matplotlib.patches import Rectangle

    picture = _groups(data) if isinstance(data, MuData) else data
    modalities = [str(mod) for mod in picture["modalities"]]
    frame = pd.DataFrame(list(picture["groups"]), columns=["batch", "n", "measured"])
    rest = frame.sort_values("n", ascending=False).iloc[_MANY:]
    frame = frame.drop(rest.index)
    with canvas(0.75 + 0.3 * (len(frame) + bool(len(rest))), ax) as ax:
        for i, group in enumerate(frame.itertuples(index=False)):
            for j, mod in enumerate(modalities):
                there = mod in list(group.measured)
                ax.add_patch(
                    Rectangle(
                        (j + 0.04, i + 0.1),
                        0.92,
                        0.8,
                        facecolor=GOOD if there else "white",
                        edgecolor=GOOD if there else "#999999",
                        linestyle="-" if there else (0, (3, 2)),
                        linewidth=1,
                    )
                )
                ax.text(
                    j + 0.5,
                    i + 0.5,
                    f"{group.n:,}" if there else "absent",
                    ha="center",
                    va="center",
                    color="white" if there else "#555555",
                )
        if len(rest):
            words = f"and {len(rest)} smaller groups, {int(rest['n'].sum()):,} cells"
            ax.text(0.04, len(frame) + 0.5, words, va="center")
        ax.set_xlim(0, len(modalities))
        ax.set_ylim(len(frame) + bool(len(rest)), 0)
        turn = 30 if len(modalities) > 4 else 0
        ax.set_xticks([j + 0.5 for j in range(len(modalities))], [plain(m) for m in modalities], rotation=turn)
        ax.set_yticks([i + 0.5 for i in range(len(frame))], [plain(batch, 20) for batch in frame["batch"]])
        ax.xaxis.tick_top()
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        return finish(ax, save)
