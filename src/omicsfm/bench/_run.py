"""Run a suite: every method, every held-out unit, every seed; audit first, cost beside every score."""

from __future__ import annotations

import inspect
import platform
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData

from omicsfm import __version__, contract, datasets, models, tl
from omicsfm._errors import InputError
from omicsfm._progress import progress
from omicsfm.bench._compare import Values, base_metric, compare, verdicts
from omicsfm.bench._pictures import imputation_picture, mask_picture, umap_picture
from omicsfm.bench._response_picture import picture_of
from omicsfm.bench._results import COLUMNS, Results
from omicsfm.bench._suites import SUITES, Question
from omicsfm.bench.cost import Cost
from omicsfm.metrics import METRICS
from omicsfm.pp import Tokenizer
from omicsfm.tasks import Imputation, PerturbationResponse, Split

SEEDS = (0, 1, 2, 3, 4)
_VERSIONED = ("numpy", "scipy", "pandas", "scikit-learn", "anndata", "mudata", "scanpy", "scvi-tools", "torch")


def run(
    suite: str | Sequence[Question] = "quick",
    out: str | Path | None = "results.parquet",
    *,
    methods: Sequence[str] | None = None,
    seeds: Iterable[int] = SEEDS,
    energy: bool = False,
) -> Results:
    """Ask every question of a suite of every method, and write what was found.

    Parameters
    ----------
    suite
        Name of a suite: "quick" (PBMC mosaic, a minute), "full" or "perturbation" (half a minute); or questions of your
        own, whose methods are registered names (:func:`omicsfm.models.register` for a model of yours).
    out
        Parquet file for the results, replaced whole; None to write none.
    methods
        Only these of the methods that the questions name; the model on trial of each question is always among them.
    seeds
        One fit per seed; scores are averaged over seeds before methods are compared.
    energy
        Estimate kWh as well (extra ``energy``); measuring itself takes time.

    Returns
    -------
    Results
        What `out` holds.

    Raises
    ------
    InputError
        For an unknown suite or method, and where the leak audit finds a leak: then nothing is scored.
    """
    questions = _questions(suite)
    asked = {name for question in questions for name in question.methods}
    for name in (*asked, *(methods or ())):
        if name not in models.MODELS:
            raise InputError(f"bench.run: no model '{name}'. Fix: choose from {', '.join(sorted(models.MODELS))}.")
    if idle := [name for name in methods or () if name not in asked]:
        raise InputError(
            f"bench.run: no question names {', '.join(idle)}, so they would not be asked. Fix: choose from "
            f"{', '.join(sorted(asked))}, or give questions of your own: bench.run([bench.Question(...)])."
        )
    seeds = tuple(seeds)
    started, clock = datetime.now(UTC), time.perf_counter()
    runner = _Runner(seeds, methods, energy=energy)
    for question in questions:
        runner.ask(question)
    results = Results(
        table=pd.DataFrame(runner.rows, columns=COLUMNS),
        verdicts=verdicts(runner.comparisons),
        audit=pd.DataFrame(runner.audit),
        meta={
            "suite": suite if isinstance(suite, str) else "your own",
            "seeds": list(seeds),
            "versions": _versions(),
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {platform.system()}",
            "data": runner.data,
            "started": started.isoformat(timespec="seconds"),
            "wall_s": round(time.perf_counter() - clock, 1),
            "command": f"omicsfm bench --suite {suite}" if isinstance(suite, str) else "omicsfm.bench.run([...])",
            "limits": runner.limits(),
        },
        pictures=runner.pictures,
    )
    if out is not None:
        results.save(out)
    return results


def _questions(suite: str | Sequence[Question]) -> tuple[Question, ...]:
    """Give the questions of a suite, or those given."""
    if isinstance(suite, str):
        if suite not in SUITES:
            raise InputError(f"bench.run: no suite '{suite}'. Fix: choose one of {', '.join(SUITES)}.")
        return SUITES[suite]
    questions = tuple(suite)
    if not questions or not all(isinstance(question, Question) for question in questions):
        raise InputError(
            f"bench.run: the name of a suite or a list of questions is needed, found {type(suite).__name__} of "
            f"{len(questions)}. Fix: bench.run([bench.Question(...)])."
        )
    return questions


class _Runner:
    """What accumulates over the questions of a suite."""

    def __init__(self, seeds: tuple[int, ...], methods: Sequence[str] | None, *, energy: bool) -> None:
        self.energy = energy
        self.seeds = seeds
        self.methods = methods
        self.rows: list[dict[str, Any]] = []
        self.audit: list[dict[str, Any]] = []
        self.comparisons: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self.data: dict[str, str] = {}
        self.pictures: dict[str, Any] = {}
        self._loaded: dict[str, MuData] = {}

    def ask(self, question: Question) -> None:
        """Run one question over its splits, methods and seeds."""
        mdata = self._load(question)
        names = [
            name for name in question.methods if name == question.method or self.methods is None or name in self.methods
        ]
        values: Values = {}
        answers: list[tuple[Split, Any]] = []  # of the method on trial, where the report shows them
        shown = isinstance(question.task, Imputation | PerturbationResponse)
        steps = [(split, seed) for split in question.task.splits(mdata) for seed in self.seeds]
        for split, seed in progress(steps, desc=f"{question.task.name} on {question.dataset}"):
            if seed == self.seeds[0]:
                self._audit(question, split)
            with Cost() as token_cost:
                given = _tokens(split.train, seed) if getattr(question.task, "needs_tokens", True) else {}
            for name in names:
                model = models.create(name, seed=seed)
                accepted = inspect.signature(model.fit).parameters
                with Cost(energy=self.energy) as cost:
                    model.fit(split.train, **{k: v for k, v in given.items() if k in accepted})
                    if not question.task.can(model):
                        raise InputError(f"bench.run: {name} cannot answer '{question.task.name}'.")
                    prediction = question.task.predict(model, split)
                spent = cost.record.to_dict()
                if given and "tokens" in accepted:  # made once, but each method needs them
                    for key in ("wall_s", "cpu_s"):
                        spent[key] += token_cost.record.to_dict()[key]
                for metric, value in question.task.score(prediction, split).items():
                    members = np.atleast_1d(np.asarray(value, dtype=float))
                    values.setdefault((metric, name), {}).setdefault(split.unit, []).append(members)
                    self.rows.append(
                        {
                            "task": question.task.name,
                            "dataset": question.dataset,
                            "method": name,
                            "seed": seed,
                            "split": question.task.split_unit,
                            "unit": split.unit,
                            "metric": metric,
                            "value": METRICS[base_metric(metric)].score(members),
                            "n": len(members),
                            **spent,
                        }
                    )
                if shown and name == question.method and seed == self.seeds[0]:
                    answers.append((split, prediction))
        table = pd.DataFrame([r for r in self.rows if r["task"] == question.task.name])
        spent_by = table[table["dataset"] == question.dataset].groupby("method")["cpu_s"].mean().to_dict()
        if isinstance(question.task, PerturbationResponse):
            self._judge_screen(question, mdata, values, spent_by, answers)
            return
        self.comparisons += compare(question, values, spent_by, seed=self.seeds[0])
        if answers and "imputation" not in self.pictures:
            target = answers[0][0].truth["target"]
            mine = [(s.truth, found) for s, found in answers if s.truth["target"] == target]
            scale = given["tokenizer"].recipes_[target].scale_name
            chosen = [(*found, truth.get("label")) for truth, found in mine]
            self.pictures["imputation"] = imputation_picture(target, scale, chosen, seed=self.seeds[0])

    def _judge_screen(
        self,
        question: Question,
        mdata: MuData,
        values: Values,
        cost: dict[str, float],
        answers: list[tuple[Split, Any]],
    ) -> None:
        """Compare on the metrics that can tell models apart: those in which a replicate beats the mean response."""
        assert isinstance(question.task, PerturbationResponse)
        screen = question.task.calibration(mdata)
        refused = {metric: screen.refusal(metric) for metric, _ in values}
        judged = {key: v for key, v in values.items() if not refused[key[0]]}
        self.comparisons += compare(question, judged, cost, seed=self.seeds[0])
        where = f"{question.dataset}, {question.task.name}"
        if not screen.verdict_allowed:
            self.refused.append(f"No verdict on {where}: {screen.reason}.")
        else:
            told = {m: w for m, w in refused.items() if w and base_metric(m) in question.task.primary}
            self.refused += [f"No verdict on {where}, {metric}: {words}." for metric, words in told.items()]
        controls = contract.perturbations(mdata)["is_control"].any()
        picture = picture_of(
            question,
            answers,
            values,
            cost,
            calibration=screen,
            screen=tl.screen_report(mdata, seed=self.seeds[0]).perturbations if controls else None,
            seed=self.seeds[0],
        )
        self.pictures.setdefault("response", []).append(picture)

    def _load(self, question: Question) -> MuData:
        if question.dataset not in self._loaded:
            mdata = datasets.load(question.dataset)
            contract.setup(mdata, batch_key=question.batch_key, label_key=question.label_key)
            self._loaded[question.dataset] = mdata
            self.data[question.dataset] = contract.fingerprint(mdata)
            if not self.pictures and getattr(question.task, "needs_tokens", True):
                state = models.create(question.method, seed=self.seeds[0]).fit(mdata).embed(mdata)
                self.pictures["mask"] = mask_picture(question.dataset, mdata)
                self.pictures["umap"] = umap_picture(mdata, np.asarray(state), seed=self.seeds[0])
        return self._loaded[question.dataset]

    def _audit(self, question: Question, split: Split) -> None:
        findings = question.task.audit(split)
        self.audit += [
            {
                "task": question.task.name,
                "dataset": question.dataset,
                "split": split.unit,
                "check": f.check,
                "found": f.found,
                "ok": f.ok,
            }
            for f in findings
        ]
        leaks = [f for f in findings if not f.ok]
        if leaks:
            raise InputError(
                f"bench.run: leak in '{question.task.name}' on {question.dataset}, held out {split.unit}: "
                f"{leaks[0].check}: {leaks[0].found}. Nothing is scored. Fix: the split, or the data."
            )

    def limits(self) -> list[str]:
        """Say what these results do not show."""
        said = sorted({row["comparison"].covers for row in self.comparisons if row["comparison"].few_units})
        return [
            *self.refused,
            *(f"Intervals: {words}." for words in said),
            "The best baseline of each comparison was chosen on the held-out data, which favours the baseline.",
            "CPU seconds include making the tokens; memory is that of the whole process.",
            "Labels of these data come from the same measurements that are evaluated; agreement with them is not "
            "biological truth.",
        ]


def _tokens(train: MuData, seed: int) -> dict[str, Any]:
    """Make the tokens that the methods of a split share."""
    tokenizer = Tokenizer(seed=seed).fit(train)
    return {"tokenizer": tokenizer, "tokens": tokenizer.transform(train)}


def _versions() -> dict[str, str]:
    out = {"omicsfm": __version__}
    for name in _VERSIONED:
        try:
            out[name] = version(name)
        except PackageNotFoundError:  # not every stack has all of them
            continue
    return out
