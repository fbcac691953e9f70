"""What the bench must know about a metric besides its formula."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric and its facts. Called like its function; `score` makes one number of what that returns.

    Attributes
    ----------
    function
        The metric: arrays in, a float or one value per `per` out.
    higher_is_better
        None: methods are not ranked by it. Interval coverage should be near its nominal level (`coverage_error` says
        how near), and a narrow interval is good only at that coverage.
    range
        Least and largest possible value.
    unit
        What the number is: "fraction", "correlation", "index", "ratio" (to a baseline or to chance) or "data" (the
        scale of the data given).
    per
        What one value stands for: "cell", "feature", "label", "perturbation", or "set" (one float for all).
    reduce
        How values become one number.
    citation
        Where the metric comes from.
    """

    function: Callable[..., float | np.ndarray]
    higher_is_better: bool | None
    range: tuple[float, float]
    unit: Literal["fraction", "correlation", "index", "data", "ratio"]
    per: Literal["cell", "feature", "label", "perturbation", "set"]
    citation: str
    reduce: Literal["mean", "median"] = "mean"

    def score(self, values: float | np.ndarray) -> float:
        """One number from the values the function returned; NaN values are left out, all NaN gives NaN."""
        kept = np.atleast_1d(np.asarray(values, dtype=np.float64))
        kept = kept[~np.isnan(kept)]
        if not kept.size:
            return float("nan")
        return float(np.median(kept) if self.reduce == "median" else kept.mean())
