"""A comparison in words. That a method does not help, or loses, is said as plainly as that it wins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from omicsfm.bench.stats import Comparison

_ROUNDING = 1e-12  # what the order of a sum changes
_CHEAPER = 0.5  # costs of runs on a shared machine vary, but not by that much


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison says: `outcome` for machines, `text` for people."""

    outcome: Literal["beats", "no evidence", "loses", "not compared"]
    text: str


def verdict(
    comparison: Comparison,
    *,
    method: str,
    baseline: str,
    higher_is_better: bool,
    metric: str | None = None,
    cost_ratio: float | None = None,
    p_adjusted: float | None = None,
    alpha: float = 0.05,
) -> Verdict:
    """Say in words whether a method (the `a` of the comparison) beats its baseline (the `b`).

    Parameters
    ----------
    comparison
        From :func:`paired_bootstrap`.
    method, baseline
        Names of a and b.
    higher_is_better
        Direction of the metric. Differences in the text are gains: positive favours the method in either direction.
    metric
        Name of the metric, told in the text if given.
    cost_ratio
        Cost of the method over cost of the baseline; told unless None or NaN.
    p_adjusted
        p-value after :func:`holm`, used in place of the comparison's own.
    alpha
        Significance level.

    Returns
    -------
    Verdict. What the interval does not speak about is said in the text.
    """
    p = comparison.p if p_adjusted is None else p_adjusted
    of = "" if metric is None else f" in {metric}"
    if np.isnan(p) or np.isnan(comparison.difference):
        return Verdict("not compared", f"{method} and {baseline} cannot be compared{of}: {comparison.covers}")
    sign = 1 if higher_is_better else -1
    gain = sign * comparison.difference
    low, high = sorted((sign * comparison.low, sign * comparison.high))
    # Three decimals, or two significant digits where the whole interval is smaller than those would show.
    largest = max(abs(gain), abs(low), abs(high))
    decimals = 3 if largest >= 1e-3 or largest < _ROUNDING else int(1 - np.floor(np.log10(largest)))
    size, ends = f"{abs(gain):.{decimals}f}", f"[{low:.{decimals}f}, {high:.{decimals}f}]"
    ratio = np.nan if cost_ratio is None else cost_ratio
    cost = "" if np.isnan(ratio) else f" at {ratio:,.0f}x its cost" if ratio >= 10 else f" at {ratio:.2g}x its cost"
    limits = f" ({comparison.covers})" if comparison.few_units else ""
    if p < alpha and gain > 0:
        return Verdict("beats", f"{method} beats {baseline} by {size} {ends}{of}{cost}{limits}")
    if p < alpha:
        ends = f"[{-high:.{decimals}f}, {-low:.{decimals}f}]"
        return Verdict("loses", f"{method} loses to {baseline} by {size} {ends}{of}{cost}: use {baseline}{limits}")
    if comparison.p < alpha:  # an interval without zero beside "no evidence" would puzzle
        side = "ahead of" if gain > 0 else "behind"
        ends = ends if gain > 0 else f"[{-high:.{decimals}f}, {-low:.{decimals}f}]"
        return Verdict(
            "no evidence",
            f"{method} is {side} {baseline} by {size} {ends}{of}{cost}, but that is no evidence once the other "
            f"comparisons of the run are allowed for (p = {comparison.p:.2g}, Holm {p:.2g}){limits}",
        )
    # Nobody should pay more for nothing, be it for what calls itself the baseline.
    advice = f"{method} is the cheaper" if ratio < _CHEAPER else f"use {baseline}"
    return Verdict(
        "no evidence",
        f"no evidence that {method} helps over {baseline}{of} (difference {gain:.{decimals}f}, interval {ends})"
        f"{cost}: {advice}{limits}",
    )
