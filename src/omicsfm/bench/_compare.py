"""From scores to verdicts: the model on trial against the best baseline, metric by metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from omicsfm.bench._suites import Question
from omicsfm.bench.stats import Comparison, holm, paired_bootstrap
from omicsfm.bench.verdict import verdict
from omicsfm.metrics import METRICS

# (metric, method) -> unit -> one array of member values per seed
Values = dict[tuple[str, str], dict[str, list[np.ndarray]]]
_FAVOURS = {"beats": "method", "loses": "baseline"}


def base_metric(name: str) -> str:
    """Give the registered metric behind a name with a detail, such as ``foscttm:rna-protein``."""
    return name.split(":")[0]


def compare(question: Question, values: Values, cost: Mapping[str, float], *, seed: int) -> list[dict[str, Any]]:
    """Compare the method on trial with its best baseline in every primary metric; no verdict in words yet.

    The best baseline is chosen on the same held-out units, which favours the baseline.
    """
    rows = []
    for metric in sorted({m for m, _ in values}):
        higher = METRICS[base_metric(metric)].higher_is_better
        own = values.get((metric, question.method))
        if base_metric(metric) not in question.task.primary or higher is None or own is None:
            continue
        score = {name: _score(metric, values[metric, name]) for name in question.baselines if (metric, name) in values}
        score = {name: s for name, s in score.items() if not np.isnan(s)}
        if not score:
            continue
        best = (max if higher else min)(score, key=lambda name: score[name])
        rows.append(
            {
                "task": question.task.name,
                "dataset": question.dataset,
                "metric": metric,
                "method": question.method,
                "baseline": best,
                "comparison": _bootstrap(
                    own,
                    values[metric, best],
                    unit=question.task.split_unit,
                    member=METRICS[base_metric(metric)].per,
                    seed=seed,
                ),
                "cost_ratio": cost[question.method] / cost[best] if cost.get(best) else float("nan"),
            }
        )
    return rows


def verdicts(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Adjust p over all comparisons of the run (Holm) and say each in words."""
    adjusted = holm(np.array([row["comparison"].p for row in rows])) if rows else np.zeros(0)
    out = []
    for row, p in zip(rows, adjusted, strict=True):
        found: Comparison = row["comparison"]
        said = verdict(
            found,
            method=row["method"],
            baseline=row["baseline"],
            higher_is_better=bool(METRICS[base_metric(row["metric"])].higher_is_better),
            metric=row["metric"],
            cost_ratio=row["cost_ratio"],
            p_adjusted=float(p),
        )
        kept = {k: v for k, v in row.items() if k not in {"comparison", "cost_ratio"}}
        out.append(
            {
                **kept,
                "difference": found.difference,
                "lower": found.low,
                "upper": found.high,
                "p": found.p,
                "p_holm": float(p),
                "n_units": found.n_units,
                "covers": found.covers,
                "cost_ratio": row["cost_ratio"],
                "favours": _FAVOURS.get(said.outcome, "neither"),
                "words": said.text,
            }
        )
    return pd.DataFrame(out)


def _score(metric: str, by_unit: Mapping[str, list[np.ndarray]]) -> float:
    facts = METRICS[base_metric(metric)]
    return float(np.mean([np.mean([facts.score(v) for v in seeds]) for seeds in by_unit.values()]))


def _bootstrap(
    a: Mapping[str, list[np.ndarray]], b: Mapping[str, list[np.ndarray]], *, unit: str, member: str, seed: int
) -> Comparison:
    units = [u for u in a if u in b]
    mean_a = [np.mean(a[u], axis=0) for u in units]
    mean_b = [np.mean(b[u], axis=0) for u in units]
    names = np.concatenate([np.full(len(v), u) for u, v in zip(units, mean_a, strict=True)])
    # A fold is no sample: what varies is what was dealt into it.
    single = unit == "fold" or all(len(v) == 1 for v in mean_a)
    return paired_bootstrap(
        np.concatenate(mean_a),
        np.concatenate(mean_b),
        units=None if single else names,
        n_boot=4000,
        seed=seed,
        unit_name=f"{member}s" if unit == "fold" else f"{unit}s",
        member_name=f"{unit}s" if single and unit != "fold" else f"{member}s",
    )
