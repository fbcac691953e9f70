"""What notebooks show of our results: small HTML in which everything that comes from data is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

import pandas as pd

_STYLE = "text-align: left; vertical-align: top"


def heading(text: str) -> str:
    """Give a line in bold."""
    return f"<p><strong>{escape(text)}</strong></p>"


def items(lines: Iterable[str]) -> str:
    """Give a list, or nothing for none."""
    found = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{found}</ul>" if found else ""


def table(frame: pd.DataFrame, *, index: bool = False, rows: int = 30) -> str:
    """Give a table, its numbers with three digits, the middle left out beyond so many rows."""
    text = frame.to_html(index=index, max_rows=rows, float_format="{:.3g}".format, border=0, na_rep="–", escape=True)
    return text.replace("<th>", f'<th style="{_STYLE}">').replace("<td>", f'<td style="{_STYLE}">')
