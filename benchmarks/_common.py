"""What the benchmark scripts share: one thread, and a table on the terminal."""

from __future__ import annotations

import os
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy is imported

import pandas as pd  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

GOAL = {True: "reached", False: "MISSED"}


def among_others(new: pd.DataFrame, old: pd.DataFrame, asked: set[str]) -> pd.DataFrame:
    """Put new results of some questions beside the old ones of all others (column `ask`)."""
    kept = old[~old["ask"].isin(asked)]
    return pd.concat([kept, new], ignore_index=True) if len(new) else kept


def among_others_of(path: Path, new: pd.DataFrame, asked: set[str]) -> pd.DataFrame:
    """Do so with the old ones of a CSV file, where there is one; one without results is empty."""
    there = path.is_file() and path.read_text().strip()
    return among_others(new, pd.read_csv(path), asked) if there else new


def table(title: str, columns: list[str], rows: list[list[object]]) -> None:
    """Print a table."""
    out = Table(title=title, title_justify="left")
    for i, name in enumerate(columns):
        out.add_column(name, justify="left" if i == 0 else "right", no_wrap=i > 0)
    for row in rows:
        out.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row))
    Console(width=150).print(out)
