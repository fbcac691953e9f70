"""omicsfm bench, report, demo: scores against baselines, and the page that tells them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from omicsfm.cli._common import Force, Json, say, writable

if TYPE_CHECKING:
    from omicsfm.bench import Results

_Many = Parameter(consume_multiple=True, negative="")


def _verdicts(results: Results) -> list[dict[str, Any]]:
    columns = ["task", "dataset", "metric", "method", "baseline", "favours", "words"]
    return results.verdicts[columns].to_dict(orient="records")


def _in_words(results: Results) -> str:
    """Tell the verdicts, task by task, losses like gains."""
    lines = []
    for task, mine in results.verdicts.groupby("task", sort=False):
        lines += [f"{task}:", *(f"  {words}" for words in mine["words"])]
    return "\n".join(lines) or "no method was compared with a baseline"


def bench(
    *,
    suite: str = "quick",
    out: Path = Path("results.parquet"),
    methods: Annotated[list[str] | None, _Many] = None,
    seeds: Annotated[list[int] | None, _Many] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Score methods against baselines on held-out donors, and print the verdicts in words.

    Parameters
    ----------
    suite
        "quick" (PBMC mosaic, a minute) or "full".
    out
        The results: one parquet file, read by `omicsfm report`.
    methods
        Only these baselines of the suite; the model on trial is always there.
    seeds
        One fit per seed, in place of the usual five: 0 1 2 3 4.
    """
    import omicsfm as ofm

    writable(out, force=force, suffixes=(".parquet",))
    if seeds:
        results = ofm.bench.run(suite, out, methods=methods, seeds=seeds)
    else:
        results = ofm.bench.run(suite, out, methods=methods)
    payload = {"out": str(out), "verdicts": _verdicts(results)}
    say(payload, f"{_in_words(results)}\nresults written to {out}", as_json=as_json)


def report(results: Path, /, *, out: Path = Path("report.html"), force: Force = False, as_json: Json = False) -> None:
    """Write the report of a benchmark: one HTML page that opens from disk, verdicts in words first.

    Parameters
    ----------
    results
        Parquet file that `omicsfm bench` wrote.
    out
        The page.
    """
    import omicsfm as ofm

    writable(out, force=force, suffixes=(".html", ".htm"))
    page = ofm.report.build(ofm.bench.Results.load(results), out)
    say({"out": str(page)}, f"report written to {page}", as_json=as_json)


def demo(*, out: Path = Path("omicsfm-demo"), force: Force = False, as_json: Json = False) -> None:
    """Run the main job on real data: a PBMC mosaic of four donors, RNA only, protein only, and both.

    Checks the data, fits the mosaic model, embeds all cells, imputes what was not measured, labels them, scores all of
    it on held-out donors against baselines, and writes report.html, mosaic.h5mu, model/ and results.parquet.

    Parameters
    ----------
    out
        Folder for the results. A folder that an earlier demo wrote is replaced; one that holds other files as well only
        with --force; any other folder never.
    """
    from omicsfm.cli._demo import demo as run

    results = run(out, force=force)
    payload = {"out": str(out), "report": str(out / "report.html"), "verdicts": _verdicts(results)}
    say(payload, f"{_in_words(results)}\n\nThe report: {out / 'report.html'}", as_json=as_json)
