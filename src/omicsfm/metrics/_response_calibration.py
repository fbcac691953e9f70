"""Whether a metric can tell a good prediction from a poor one on the data at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from omicsfm._errors import InputError

# Below either, no verdict rests on the metric.
MIN_DRF = 0.2
MIN_BDS = 0.8


@dataclass(frozen=True, slots=True)
class MetricCalibration:
    """What a metric makes of predictions whose worth is known.

    Attributes
    ----------
    drf
        Dynamic range fraction: how far the positive control goes from the negative one (0) to a perfect score (1).
        NaN if the negative control is perfect already.
    bds
        Bound discrimination score: share of perturbations for which the positive control beats the negative one.
    informative
        Both are high enough (0.2 and 0.8) for a verdict to rest on the metric.
    n
        Perturbations that were compared.
    """

    drf: float
    bds: float
    informative: bool
    n: int


def calibrate(values: Mapping[str, Any], *, higher_is_better: bool) -> MetricCalibration:
    """Compare what a metric gives a positive and a negative control.

    Parameters
    ----------
    values
        "positive": (n_perturbations,) values of a technical or interpolated duplicate; "negative": those of the mean
        of the other perturbations, or of the control; "perfect": those of the truth, or the best possible number.
        Perturbations with a NaN in any of them are left out.
    higher_is_better
        Direction of the metric.

    Returns
    -------
    MetricCalibration. The range is that of the means, which a single perturbation with a tiny range cannot upset.

    Raises
    ------
    InputError
        If a name is missing or unknown, or lengths differ.

    Notes
    -----
    Range fraction: Miller et al. 2025, doi:10.1101/2025.10.20.683304. Bound discrimination: Schaefer et al. 2026
    (scPertEval), doi:10.64898/2026.07.23.740433.
    """
    names = ("positive", "negative", "perfect")
    if sorted(values) != sorted(names):
        raise InputError(f"calibrate: `values` must have {list(names)}, found {sorted(values)}. Fix: give these.")
    positive, negative, perfect = (np.asarray(values[name], dtype=np.float64) for name in names)
    if positive.ndim != 1 or positive.shape != negative.shape or perfect.shape not in ((), positive.shape):
        raise InputError(
            f"calibrate: one value per perturbation is needed, found {positive.shape}, {negative.shape} and "
            f"{perfect.shape}. Fix: pass (n_perturbations,) each; perfect may be a number."
        )
    sign = 1 if higher_is_better else -1
    table = sign * np.stack([positive, negative, np.broadcast_to(perfect, positive.shape)])
    good, poor, best = table[:, np.isfinite(table).all(axis=0)]
    if not len(good):
        return MetricCalibration(float("nan"), float("nan"), False, 0)
    span = best.mean() - poor.mean()
    drf = float((good.mean() - poor.mean()) / span) if span > 0 else float("nan")
    bds = float((good > poor).mean())
    return MetricCalibration(drf, bds, bool(drf >= MIN_DRF and bds >= MIN_BDS), len(good))
