"""What the report says and shows of predicted responses to perturbations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from omicsfm import pl
from omicsfm.pl._response import rank_correlation, response_ranking, response_reliability
from omicsfm.pl._response_heatmap import response_heatmap
from omicsfm.pl._screen import reproducibility
from omicsfm.pl.facts import direction
from omicsfm.report._figures import Picture, _picture

Pictures = Iterable[Mapping[str, Any]] | None


def find(pictures: Pictures, task: str, dataset: str) -> Mapping[str, Any] | None:
    """Give the picture of a task on a data set out of ``Results.pictures["response"]``."""
    return next((p for p in pictures or () if (p["task"], p["dataset"]) == (task, dataset)), None)


def section(picture: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Give sentences and figures of a picture from :func:`omicsfm.bench._response_picture.response_picture`."""
    if picture is None:
        return None
    figures = [*_forests(picture), _reliability(picture), _gate(picture), _ranking(picture), _heatmap(picture)]
    words = [*_calibration_words(picture), *_gate_words(picture), *_reliability_words(picture), _ranking_words(picture)]
    return {"words": [w for w in words if w], "figures": [f for f in figures if f is not None]}


def _calibration_words(picture: Mapping[str, Any]) -> list[str]:
    calibration = picture["calibration"]
    if calibration is None:
        return ["Whether the metrics can tell a good prediction from a poor one on these data was not looked at."]
    if not calibration["allowed"]:
        return [f"No verdict is given: {calibration['reason']}. What follows is shown for looking only."]
    if not calibration["judged"]:
        return [f"The metrics themselves could not be tried: {calibration['reason']}."]
    refused = [f"No verdict on {metric}: {words}." for metric, words in calibration["refused"].items()]
    return refused or [
        "A duplicate of the experiment beats the mean response on every metric, so verdicts can be given."
    ]


def _gate_words(picture: Mapping[str, Any]) -> list[str]:
    gate = picture["gate"]
    good = [row["perturbation"] for row in gate if row["measurable"]]
    if not gate:
        return []
    words = f"The effects of {len(good)} of {len(gate)} perturbations can be measured in this screen"
    return [f"{words}; what is said of the others is about noise." if len(good) < len(gate) else f"{words}."]


def _reliability_words(picture: Mapping[str, Any]) -> list[str]:
    x, y = _finite(picture["reliability"]["value"], picture["reliability"]["error"])
    rho = rank_correlation(x, y) if len(x) > 2 else float("nan")
    if np.isnan(rho):
        return []
    clear = abs(rho) * np.sqrt(len(x) - 1) > 1.96
    told = f"rank correlation {rho:+.2f} over {len(x)} held-out predictions"
    if not clear:
        return [f"No evidence that the predicted reliability tells good predictions from poor ones ({told})."]
    if rho > 0:
        return [f"The predicted reliability misleads: errors rise with it ({told})."]
    return [f"Where the model calls itself reliable, its errors are smaller ({told})."]


def _ranking_words(picture: Mapping[str, Any]) -> str:
    known, found = _scores(picture), picture["ranking"]
    if known.empty:
        return ""
    up = bool(direction(found["metric"]))
    better = int((known["value"] > known["baseline"]).sum() if up else (known["value"] < known["baseline"]).sum())
    order = known.sort_values("value", ascending=not up, kind="stable")
    named = [f"{name} ({value:.2f})" for name, value in order["value"].items()]
    ends = f" Best: {', '.join(named[:3])}; worst: {', '.join(named[-3:])}." if len(named) >= 6 else ""
    return f"{better} of {len(known)} predictions are better than {found['baseline']} in {found['metric']}.{ends}"


def _forests(picture: Mapping[str, Any]) -> list[Picture]:
    """Draw one forest per metric of which something can be said."""
    table = pd.DataFrame(picture["comparisons"])
    out = []
    for metric in dict.fromkeys(table["metric"]) if len(table) else ():
        numbers = {key: table[key].astype(float) for key in ("difference", "lower", "upper")}
        rows = table.assign(**numbers)[table["metric"] == metric]
        told = "; ".join(f"{row.baseline}: {row.favours}" for row in rows.itertuples(index=False))
        out.append(
            _picture(
                pl.forest(rows, title=f"{metric}, against each baseline"),
                alt=f"Gain in {metric} over each of {len(rows)} baselines. Favoured: {told}.",
                caption="Gain over each baseline. Right of zero the method is better, also where lower values are "
                "better.",
            )
        )
    return out


def _reliability(picture: Mapping[str, Any]) -> Picture | None:
    found = picture["reliability"]
    x, y = _finite(found["value"], found["error"])
    if len(x) < 3:
        return None
    return _picture(
        response_reliability(x, y, unit=found["metric"]),
        alt=f"{found['metric']} against predicted reliability of {len(x)} held-out predictions, with means of bins.",
        caption="Does the model know how good it is? Held-out predictions; the line should fall.",
    )


def _gate(picture: Mapping[str, Any]) -> Picture | None:
    table = pd.DataFrame(picture["gate"])
    if table.empty or table["reliability"].isna().all():
        return None
    table["reliability"] = table["reliability"].astype(float)
    return _picture(
        reproducibility(table),
        alt=f"Reproducibility of the effects of {len(table)} perturbations against their number of cells.",
        caption="What can be measured at all: effects of independent halves of the cells, each with its own controls. "
        "Dashed: needed. Above it and open: control cells of that number repeat as well.",
    )


def _ranking(picture: Mapping[str, Any]) -> Picture | None:
    known, found = _scores(picture), picture["ranking"]
    if known.empty or direction(found["metric"]) is None:
        return None
    return _picture(
        response_ranking(known, metric=found["metric"], baseline=found["baseline"]),
        alt=f"{found['metric']} of the best and worst of {len(known)} predictions, with that of {found['baseline']}.",
        caption=f"Best and worst held-out predictions. Bar: {found['baseline']} on the same perturbation.",
    )


def _heatmap(picture: Mapping[str, Any]) -> Picture | None:
    found = picture["heatmap"]
    if not found["genes"] or not found["names"]:
        return None
    predicted, observed = (
        pd.DataFrame(found[key], index=found["names"], columns=found["genes"], dtype=float)
        for key in ("predicted", "observed")
    )
    return _picture(
        response_heatmap(predicted, observed),
        alt=f"Predicted beside observed effects of {len(found['names'])} perturbations on {len(found['genes'])} genes.",
        caption="Held-out effects. Genes and perturbations are those with the largest predicted effect; what was "
        "observed had no part in the choice. Grey: not measured.",
    )


def _scores(picture: Mapping[str, Any]) -> pd.DataFrame:
    found = picture["ranking"]
    numbers = {"value": found["value"], "baseline": found["baseline_value"]}
    return pd.DataFrame(numbers, index=found["names"], dtype=float).dropna()


def _finite(a: Any, b: Any) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    return x[known], y[known]
