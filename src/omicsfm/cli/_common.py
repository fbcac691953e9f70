"""What the commands share: options, output, and the care for files that are there already."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from omicsfm import InputError

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON on stdout, all else on stderr.")]
Force = Annotated[bool, Parameter(negative="", help="Replace what is there already.")]
Names = Annotated[
    list[str] | None,
    Parameter(
        consume_multiple=True,
        negative="",
        help="Recipe of each modality whose name does not tell it: adt=protein peaks=atac. Recipes: rna, atac, "
        "protein, guide, methylation, continuous.",
    ),
]


def _plain(value: Any) -> Any:
    """Make JSON out of what commands report; a number that is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return [_plain(item) for item in value] if isinstance(value, Iterable) else str(value)


def say(payload: Mapping[str, Any] | Sequence[Any], words: str, *, as_json: bool) -> None:
    """Print what a command found on stdout: for machines, or for people."""
    print(json.dumps(_plain(payload), ensure_ascii=False) if as_json else words)


def tell(words: str) -> None:
    """Tell a person on stderr how things go."""
    print(words, file=sys.stderr, flush=True)


def show(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table on stdout: with rules at a terminal, tab-separated in a pipe."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            print("\t".join(str(cell) for cell in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, header_style="bold", padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))  # Text: names from data are no markup
    Console().print(table)


def writable(path: Path, *, force: bool, suffixes: Sequence[str] = ()) -> Path:
    """Check before the work that its result may be written there.

    Raises
    ------
    InputError
        If the suffix is none of `suffixes`, or something is there and `force` was not given.
    """
    if suffixes and path.suffix not in suffixes:
        raise InputError(f"--out: '{path}' must end in {' or '.join(suffixes)}. Fix: rename it.")
    if path.exists() and not force:
        raise InputError(f"--out: '{path}' is there already. Fix: pass --force to replace it, or another --out.")
    return path


def recipes(pairs: Sequence[str] | None) -> dict[str, str] | None:
    """Read ``name=recipe`` pairs.

    Raises
    ------
    InputError
        If one is something else.
    """
    if not pairs:
        return None
    bad = [pair for pair in pairs if pair.count("=") != 1 or pair.startswith("=") or pair.endswith("=")]
    if bad:
        raise InputError(f"--modalities: name=recipe was needed, found '{bad[0]}'. Fix: write e.g. adt=protein.")
    return dict(pair.split("=") for pair in pairs)
