"""The Python blocks of a page: found, run one after the other, and held to what the page says of them.

A page is run as its reader would: all its blocks share one namespace. What stands behind ``# ->`` at the end of an
expression is compared with its value; dots (``...``) stand for anything, a number holds to the digits that it shows.

Two comments, which no reader sees, help a page that is read before it is run::

    <!-- not run: why -->            the next block is not run, and counted as such
    <!-- run first:                  this code is run, and not shown
    code
    -->
"""

from __future__ import annotations

import ast
import doctest
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PART = re.compile(
    r"^<!-- run first:\n(?P<first>.*?)^-->$"
    r"|(?:^<!-- not run: (?P<why>[^\n]+?) -->\n\s*)?^(?P<fence>```+)python[^\n]*\n(?P<code>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
_TOLD = re.compile(r"#\s*->\s*(.+)$")
_COMPARE = doctest.OutputChecker()


@dataclass(frozen=True)
class Block:
    """Some code of a page.

    Attributes
    ----------
    code
        The code.
    line
        Line of the page on which it starts, from 1.
    shown
        Whether readers see it.
    not_run
        Why it is not run; None if it is.
    """

    code: str
    line: int
    shown: bool = True
    not_run: str | None = None


def blocks(text: str) -> list[Block]:
    """Find the blocks of a page, in order."""
    out = []
    for part in _PART.finditer(text):
        group = "code" if part["code"] is not None else "first"
        line = text.count("\n", 0, part.start(group)) + 1
        out.append(Block(part[group], line, group == "code", part["why"]))
    return out


def same(value: Any, told: str) -> bool:
    """Tell whether a value is what a page says it is."""
    shown = str(value)
    try:
        number, digits = float(told), len(told.partition(".")[2])
        return abs(float(shown) - number) <= 0.5 * 10.0**-digits * (1 + 1e-6)
    except ValueError:
        return any(
            _COMPARE.check_output(told + "\n", text + "\n", doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
            for text in (shown, repr(value))
        )


def _steps(code: str) -> Iterator[tuple[ast.stmt, str | None]]:
    """Give the statements of a block, each with what is told of its value."""
    lines = code.split("\n")
    for node in ast.parse(code).body:
        told = _TOLD.search(lines[(node.end_lineno or 1) - 1]) if isinstance(node, ast.Expr) else None
        yield node, told[1].strip() if told else None


def run(text: str, *, name: str = "page", namespace: dict[str, Any] | None = None) -> tuple[int, int]:
    """Run the blocks of a page.

    Parameters
    ----------
    text
        The page.
    name
        Of the page, for tracebacks.
    namespace
        What the code sees; a new one by default.

    Returns
    -------
    How many shown blocks were run, and how many were not.

    Raises
    ------
    AssertionError
        If values are not what the page says, with all of them. Whatever the code raises is raised.
    """
    space: dict[str, Any] = {"__name__": "__main__"} if namespace is None else namespace
    n_run = n_not = 0
    wrong = []
    for block in blocks(text):
        if block.not_run is not None:
            n_not += 1
            continue
        n_run += block.shown
        for node, told in _steps(block.code):
            ast.increment_lineno(node, block.line - 1)
            if told is None:
                exec(compile(ast.Module([node], []), name, "exec"), space)
                continue
            assert isinstance(node, ast.Expr)
            value = eval(compile(ast.Expression(node.value), name, "eval"), space)
            if not same(value, told):
                wrong.append(f"{name}, line {node.end_lineno}: the page says {told}, found {value!r}")
    if wrong:
        raise AssertionError("\n".join(wrong))
    return n_run, n_not


def run_page(path: Path, **more: Any) -> tuple[int, int]:
    """Run the blocks of a file, as `run` does."""
    return run(path.read_text(encoding="utf-8"), name=str(path), **more)
