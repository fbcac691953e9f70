"""Predicted responses to perturbations: how far to believe them, and how good they are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from omicsfm._errors import InputError
from omicsfm.pl._style import BAD, GOOD, NEUTRAL, canvas, finish, plain
from omicsfm.pl.facts import arrow, direction

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PER_BIN, _BINS = 6, 8


def calibration_bins(reliability: Any, error: Any, *, seed: int = 0) -> pd.DataFrame:
    """Average errors over predictions of like reliability.

    Parameters
    ----------
    reliability, error
        (n,) finite numbers.

    Returns
    -------
    DataFrame, a row per bin of about equal numbers (at most 8, of 6 or more), equal reliabilities together:
    reliability, error (means), low, high (95 % bootstrap interval of the mean error), n.
    """
    x, y = np.asarray(reliability, dtype=np.float64), np.asarray(error, dtype=np.float64)
    edges = np.unique(np.quantile(x, np.linspace(0, 1, int(np.clip(len(x) // _PER_BIN, 1, _BINS)) + 1)))
    place = np.searchsorted(edges[1:-1], x, side="right")
    rng = np.random.default_rng(seed)
    rows = []
    for k in np.unique(place):
        own = y[place == k]
        drawn = own[rng.integers(len(own), size=(1000, len(own)))].mean(axis=1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        rows.append((x[place == k].mean(), own.mean(), low, high, len(own)))
    return pd.DataFrame(rows, columns=["reliability", "error", "low", "high", "n"])


def response_reliability(
    reliability: Any,
    error: Any,
    *,
    unit: str = "error",
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
) -> Axes:
    """Draw the error of predictions against the reliability that was predicted for them.

    Parameters
    ----------
    reliability
        (n,) ``Response.reliability`` of held-out perturbations; pairs with a NaN are left out.
    error
        (n,) error of each; lower is better.
    unit
        What the error is, such as "nmse".
    ax
        Axes to draw on; else a new figure.
    save
        File to write the figure to.

    Returns
    -------
    The axes: each prediction, means of bins with 95 % bootstrap intervals, the rank correlation in the title. A
    reliability that means something has a line that falls.

    Raises
    ------
    InputError
        If lengths differ, or fewer than three pairs are finite.
    """
    x, y = np.asarray(reliability, dtype=np.float64), np.asarray(error, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(
            f"response_reliability: one error per reliability is needed, found shapes {x.shape} and {y.shape}. "
            "Fix: pass (n,) each."
        )
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < 3:
        raise InputError(
            f"response_reliability: three predictions at least are needed, found {len(x)}. Fix: hold out more."
        )
    bins = calibration_bins(x, y)
    with canvas(3.1, ax) as ax:
        ax.plot(
            x, y, "o", color=NEUTRAL, markersize=3, alpha=0.6, markeredgewidth=0, label=f"one of {len(x)} predictions"
        )
        reach = np.stack([bins["error"] - bins["low"], bins["high"] - bins["error"]]).clip(min=0)
        ax.errorbar(
            bins["reliability"], bins["error"], yerr=reach, color=GOOD, marker="o", markersize=6, linewidth=1.2,
            elinewidth=2, label="mean of like ones, 95 %",
        )  # fmt: skip
        # A single failure far off would press all the others flat; it is said, not drawn.
        top = max(float(np.quantile(y, 0.98)), float(bins["high"].max()))
        low = min(float(y.min()), float(bins["low"].min()), 0.0)
        ax.set_ylim(low, top + 0.06 * ((top - low) or 1.0))
        over = int((y > ax.get_ylim()[1]).sum())
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, borderpad=0, handletextpad=0.3,
                  columnspacing=1)  # fmt: skip
        ax.set_xlabel(f"predicted reliability{f', {over} of the errors above the figure' if over else ''}")
        ax.set_ylabel(f"{plain(unit, 40)} ↓")
        rho = rank_correlation(x, y)
        told = "the same for all" if np.isnan(rho) else f"rank correlation with error {rho:+.2f}"
        ax.set_title(f"Reliability: {told}", pad=20)
        return finish(ax, save)


def rank_correlation(x: Any, y: Any) -> float:
    """Spearman correlation; NaN where either is constant."""
    ranks = [pd.Series(np.asarray(v, dtype=np.float64)).rank().to_numpy() for v in (x, y)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def response_ranking(
    scores: pd.DataFrame,
    *,
    metric: str,
    baseline: str = "baseline",
    n: int = 10,
    ax: Axes | None = None,
    save: str | os.PathLike[str] | None = None,
) -> Axes:
    """Draw the best and the worst predictions, each with what the baseline scores on the same perturbation.

    Parameters
    ----------
    scores
        A row per perturbation, its name as index: ``value`` and ``baseline``, in the units of `metric`. Rows with a NaN
        are left out.
    metric
        Registered metric; says which way is better.
    baseline
        Name of the baseline, for the legend.
    n
        How many of the best and how many of the worst.
    ax
        Axes to draw on; else a new figure.
    save
        File to write the figure to.

    Returns
    -------
    The axes, best on top. Filled circle: better than the baseline; square: not better; bar: the baseline.

    Raises
    ------
    InputError
        If a column is missing, nothing is finite, or the metric does not say which way is better.
    """
    up = direction(metric)
    if up is None:
        raise InputError(f"response_ranking: '{metric}' does not rank. Fix: name a metric of omicsfm.metrics.METRICS.")
    if not {"value", "baseline"} <= set(scores.columns):
        raise InputError("response_ranking: the columns value and baseline are needed. Fix: name them so.")
    known = scores.dropna(subset=["value", "baseline"]).sort_values("value", ascending=not up, kind="stable")
    if known.empty:
        raise InputError("response_ranking: no perturbation has both scores. Fix: score the same perturbations.")
    between = max(len(known) - 2 * n, 0)
    shown = pd.concat([known.head(n), known.tail(n)]) if between else known
    places = np.arange(len(shown)) + (np.arange(len(shown)) >= n) * bool(between)
    value, base = shown["value"].to_numpy(dtype=float), shown["baseline"].to_numpy(dtype=float)
    better = value > base if up else value < base
    with canvas(1.1 + 0.19 * (places[-1] + 1), ax) as ax:
        for own, colour, marker, label in (
            (better, GOOD, "o", "better"),
            (~better, BAD, "s", "not better"),
        ):
            ax.hlines(places[own], base[own], value[own], color=colour, linewidth=1.6, alpha=0.55)
            ax.plot(value[own], places[own], marker, color=colour, markersize=5.5, label=label)
        ax.plot(base, places, "|", color=NEUTRAL, markersize=9, markeredgewidth=2, label=plain(baseline, 24))
        if between:
            ax.text(0.5, n, f"{between} between", ha="center", va="center", color="#555555", fontsize=8.5,
                    transform=ax.get_yaxis_transform())  # fmt: skip
        ax.set_yticks(places, [plain(name, 20) for name in shown.index])
        ax.set_ylim(places[-1] + 0.7, -0.7)
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        ax.locator_params(axis="x", nbins=5)
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderpad=0, handletextpad=0.2, columnspacing=1)
        ax.set_xlabel(f"{plain(metric, 40)} {arrow(metric)}")
        ax.set_title(f"{n} best and {n} worst predictions" if between else "Predictions, best first", pad=20)
        return finish(ax, save)
