"""The peer study: every method on every shared data set. Hours; `make study` or `python benchmarks/integration.py`.

It can be killed and goes on where it was: what is done is kept in a cache, one small file per unit of work (question,
method, seed, split). Several processes may share one cache if their work does not overlap (--methods, --asks or
--shard). At the end, or with --collect, the results are written anew from the cache; a question of which the cache
holds nothing keeps those it has:

    results/integration.parquet   all scores and costs (omicsfm.bench.Results.load)
    results/verdicts.csv          our models against the closed form, the best peer and the best baseline
    results/integration.csv       one row per question, method and metric: value, interval, seeds, cost

Peers are run by their adapters in `omicsfm.models.external` (extra `peers`); one that is not installed, refuses or
fails is a row with the reason. One thread; CPU seconds include tokens, not imports and compilation.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import _common  # noqa: F401  first: it sets the threads
from _integration_collect import collect
from _integration_methods import METHODS
from _integration_questions import ASKS
from _integration_units import run, units

HERE = Path(__file__).resolve().parent


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="name the questions and methods, and do nothing")
    parser.add_argument(
        "--asks", nargs="+", choices=ASKS, default=list(ASKS), metavar="KEY", help="only these questions"
    )
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME", help="only these methods"
    )
    parser.add_argument("--seeds", type=int, help="at most so many seeds of each method")
    parser.add_argument("--shard", default="0/1", help="I/N: only every N-th unit of work, from the I-th on")
    parser.add_argument("--again", action="store_true", help="also what is done already")
    parser.add_argument("--collect", action="store_true", help="only write the results anew from the cache")
    parser.add_argument("--replace", action="store_true", help="replace results of which the cache lacks some")
    parser.add_argument("--cache", type=Path, default=HERE / ".cache" / "integration", help="folder of the units")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the results")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> None:
    """Run what is not done, and write the results."""
    args = arguments(words)
    if args.list:
        for ask in ASKS.values():
            print(f"{ask.key:18}{ask.title}")
        for method in METHODS.values():
            print(f"{method.name:28}{method.family:10}{method.seeds} seeds: {', '.join(method.asked)}")
        return
    if not args.collect:
        work(args)
    print(f"wrote {collect(args.cache, args.out, replace_all=args.replace)} rows to {args.out.name}/", flush=True)


def work(args: argparse.Namespace) -> None:
    """Run the units of this process."""
    number, of = (int(x) for x in args.shard.split("/"))
    loaded: dict[str, list] = {}
    for name in args.methods:
        asks = [a for a in args.asks if a in METHODS[name].asked]
        for key in asks:
            if key not in loaded:
                loaded[key] = ASKS[key].load()[1]
        todo = list(units(asks, [name], {k: len(v) for k, v in loaded.items()}, args.seeds))[number::of]
        todo = [u for u in todo if args.again or not u.path(args.cache).is_file()]
        for unit in todo:
            line = run(unit, loaded[unit.ask][unit.split], args.cache)
            print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


if __name__ == "__main__":
    main()
