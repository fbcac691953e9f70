"""Whether a screen lets anything be told about predictions: replicate against mean, metric by metric."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from omicsfm import metrics
from omicsfm.metrics._response_calibration import MIN_BDS, MIN_DRF
from omicsfm.tasks._perturbation_score import Observed, gene_weights, interpolated, point_scores, weighted_scores
from omicsfm.tasks._task import Split

MIN_REPRODUCIBILITY = 0.5  # below, an effect is more noise than effect
_PERFECT = {"discrimination": 1.0, "centroid_accuracy": 1.0, "pearson_delta": 1.0, "weighted_r2": 1.0}


@dataclass(frozen=True)
class ScreenCalibration:
    """What the metrics make of a replicate of the experiment, on the data and folds at hand.

    Attributes
    ----------
    table : DataFrame, index metric: `baseline`, `anchor` (mean score of the training mean and of the duplicate, for
        :func:`omicsfm.metrics.rescale`), `drf`, `bds`, `informative` (of the better of the two duplicates), `positive`
        (which: "duplicate" or "interpolated"), `n`.
    reproducibility : Series, index perturbation and context (and dose): correlation of the effects of two halves of the
        cells with a half of the controls each, raised to full depth (Spearman-Brown).
    measurable : perturbations whose effects repeat (0.5 or more, mean over contexts); ask about these alone where the
        others would drown them.
    verdict_allowed : whether a comparison of models on this screen may be believed.
    reason : why, or why not.
    """

    table: pd.DataFrame
    reproducibility: pd.Series
    measurable: tuple[str, ...]
    verdict_allowed: bool
    reason: str

    def refusal(self, metric: str) -> str:
        """Say why no verdict may rest on a metric; empty where one may, or where it was not calibrated."""
        if not self.verdict_allowed:
            return self.reason
        if metric not in self.table.index or self.table.loc[metric, "informative"]:
            return ""
        found = self.table.loc[metric]
        return (
            f"a duplicate of the experiment goes {_share(found['drf'])} of the way from the mean response to a perfect "
            f"score ({MIN_DRF:.0%} needed) and beats the mean response on {_share(found['bds'])} of {found['n']} "
            f"perturbations ({MIN_BDS:.0%} needed)"
        )


def _share(value: float) -> str:
    return "an unknown part" if np.isnan(value) else f"{value:.0%}"


def calibrate_screen(splits: Iterable[Split], primary: tuple[str, ...]) -> ScreenCalibration:
    """Score duplicates and the training mean as if they were predictions, on the other half of the cells."""
    values: dict[str, dict[str, list[np.ndarray]]] = {}
    repeat: list[pd.Series] = []
    for split in splits:
        truth = split.truth
        if truth["duplicate"] is None:
            words = "effects without cells: there is no replicate to hold them against"
            return ScreenCalibration(pd.DataFrame(), pd.Series(dtype=float), (), True, words)
        seen = Observed(truth["context"], truth["half"], truth["half_shift"], truth["baseline"], truth["exclude"])
        candidates = {
            "baseline": truth["baseline"],
            "duplicate": truth["duplicate"],
            "interpolated": interpolated(truth),
        }
        weights = gene_weights(truth)
        for who, mean in candidates.items():
            for metric, score in (point_scores(mean, seen) | weighted_scores(mean, seen, weights)).items():
                values.setdefault(metric, {}).setdefault(who, []).append(score)
        r = metrics.spearman_brown(metrics.pearson_delta(truth["duplicate"], truth["half"]))
        repeat.append(pd.Series(r, index=pd.MultiIndex.from_frame(split.query)))
    rows = {name: _row(name, {who: np.concatenate(v) for who, v in by.items()}) for name, by in values.items()}
    table, reproducibility = pd.DataFrame.from_dict(rows, orient="index"), pd.concat(repeat)
    by_name = reproducibility.groupby(level="perturbation").mean()
    measurable = tuple(by_name.index[by_name >= MIN_REPRODUCIBILITY])
    verdict = _verdict(table, reproducibility, measurable, primary)
    return ScreenCalibration(table, reproducibility, measurable, *verdict)


def _row(metric: str, found: dict[str, np.ndarray]) -> dict[str, object]:
    base = metric.split(":")[0]
    higher = bool(metrics.METRICS[base].higher_is_better)
    calibrations = {
        who: metrics.calibrate(
            {"positive": found[who], "negative": found["baseline"], "perfect": _PERFECT.get(base, 0.0)},
            higher_is_better=higher,
        )
        for who in ("duplicate", "interpolated")
    }
    best = max(calibrations, key=lambda who: (calibrations[who].informative, calibrations[who].bds))
    got = calibrations[best]
    return {
        "baseline": float(np.nanmean(found["baseline"])),
        "anchor": float(np.nanmean(found["duplicate"])),
        "positive": best,
        "drf": got.drf,
        "bds": got.bds,
        "informative": got.informative,
        "n": got.n,
    }


def _verdict(
    table: pd.DataFrame, reproducibility: pd.Series, measurable: tuple[str, ...], primary: tuple[str, ...]
) -> tuple[bool, str]:
    r = float(reproducibility.median())
    if not r >= MIN_REPRODUCIBILITY:
        names = ", ".join(measurable) or "none"
        return False, (
            f"not measurable: most effects are more noise than effect (two halves of the cells agree by {r:.2f} at "
            f"full depth, median); those that repeat: {names}"
        )
    asked = table[[name.split(":")[0] in primary for name in table.index]]
    good = asked.index[asked["informative"].astype(bool)]
    if not len(good):
        return False, f"a replicate does not beat the mean response in any of {', '.join(asked.index)}"
    return True, f"effects repeat ({r:.2f} at full depth, median); a replicate beats the mean in {', '.join(good)}"
