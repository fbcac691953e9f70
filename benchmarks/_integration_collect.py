"""From the cache of the peer study to its results: scores, intervals, verdicts, and what could not be done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _common import among_others, among_others_of
from _integration_methods import METHODS
from _integration_questions import ASKS, Ask
from _integration_units import read

from omicsfm import io
from omicsfm.bench import Question, Results
from omicsfm.bench._compare import Values, base_metric, compare, verdicts
from omicsfm.bench._results import COLUMNS
from omicsfm.bench._run import _versions
from omicsfm.metrics import METRICS
from omicsfm.metrics._bootstrap import _mean_deviations

TRIALS = ("LinearMosaic", "Mosaic", "Stack (auto)")
N_BOOT = 500
UNJUDGED = ("coverage_error", "5-fold")  # in the tables, but no verdicts: the one is no aim, the other said twice
ALL = "all"  # the unit of a metric that is one number per data set

SUMMARY = (
    ["ask", "method", "family", "metric", "value", "low", "high", "sd_seeds", "n_seeds"]
    + ["cpu_s", "wall_s", "peak_rss_mb"]
)  # fmt: skip


def collect(cache: Path, out: Path, *, replace_all: bool = False) -> int:
    """Read all units, write the results files; gives the number of rows of the summary.

    A question of which the cache holds nothing keeps the results it has.

    Raises
    ------
    SystemExit
        If a question would lose units that this cache never held.
    """
    found: dict[str, list] = {key: [] for key in ASKS}
    for path in sorted(cache.glob("*/*/*.npz")):
        facts, scores, sample = read(path)
        if facts["ask"] in found and facts["method"] in METHODS:
            found[facts["ask"]].append((facts, scores, sample))
    rows, summary, said, failed = [], [], [], []
    for key, records in found.items():
        failed += _failures(records)
        done = [record for record in records if not record[0]["failed"]]
        rows += [row for record in done for row in _rows(ASKS[key], *record)]
        values, seeds, cost = _values(done)
        summary += _summary(key, values, seeds, cost)
        said.append(_verdicts(ASKS[key], values, cost))
    table = pd.DataFrame(rows, columns=["ask", *COLUMNS])
    path = out / "integration.parquet"
    old = Results.load(path) if path.is_file() else None
    lost = 0 if replace_all or old is None else _lost(table, old.table)
    if lost:
        raise SystemExit(
            f"{out}: {lost} runs in the results there are not in the cache {cache}: not replaced. "
            "Fix: another --out, or --replace."
        )
    text = [f for f in said if len(f)]
    asked = {key for key, records in found.items() if records}
    audited = set(asked)
    if old is not None:
        table = among_others(table, old.table, asked)
        failed = [f for f in old.meta["failed"] if f["ask"] not in asked] + failed
        audited |= set(old.audit["ask"])
    meta = {
        "suite": "integration",
        "versions": _versions(),
        "failed": failed,
        "asked": {m.name: {"asks": list(m.asked), "seeds": m.seeds} for m in METHODS.values()},
        "elsewhere": {m.name: m.elsewhere for m in METHODS.values() if m.elsewhere},
        "command": "python benchmarks/integration.py",
    }
    audit = pd.DataFrame(
        [{"ask": key, "check": "leak audit of every split", "ok": True} for key in ASKS if key in audited]
    )
    Results(table, pd.DataFrame(), audit, meta, {}).save(path)
    frame = pd.DataFrame(summary, columns=SUMMARY)
    for name, written in (("integration", frame), ("verdicts", pd.concat(text) if text else pd.DataFrame())):
        whole = among_others_of(out / f"{name}.csv", written, asked)
        with io.atomic(out / f"{name}.csv") as temporary:
            whole.to_csv(temporary, index=False, float_format="%.5g")
    return len(frame)


def _lost(table: pd.DataFrame, before: pd.DataFrame) -> int:
    """Count units that older results of the same questions hold and newer ones do not."""
    keys = ["ask", "method", "seed", "unit"]
    old, new = (
        set(t[keys].itertuples(index=False, name=None)) for t in (before[before["ask"].isin(table["ask"])], table)
    )
    return len(old - new)


def _rows(ask: Ask, facts: dict[str, Any], scores: dict[str, np.ndarray], sample: Any) -> list[dict[str, Any]]:
    return [
        {
            "ask": ask.key,
            "task": ask.task.name,
            "dataset": ask.dataset,
            "method": facts["method"],
            "seed": facts["seed"],
            "split": ask.task.split_unit,
            "unit": facts["unit"],
            "metric": metric,
            "value": METRICS[base_metric(metric)].score(value),
            "n": len(value),
            **facts["cost"],
        }
        for metric, value in scores.items()
    ]


def _failures(records: list) -> list[dict[str, str]]:
    seen = {(f["ask"], f["method"], f["failed"].splitlines()[0][:300]) for f, _, _ in records if f["failed"]}
    return [{"ask": ask, "method": method, "reason": reason} for ask, method, reason in sorted(seen)]


def _values(records: list) -> tuple[Values, dict[str, int], dict[str, dict[str, float]]]:
    """Scores as `bench` compares them; number of whole seeds and mean cost of each method."""
    values: Values = {}
    seeds: dict[tuple[str, int], set[int]] = {}
    spent: dict[str, list[dict[str, float]]] = {}
    for facts, scores, sample in records:
        method = facts["method"]
        seeds.setdefault((method, facts["split"]), set()).add(facts["seed"])
        spent.setdefault(method, []).append(facts["cost"])
        for metric, value in scores.items():
            by_unit = values.setdefault((metric, method), {})
            if sample is None:
                by_unit.setdefault(facts["unit"], []).append(value)
            elif len(value) == len(sample):
                for name in np.unique(sample):
                    by_unit.setdefault(str(name), []).append(value[sample == name])
            else:
                by_unit.setdefault(ALL, []).append(value)
    n_splits = len({split for _, split in seeds})
    whole = {}
    for method in spent:
        per_split = [s for (m, _), s in seeds.items() if m == method]
        whole[method] = len(set.intersection(*per_split)) if len(per_split) == n_splits else 0
    cost = {m: {k: float(np.mean([c[k] for c in all_])) for k in all_[0]} for m, all_ in spent.items()}
    return {k: v for k, v in values.items() if whole[k[1]]}, whole, cost


def _summary(key: str, values: Values, seeds: dict[str, int], cost: dict[str, dict[str, float]]) -> list[list[Any]]:
    out = []
    for (metric, method), by_unit in values.items():
        fact = METRICS[base_metric(metric)]
        n = min(len(v) for v in by_unit.values())
        by_seed = [float(np.mean([fact.score(v[s]) for v in by_unit.values()])) for s in range(n)]
        low, high = _interval([np.array(v) for v in by_unit.values()], fact.reduce)
        spent = [cost[method][k] for k in SUMMARY[-3:]]
        sd = float(np.std(by_seed, ddof=1)) if n > 1 else np.nan
        family = METHODS[method].family
        out.append([key, method, family, metric, float(np.mean(by_seed)), low, high, sd, seeds[method], *spent])
    order = list(METHODS)
    return sorted(out, key=lambda row: order.index(row[1]))


def _interval(by_unit: list[np.ndarray], reduce: str) -> tuple[float, float]:
    """95 % bootstrap interval over cells or features within the units; NaN for one number per unit.

    Each unit is an array (n_seeds, n_cells); a value is the mean over seeds of what a seed's cells are reduced to.
    """
    by_unit = [v[:, ~np.isnan(v).any(axis=0)] for v in by_unit]
    if min(v.shape[1] for v in by_unit) < 2:
        return np.nan, np.nan
    rng = np.random.default_rng(0)
    if reduce == "median":
        draws = [rng.integers(v.shape[1], size=(N_BOOT, v.shape[1])) for v in by_unit]
        drawn = [
            np.mean([np.median(seed[cells], axis=1) for seed in v], axis=0)
            for v, cells in zip(by_unit, draws, strict=True)
        ]
    else:
        drawn = [v.mean() + _mean_deviations(v.mean(axis=0), N_BOOT, rng) for v in by_unit]
    low, high = np.quantile(np.mean(drawn, axis=0), [0.025, 0.975])
    return float(low), float(high)


def _verdicts(ask: Ask, values: Values, cost: dict[str, dict[str, float]]) -> pd.DataFrame:
    """Each method on trial against the closed form, the best peer and the best baseline; Holm over the metrics."""
    there = {method for _, method in values}
    groups = {
        "closed form": ("LinearMosaic",),
        "best peer": tuple(m.name for m in METHODS.values() if m.family == "peer"),
        "best baseline": tuple(m.name for m in METHODS.values() if m.family == "baseline"),
    }
    cpu = {method: spent["cpu_s"] for method, spent in cost.items()}
    judged = {k: v for k, v in values.items() if not any(word in k[0] for word in UNJUDGED)}
    frames = []
    for trial in (t for t in TRIALS if t in there):
        # The first seeds that the model on trial has: another seed is another random SVD, for every method alike.
        n = min(len(v) for (_, method), by_unit in judged.items() if method == trial for v in by_unit.values())
        same = {k: {unit: v[:n] for unit, v in by_unit.items()} for k, by_unit in judged.items()}
        question = Question(ask.dataset, ask.task, trial, ())
        for name, group in groups.items():
            others = tuple(m for m in group if m in there and m != trial)
            rows = compare(replace(question, baselines=others), same, cpu, seed=0)
            frames.append(verdicts([{"ask": ask.key, "against": name, **row} for row in rows]))
    frames = [f for f in frames if len(f)]
    return pd.concat(frames) if frames else pd.DataFrame()
