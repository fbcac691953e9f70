"""Figures of the report: pictures in the page, each with words for those who do not see it."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from omicsfm import pl
from omicsfm.pl._embedding import grouped
from omicsfm.report._words import counts

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class Picture:
    """An image: its data URI, its size in CSS pixels, what it shows in words, and the caption below it."""

    uri: str
    width: int
    height: int
    alt: str
    caption: str


def _picture(drawn: Axes, *, alt: str, caption: str) -> Picture:
    text = pl.svg(drawn)
    # In an <img> no id of one figure can meet that of another, and nothing inside can run.
    uri = "data:image/svg+xml;base64," + base64.b64encode(text.encode()).decode("ascii")
    width, height = (round(float(v) * 96 / 72) for v in re.findall(r'(?:width|height)="([\d.]+)pt"', text)[:2])
    return Picture(uri, width, height, alt, caption)


def mask(picture: Mapping[str, Any] | None) -> Picture | None:
    """Draw which batch has which modality."""
    if not picture:
        return None
    groups = picture["groups"]
    told = "; ".join(f"{g['batch']}: {' and '.join(g['measured'])}, {g['n']:,} cells" for g in groups[:12])
    total = sum(int(g["n"]) for g in groups)
    return _picture(
        pl.modality_mask(picture),
        alt=f"Which batch has which modality. {told}.",
        caption=f"{picture['dataset']}: {total:,} cells in {len({g['batch'] for g in groups})} batches. "
        "Filled = measured (cells), dashed = absent; absent is never read as zero.",
    )


def forest(verdicts: pd.DataFrame) -> Picture | None:
    """Draw the differences to the best baseline."""
    if not len(verdicts):
        return None
    told = ", ".join(f"{n} {word}" for _, word, n in counts(verdicts))
    return _picture(
        pl.forest(verdicts),
        alt=f"Gain over the best baseline with its interval for {len(verdicts)} comparisons: {told}.",
        caption="Gain over the best baseline of each metric. Right of zero the method is better, also where lower "
        "values are better. Square: worse; filled circle: better; open circle: no evidence.",
    )


def quality_cost(scores: pd.DataFrame, metric: str, *, tested: Collection[str]) -> Picture:
    """Draw a metric against CPU seconds."""
    n = scores.loc[scores["metric"] == metric, "method"].nunique()
    return _picture(
        pl.quality_cost(scores, metric, tested=tested),
        alt=f"{metric} against CPU seconds on a log axis for {n} methods; the numbers are in the table.",
        caption="Quality and its price: each point is a method, mean over held-out splits and seeds.",
    )


def embeddings(picture: Mapping[str, Any] | None) -> list[Picture]:
    """Draw the joint embedding by donor, cell type and measured modalities."""
    if not picture or not len(picture["x"]):
        return []
    titles = {"label": "By cell type", "batch": "By donor (batch)", "subset": "By measured modalities"}
    hopes = {
        "label": "Types should lie apart.",
        "batch": "Donors should mix within each type.",
        "subset": "Cells should lie with their type whatever was measured.",
    }
    return [
        _picture(
            grouped(picture["x"], picture["y"], picture[key], title=title, name_in_place=key == "label"),
            alt=f"UMAP of the joint embedding of {len(picture['x']):,} cells, coloured {title.lower()}.",
            caption=f"UMAP of the joint embedding, for looking only: no score rests on it. {hopes[key]}",
        )
        for key, title in titles.items()
        if key in picture and len(set(picture[key])) > 1
    ]


def imputation(picture: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Draw predicted against measured values and the coverage of the intervals, with the numbers in words."""
    if not picture:
        return None
    level, reached = float(picture["level"]), float(picture["coverage"])
    labels = pd.DataFrame(list(picture.get("by_label") or []), columns=["label", "n", "coverage"])
    features = pd.DataFrame(list(picture.get("by_feature") or []), columns=["feature", "pearson", "coverage"])
    words = [f"The {level:.0%} intervals of {picture['modality']} held {reached:.1%} of the values that were hidden."]
    known = labels.dropna(subset=["coverage"]).sort_values("coverage")
    if len(known):
        ends = [f"{row.coverage:.0%} in {row.label} ({int(row.n):,} cells)" for row in known.itertuples(index=False)]
        words.append(f"By cell type the share goes from {ends[0]} to {ends[-1]}.")
    ranked = features.dropna(subset=["pearson"]).sort_values("pearson", ascending=False)
    if len(ranked) >= 6:
        named = [f"{row.feature} ({row.pearson:.2f})" for row in ranked.itertuples(index=False)]
        words.append(f"Best predicted (Pearson): {', '.join(named[:3])}. Worst: {', '.join(named[-3:])}.")
    figures = [
        _picture(
            pl.imputation(picture["observed"], picture["predicted"], scale=str(picture["scale"])),
            alt=f"Density of predicted against measured {picture['modality']} on the {picture['scale']} scale.",
            caption=f"Hidden {picture['modality']} values, predicted against measured. Predictions are pulled to the "
            "mean where the other modalities say little.",
        )
    ]
    if len(labels):
        figures.append(
            _picture(
                pl.coverage(labels, level=level, overall=reached),
                alt=f"Share of measured values inside their interval by cell type, promised {level:.0%}: "
                + "; ".join(f"{row.label} {row.coverage:.0%}" for row in known.itertuples(index=False)),
                caption=f"Promised {level:.0%}, reached {reached:.1%}: by cell type.",
            )
        )
    return {"words": words, "figures": figures}
