"""Numbers that figures and tables share: directions of metrics, gains, means."""

from __future__ import annotations

import numpy as np
import pandas as pd

from omicsfm.metrics import METRICS, Metric


def fact(metric: str) -> Metric | None:
    """Give what is known of a metric; a detail after a colon, as in ``accuracy:rna``, does not matter."""
    return METRICS.get(metric.partition(":")[0])


def direction(metric: str) -> bool | None:
    """Tell whether higher is better; None where a metric does not rank, or is not known."""
    known = fact(metric)
    return None if known is None else known.higher_is_better


def arrow(metric: str) -> str:
    """Give the direction of a metric as ↑ or ↓, or nothing."""
    return {True: "↑", False: "↓", None: ""}[direction(metric)]


def gains(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Turn differences into gains: positive favours the method, whichever way the metric runs.

    Parameters
    ----------
    verdicts
        Table with ``metric``, ``difference``, ``lower`` and ``upper`` (method - baseline).

    Returns
    -------
    DataFrame with ``gain``, ``low`` and ``high``; the index of `verdicts`.
    """
    sign = np.array([-1.0 if direction(str(metric)) is False else 1.0 for metric in verdicts["metric"]])
    gain, one, other = (verdicts[c].to_numpy(dtype=float) * sign for c in ("difference", "lower", "upper"))
    return pd.DataFrame({"gain": gain, "low": np.minimum(one, other), "high": np.maximum(one, other)}, verdicts.index)


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Average results: units within split and seed first, then splits and seeds.

    Parameters
    ----------
    table
        Rows of ``Results.table`` of one task and data set.

    Returns
    -------
    DataFrame indexed by (method, metric), in order of appearance: ``value``, ``cpu_s``, ``wall_s``.
    """
    columns = ["value", "cpu_s", "wall_s"]
    keys = ["method", "metric"]
    runs = table.groupby([*keys, "split", "seed"], sort=False, dropna=False, observed=True)[columns].mean()
    return runs.groupby(level=keys, sort=False, observed=True).mean()
