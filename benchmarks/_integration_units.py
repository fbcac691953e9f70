"""One unit of work of the peer study: a method, a split, a seed; its scores per cell and its cost, kept in a file."""

from __future__ import annotations

import inspect
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from _integration_methods import METHODS, Method
from _integration_questions import ASKS, Ask

from omicsfm import io
from omicsfm.bench import Cost
from omicsfm.pp import Tokenizer
from omicsfm.tasks import Split
from omicsfm.testing._toy import toy_mosaic

# What other people's code raises when it cannot go on: a row with the reason, not the end of the study.
FAILURES = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
_warm: set[str] = set()


@dataclass(frozen=True)
class Unit:
    """One question asked once of one method."""

    ask: str
    method: str
    seed: int
    split: int

    def path(self, cache: Path) -> Path:
        """Where its result stands."""
        name = re.sub(r"[^A-Za-z0-9]+", "-", self.method).strip("-")
        return cache / self.ask / name / f"seed{self.seed}-split{self.split}.npz"


def units(asks: list[str], methods: list[str], n_splits: dict[str, int], seeds: int | None) -> Iterator[Unit]:
    """Give all units, seed by seed, so that what is finished is whole."""
    for name in methods:
        for ask in (a for a in asks if a in METHODS[name].asked):
            for seed in range(METHODS[name].seeds if seeds is None else min(seeds, METHODS[name].seeds)):
                yield from (Unit(ask, name, seed, i) for i in range(n_splits[ask]))


def run(unit: Unit, split: Split, cache: Path) -> str:
    """Ask, and keep what came; gives a line for the log."""
    ask, method = ASKS[unit.ask], METHODS[unit.method]
    facts: dict[str, Any] = {
        "ask": unit.ask,
        "method": unit.method,
        "seed": unit.seed,
        "split": unit.split,
        "unit": split.unit,
        "failed": "",
    }
    arrays: dict[str, np.ndarray] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _warm_up(method)
        try:
            scores, facts["cost"] = _ask(ask, method, split, unit.seed)
        except FAILURES as err:
            facts["failed"] = f"{type(err).__name__}: {err}"
        else:
            arrays = {f"score/{k}": np.atleast_1d(np.asarray(v, np.float32)) for k, v in scores.items()}
            if ask.kind == "state":
                arrays["sample"] = split.truth["donor"].astype("U")
    with io.atomic(unit.path(cache)) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, facts=np.array(json.dumps(facts)), **arrays)
    said = facts["failed"] or f"{facts['cost']['cpu_s']:.1f} CPU-s"
    return f"{unit.ask}  {unit.method}  seed {unit.seed}  split {unit.split}: {said}"


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], np.ndarray | None]:
    """Give the facts, the scores and the sample of each cell (where the question has them) of a unit's file."""
    with np.load(path, allow_pickle=False) as file:
        scores = {k.removeprefix("score/"): file[k].astype(float) for k in file.files if k.startswith("score/")}
        return json.loads(str(file["facts"])), scores, file["sample"] if "sample" in file.files else None


def _ask(ask: Ask, method: Method, split: Split, seed: int) -> tuple[dict[str, Any], dict[str, float]]:
    with Cost() as token_cost:
        tokenizer = Tokenizer(seed=seed).fit(split.train)
        tokens = tokenizer.transform(split.train)
    given = {"tokenizer": tokenizer, "tokens": tokens}
    model = method.make(seed, tokenizer)
    accepted = inspect.signature(model.fit).parameters
    with Cost() as cost:
        model.fit(split.train, **{k: v for k, v in given.items() if k in accepted})
        prediction = ask.task.predict(model, split)
    spent = cost.record.to_dict()
    if "tokens" in accepted:  # made once, but the method needs them
        for key in ("wall_s", "cpu_s"):
            spent[key] += token_cost.record.to_dict()[key]
    return ask.task.score(prediction, split), spent


def _warm_up(method: Method) -> None:
    """Import and compile before the clock runs: a first fit to toy data."""
    if method.name in _warm:
        return
    _warm.add(method.name)
    if method.family != "baseline":
        for module in ("torch", "lightning", "scvi"):
            import_module(module)
    toy = toy_mosaic()
    model = method.make(0, Tokenizer().fit(toy))
    if hasattr(model, "max_epochs"):
        model.max_epochs = 1
    try:
        model.fit(toy)
    except FAILURES:
        return  # toy data may not be for it; what it says of real data is what counts
