"""What the benchmark scripts share: one thread, and a table on the terminal."""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy is imported

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

GOAL = {True: "reached", False: "MISSED"}


def table(title: str, columns: list[str], rows: list[list[object]]) -> None:
    """Print a table."""
    out = Table(title=title, title_justify="left")
    for i, name in enumerate(columns):
        out.add_column(name, justify="left" if i == 0 else "right", no_wrap=i > 0)
    for row in rows:
        out.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row))
    Console(width=150).print(out)
