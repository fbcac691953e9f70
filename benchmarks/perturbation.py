"""The perturbation study: every method on every question, with verdicts and the figures to reach.

    python benchmarks/perturbation.py [--asks KEY ...] [--seeds N] [--list] [--collect]

Goes on where it was: the scores of each question are kept in a cache. Writes results/perturbation.parquet (all scores),
perturbation.csv (means, intervals, cost), perturbation_verdicts.csv and perturbation_screens.csv (may a verdict be
given at all), and prints the figures to reach; a question that the cache lacks keeps the results it has. One thread,
about two hours. A perturbation that several random splits
hold out counts once, with its mean. A screen that cannot measure its perturbations gets no verdict, and says why. Peers
(--peers) are run by their adapters in `omicsfm.models.external` and add hours; what is not installed is left out, and
told.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _common import GOAL, among_others, among_others_of, table  # first: it sets the threads
from _perturbation_questions import ASKS, Ask, make

import omicsfm as ofm
from omicsfm import io
from omicsfm._optional import MissingDependency
from omicsfm.bench import Cost, Question, Results
from omicsfm.bench._compare import Values, base_metric, compare, verdicts
from omicsfm.bench._results import COLUMNS
from omicsfm.bench._run import _versions
from omicsfm.metrics import METRICS

HERE = Path(__file__).resolve().parent
MODEL = "ResponseModel"
PEER_SEEDS = 3
GOAL_OF_CONTEXTS = "MatchedContext"  # what is to be surpassed in new contexts, even where another baseline is better


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--asks", nargs="+", choices=ASKS, default=list(ASKS), metavar="KEY", help="only these questions"
    )
    parser.add_argument("--seeds", type=int, help="at most so many random splits of each question")
    parser.add_argument("--list", action="store_true", help="name the questions, and do nothing")
    parser.add_argument("--peers", action="store_true", help="also GEARS, biolord and scGen, where they are installed")
    parser.add_argument("--again", action="store_true", help="also what is done already")
    parser.add_argument("--collect", action="store_true", help="only write the results anew from the cache")
    parser.add_argument("--cache", type=Path, default=HERE / ".cache" / "perturbation")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    return parser.parse_args()


def run(ask: Ask, methods: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Ask methods on the splits of one seed; gives scores per perturbation, costs, and what the audit found."""
    task, data = ask.task(seed), ask.load()
    found: dict[str, Any] = {"scores": [], "audit": [], "screen": None}
    for split in task.splits(data):
        leaks = [f"{f.check}: {f.found}" for f in task.audit(split) if not f.ok]
        if leaks:
            raise SystemExit(f"{ask.key}, {split.unit}: {leaks[0]}")
        found["audit"] += [f.check for f in task.audit(split)]
        for name in methods:
            model = make(name, seed)
            with Cost() as cost:
                answer = task.predict(model.fit(split.train), split)
            scores = {
                k: np.atleast_1d(np.asarray(v, dtype=float)).tolist() for k, v in task.score(answer, split).items()
            }
            found["scores"].append(
                {
                    "method": name,
                    "unit": split.unit,
                    "rows": split.query.astype(str).agg(", ".join, axis=1).tolist(),
                    "n_seen": np.asarray(split.truth["n_seen"]).tolist(),
                    "scores": scores,
                    "cost": cost.record.to_dict(),
                }
            )
    if seed == 0 and MODEL in methods:
        screen = task.calibration(data)
        table_ = screen.table.reset_index(names="metric").to_dict("records") if len(screen.table) else []
        found["screen"] = {
            "allowed": bool(screen.verdict_allowed),
            "reason": screen.reason,
            "measurable": list(screen.measurable),
            "metrics": table_,
            "refused": {name: words for name in screen.table.index if (words := screen.refusal(name))},
        }
    found["audit"] = sorted(set(found["audit"]))
    return found


def work(args: argparse.Namespace) -> None:
    """Run what is not done."""
    for key in args.asks:
        ask = ASKS[key]
        sets = {"": (MODEL, *ask.methods)} | ({name: (name,) for name in ask.peers} if args.peers else {})
        for name, methods in sets.items():
            for seed in range(min(ask.seeds if not name else PEER_SEEDS, args.seeds or ask.seeds)):
                path = args.cache / (f"{key}-{seed}.json" if not name else f"{key}-{name}-{seed}.json")
                if path.is_file() and not args.again:
                    continue
                try:
                    with Cost() as cost, warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        found = run(ask, methods, seed)
                except MissingDependency as err:
                    print(f"{key}: {name} is left out: {err}", flush=True)
                    break
                with io.atomic(path) as temporary:
                    temporary.write_text(json.dumps(found))
                print(f"{key}{name and ', '}{name}, seed {seed}: {cost.record.cpu_s:.0f} CPU-s", flush=True)


def collect(args: argparse.Namespace) -> None:
    """Write the results files from the cache, and print the figures to reach."""
    rows: list[dict[str, Any]] = []
    summary: list[dict[str, Any]] = []
    screens: list[dict[str, Any]] = []
    said: list[pd.DataFrame] = []
    goals: list[list[object]] = []
    for key, ask in ASKS.items():
        runs = [
            (int(p.stem.rsplit("-", 1)[1]), json.loads(p.read_text())) for p in sorted(args.cache.glob(f"{key}-*.json"))
        ]
        if not runs:
            continue
        values, cost = gather(ask, runs, rows)
        means = summarise(key, values, cost, summary)
        screen = next((r["screen"] for _, r in runs if r["screen"]), None)
        allowed = screen is None or screen["allowed"]
        if screen:
            measurable = ", ".join(screen["measurable"])
            screens.append({"ask": key, "verdict": allowed, "reason": screen["reason"], "measurable": measurable})
        if allowed:
            judged = {
                k: v
                for k, v in values.items()
                if not (screen and k[0] in screen["refused"]) and _rows(v) == _rows(values[k[0], MODEL])
            }  # no verdict on a peer that was not run on all splits
            methods = tuple(m for m in (*ask.methods, *ask.peers) if "permuted" not in m)
            against = {"best baseline": methods} | ({GOAL_OF_CONTEXTS: (GOAL_OF_CONTEXTS,)} if ask.contexts else {})
            for name, baselines in against.items():
                question = Question(key, ask.task(0), MODEL, baselines)
                found = verdicts(compare(question, judged, cost, seed=0))
                said.append(found.assign(ask=key, against=name))
        for goal in ask.goals:
            value = means[goal.metric]
            reached = (goal.least is None or value >= goal.least) and (goal.most is None or value <= goal.most)
            words = " and ".join(
                w for w in (f">= {goal.least}" if goal.least else "", f"<= {goal.most}" if goal.most else "") if w
            )
            goals.append([f"{ask.title}: {goal.metric} {words}", value, GOAL[reached]])
    asked = {row["ask"] for row in rows}
    frame = pd.DataFrame(rows, columns=["ask", *COLUMNS])
    path = args.out / "perturbation.parquet"
    if path.is_file():
        frame = among_others(frame, Results.load(path).table, asked)
    meta = {"suite": "perturbation", "versions": _versions(), "command": "python benchmarks/perturbation.py"}
    audit = pd.DataFrame([{"ask": k, "check": "leak audit of every split", "ok": True} for k in frame["ask"].unique()])
    Results(frame, pd.DataFrame(), audit, meta, {}).save(path)
    tables = {
        "perturbation": pd.DataFrame(summary),
        "perturbation_verdicts": pd.concat(said) if said else pd.DataFrame(),
        "perturbation_screens": pd.DataFrame(screens),
    }
    for name, written in tables.items():
        whole = among_others_of(args.out / f"{name}.csv", written, asked)
        with io.atomic(args.out / f"{name}.csv") as temporary:
            whole.to_csv(temporary, index=False, float_format="%.5g")
    table("Figures to reach", ["", "measured", ""], goals)


def _rows(by_unit: dict[str, list[np.ndarray]]) -> dict[str, int]:
    return {unit: len(v[0]) for unit, v in by_unit.items()}


def gather(ask: Ask, runs: list[tuple[int, dict]], rows: list[dict[str, Any]]) -> tuple[Values, dict[str, float]]:
    """Give scores as `bench` compares them, each perturbation with its mean over splits, and CPU seconds of methods."""
    seen: dict[tuple[str, str], dict[str, dict[str, list[float]]]] = {}
    spent: dict[str, list[float]] = {}
    unit = ask.task(0).split_unit
    for seed, found in runs:
        for one in found["scores"]:
            spent.setdefault(one["method"], []).append(one["cost"]["cpu_s"])
            names, n_seen = np.array(one["rows"]), np.array(one["n_seen"])
            for metric, score in one["scores"].items():
                members = np.array(score, dtype=float)
                asked = names[n_seen == int(metric[-6])] if metric.endswith(" seen") else names
                if METRICS[base_metric(metric)].per == "set" or len(asked) != len(members):
                    asked = np.array([f"{one['unit']}, seed {seed}"])  # one number for the whole split
                by_unit = seen.setdefault((metric, one["method"]), {})
                place = by_unit.setdefault("all" if unit == "fold" else one["unit"], {})
                for name, value in zip(asked, members, strict=True):
                    place.setdefault(str(name), []).append(value)
                rows.append(
                    {
                        "ask": ask.key,
                        "task": ask.task(0).name,
                        "dataset": ask.key.split("_")[0],
                        "method": one["method"],
                        "seed": seed,
                        "split": unit,
                        "unit": one["unit"],
                        "metric": metric,
                        "value": METRICS[base_metric(metric)].score(members),
                        "n": len(members),
                        **one["cost"],
                    }
                )
    values: Values = {
        key: {u: [np.array([np.mean(by_row[name]) for name in sorted(by_row)])] for u, by_row in by_unit.items()}
        for key, by_unit in seen.items()
    }
    return values, {name: float(np.mean(c)) for name, c in spent.items()}


def summarise(key: str, values: Values, cost: dict[str, float], summary: list[dict[str, Any]]) -> dict[str, float]:
    """Add mean and interval (bootstrap over perturbations within units) of each score; gives our model's means."""
    own = {}
    for (metric, method), by_unit in values.items():
        kept = [v[0][~np.isnan(v[0])] for v in by_unit.values()]
        kept = [v for v in kept if len(v)]
        if not kept:
            continue
        value = float(np.mean([v.mean() for v in kept]))
        rng = np.random.default_rng(0)
        drawn = np.mean([v[rng.integers(len(v), size=(500, len(v)))].mean(axis=1) for v in kept], axis=0)
        low, high = np.quantile(drawn, [0.025, 0.975]) if max(map(len, kept)) > 1 else (np.nan, np.nan)
        summary.append(
            {
                "ask": key,
                "method": method,
                "metric": metric,
                "value": value,
                "low": low,
                "high": high,
                "n": sum(map(len, kept)),
                "cpu_s": cost[method],
            }
        )
        if method == MODEL:
            own[metric] = value
    return own


def main() -> None:
    """Run what is not done, and write the results."""
    args = arguments()
    if args.list:
        for ask in ASKS.values():
            print(f"{ask.key:24}{ask.title}: {', '.join((MODEL, *ask.methods, *ask.peers))}")
        return
    if not args.collect:
        work(args)
    collect(args)


if __name__ == "__main__":
    print(f"omicsfm {ofm.__version__}")
    main()
