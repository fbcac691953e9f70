"""Intervals of imputed values: how often they hold the truth, and how wide they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm._errors import InputError
from omicsfm.metrics._check import codes, real, same_rows, same_shape


def interval_coverage(truth: Any, lower: Any, upper: Any) -> np.ndarray:
    """Share of measured values inside their interval (ends included), for every feature.

    Parameters
    ----------
    truth
        (n_obs, n_vars) measured values; NaN = not measured, skipped.
    lower, upper
        (n_obs, n_vars) ends of the intervals; may be infinite, not NaN where `truth` is measured.

    Returns
    -------
    (n_vars,) values 0 to 1; NaN where no cell was measured.

    Raises
    ------
    InputError
        If shapes differ, or an end is NaN or a lower end above its upper end where the truth was measured.
    """
    inside, measured = _inside("interval_coverage", truth, lower, upper)
    return _share(inside.sum(axis=0), measured.sum(axis=0))


def interval_coverage_overall(truth: Any, lower: Any, upper: Any) -> float:
    """Share of all measured values inside their interval; NaN if nothing was measured.

    Parameters and errors as in :func:`interval_coverage`.
    """
    inside, measured = _inside("interval_coverage_overall", truth, lower, upper)
    return float(_share(inside.sum(), measured.sum()))


def interval_coverage_by_group(truth: Any, lower: Any, upper: Any, *, groups: Any) -> dict[Any, float]:
    """Share of measured values inside their interval, for every group of cells.

    Parameters
    ----------
    truth, lower, upper
        As in :func:`interval_coverage`.
    groups
        (n_obs,) group of each cell, such as its type or donor.

    Returns
    -------
    Coverage by group, groups in sorted order; NaN where nothing was measured.

    Raises
    ------
    InputError
        As :func:`interval_coverage`, and on missing groups.
    """
    inside, measured = _inside("interval_coverage_by_group", truth, lower, upper)
    group_n, levels = codes("interval_coverage_by_group", "groups", groups)
    same_rows("interval_coverage_by_group", truth=inside, groups=group_n)
    hits = np.bincount(group_n, weights=inside.sum(axis=1), minlength=len(levels))
    totals = np.bincount(group_n, weights=measured.sum(axis=1), minlength=len(levels))
    return dict(zip(levels.tolist(), _share(hits, totals).tolist(), strict=True))


def coverage_error(truth: Any, lower: Any, upper: Any, *, level: float) -> np.ndarray:
    """Distance of the coverage from its nominal level, for every feature: too wide is as wrong as too narrow.

    Parameters
    ----------
    truth, lower, upper
        As in :func:`interval_coverage`.
    level
        Nominal coverage, such as 0.9.

    Returns
    -------
    (n_vars,) values 0 to 1; NaN where no cell was measured.

    Raises
    ------
    InputError
        As :func:`interval_coverage`, and if `level` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise InputError(f"coverage_error: `level` must lie between 0 and 1, found {level}. Fix: pass e.g. 0.9.")
    inside, measured = _inside("coverage_error", truth, lower, upper)
    return np.abs(_share(inside.sum(axis=0), measured.sum(axis=0)) - level)


def interval_width(truth: Any, lower: Any, upper: Any) -> np.ndarray:
    """Mean width of the intervals of the measured values, for every feature, on the scale of the data given.

    Narrower is better only at the same coverage, so that methods are not ranked by it.

    Parameters
    ----------
    truth, lower, upper
        As in :func:`interval_coverage`; of `truth` only which values were measured is used.

    Returns
    -------
    (n_vars,) values from 0, infinite where an interval is; NaN where no cell was measured.

    Raises
    ------
    InputError
        As :func:`interval_coverage`.
    """
    _, lower_ng, upper_ng, measured = _checked("interval_width", truth, lower, upper)
    width = np.subtract(upper_ng, lower_ng, out=np.zeros(measured.shape), where=measured)
    return _share(width.sum(axis=0), measured.sum(axis=0))


def _inside(function: str, truth: Any, lower: Any, upper: Any) -> tuple[np.ndarray, np.ndarray]:
    """Which measured values lie inside their interval, and which values were measured."""
    truth_ng, lower_ng, upper_ng, measured = _checked(function, truth, lower, upper)
    return (lower_ng <= truth_ng) & (truth_ng <= upper_ng), measured


def _checked(function: str, truth: Any, lower: Any, upper: Any) -> tuple[np.ndarray, ...]:
    """Truth, lower and upper ends, and which values were measured."""
    truth_ng = real(function, "truth", truth, nan=True)
    lower_ng = real(function, "lower", lower, nan=True, inf=True)
    upper_ng = real(function, "upper", upper, nan=True, inf=True)
    same_shape(function, truth=truth_ng, lower=lower_ng, upper=upper_ng)
    measured = ~np.isnan(truth_ng)
    bad = int((measured & ~(lower_ng <= upper_ng)).sum())
    if bad:
        raise InputError(
            f"{function}: wherever `truth` is measured `lower` <= `upper` must hold, found {bad} entries where it does "
            "not (or an end is NaN). Fix: pass the ends in this order."
        )
    return truth_ng, lower_ng, upper_ng, measured


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Part over whole, NaN where the whole is 0."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
