"""Put words, tables and figures on the page."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from omicsfm import __version__
from omicsfm._errors import InputError
from omicsfm.io import atomic
from omicsfm.pl._style import detached
from omicsfm.report import _figures, _response, _tables, _words

if TYPE_CHECKING:
    from jinja2 import Template

    from omicsfm.bench import Results


@lru_cache(maxsize=1)
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    text = resources.files("omicsfm.report").joinpath("report.html.j2").read_text(encoding="utf-8")
    # Everything is escaped but what we mark as HTML ourselves.
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        text
    )


def _pairs(table: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Task and data set, in order of appearance."""
    yield from table[["task", "dataset"]].drop_duplicates().itertuples(index=False, name=None)


def _of(table: pd.DataFrame, task: str, dataset: str) -> pd.DataFrame:
    return table[(table["task"] == task) & (table["dataset"] == dataset)]


def _sections(results: Results) -> Iterator[dict[str, Any]]:
    several = results.table["dataset"].nunique() > 1
    pictures = dict(results.pictures)  # a picture stands in the first section it belongs to: it shows one data set
    for number, (task, dataset) in enumerate(_pairs(results.table), start=1):
        scores, verdicts = (_of(t, task, dataset) for t in (results.table, results.verdicts))
        tested = list(dict.fromkeys(verdicts["method"]))
        metrics = list(dict.fromkeys(scores["metric"]))
        main = _words.main_metric(verdicts, scores)
        response = _response.section(_response.find(pictures.get("response"), task, dataset))
        yield {
            "id": f"task-{number}",
            "title": _words.title(task, dataset if several else None),
            "question": _words.question(task),
            "summary": _words.summary(verdicts),
            "verdicts": _words.verdict_lines(verdicts),
            "metrics": [_words.metric_line(name) for name in dict.fromkeys(m.partition(":")[0] for m in metrics)],
            "table": _tables.scores(scores, tested=tested, id=f"scores-{number}"),
            "forest": _figures.forest(verdicts),
            "covers": list(dict.fromkeys(verdicts["covers"].dropna())),
            "cost": _figures.quality_cost(scores, main, tested=tested),
            "embedding": _figures.embeddings(pictures.pop("umap", None)) if task in _words.STATES else [],
            "imputation": _figures.imputation(pictures.pop("imputation", None)) if task == "imputation" else None,
            "response": response,
            "short": _words.shortfall(verdicts),
        }


def _reproduce(meta: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Tell what someone needs to run the same again, as (name, value)."""
    rows = [
        ("suite", meta.get("suite")),
        ("seeds", ", ".join(str(seed) for seed in meta.get("seeds") or [])),
        ("started", meta.get("started")),
        ("took", f"{meta['wall_s']:.0f} s" if meta.get("wall_s") is not None else None),
        ("machine", meta.get("machine")),
        ("python", meta.get("python")),
        *(dict(meta.get("versions") or {})).items(),
    ]
    return [(str(name), str(value)) for name, value in rows if value not in (None, "")]


def build(results: Results, path: str | os.PathLike[str] = "report.html") -> Path:
    """Write the report: verdicts in words first, then tables, figures, limits and what is needed to run it again.

    Parameters
    ----------
    results
        What ``omicsfm.bench.run`` returned, or ``omicsfm.bench.Results.load`` read.
    path
        The page; an existing file is replaced once the new one is whole.

    Returns
    -------
    The path. The page needs no network and no other file.

    Raises
    ------
    InputError
        If the results hold no scores, or the page cannot be written there.
    """
    target = Path(path)
    if not len(results.table):
        raise InputError("report.build: results with scores are needed, found none. Fix: run omicsfm.bench.run first.")
    with detached():
        sections, mask = list(_sections(results)), _figures.mask(results.pictures.get("mask"))
    html = _template().render(
        version=__version__,
        datasets=list(dict.fromkeys(results.table["dataset"])),
        mask=mask,
        sections=sections,
        counts=_words.counts(results.verdicts),
        audit=_tables.audit(results.audit),
        audit_words=_words.audit(results.audit),
        limits=[str(sentence) for sentence in results.meta.get("limits") or []],
        command=str(results.meta.get("command") or ""),
        reproduce=_reproduce(results.meta),
        data={str(name): str(value) for name, value in (results.meta.get("data") or {}).items()},
    )
    with atomic(target) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return target
