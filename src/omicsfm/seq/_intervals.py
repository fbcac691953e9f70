"""Places on a genome as the features of an AnnData hold them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from omicsfm._errors import InputError

_CHROM = ("chrom", "chr", "Chromosome", "chromosome")
_MINUS = ("-", "-1")
_PLUS = ("+", "1", ".", "*", "", "nan", "None", "<NA>")  # or none at all
_NAME = r"^(?P<chrom>[^:]+):(?P<start>\d+)-(?P<end>\d+)$"


def read_intervals(function: str, var: pd.DataFrame) -> pd.DataFrame:
    """Read intervals, 0-based and half-open.

    Parameters
    ----------
    function
        Who asks, for the error.
    var
        (n_vars) with columns `chrom` (or `chr`, `chromosome`), `start`, `end` and, where it matters, `strand`; without
        these, names such as ``"chr1:100-600"``.

    Returns
    -------
    DataFrame (n_vars): `chrom` as text, `start`, `end` as int64, `minus` as bool (false unless strand is "-").

    Raises
    ------
    InputError
        If they are not told, or one of them is missing, starts before 0 or has no length or an unknown strand.
    """
    chrom = next((name for name in _CHROM if name in var), None)
    if chrom is not None and {"start", "end"} <= set(var.columns):
        table = pd.DataFrame({"chrom": var[chrom].astype(object), "start": var["start"], "end": var["end"]})
    else:
        table = pd.Series(var.index.astype(str), index=var.index, dtype=object).str.extract(_NAME)
        if table.isna().to_numpy().all():
            raise InputError(
                f"{function}: intervals were needed, found var with {', '.join(map(str, var.columns)) or 'no columns'} "
                f"and names such as {str(next(iter(var.index), ''))!r}. "
                "Fix: give var the columns chrom, start and end (0-based, half-open), or names like 'chr1:100-600'."
            )
    numbers = table[["start", "end"]].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    bad = table["chrom"].isna().to_numpy() | ~(numbers[:, 0] >= 0) | ~(numbers[:, 1] > numbers[:, 0])
    if bad.any():
        first = int(np.argmax(bad))
        raise InputError(
            f"{function}: intervals need a chromosome and 0 <= start < end, found {int(bad.sum())} of {len(bad)} "
            f"without, first {_told(var, table, first)}. Fix: correct or remove them."
        )
    strand = np.array([str(told) for told in var["strand"]] if "strand" in var else ["."] * len(var), dtype=str)
    odd = ~np.isin(strand, [*_MINUS, *_PLUS])
    if odd.any():
        first = int(np.argmax(odd))
        raise InputError(
            f"{function}: strand must be '+', '-' or '.', found '{strand[first]}' of '{var.index[first]}'. "
            "Fix: write one of these."
        )
    return pd.DataFrame(
        {
            "chrom": table["chrom"].astype(str).to_numpy(dtype=object),
            "start": numbers[:, 0].astype(np.int64),
            "end": numbers[:, 1].astype(np.int64),
            "minus": np.isin(strand, _MINUS),
        },
        index=var.index,
    )


def plain_chrom(name: str) -> str:
    """Give the name that UCSC (chr1, chrM) and Ensembl (1, MT) share."""
    bare = name[3:] if name.lower().startswith("chr") else name
    return "M" if bare in ("M", "MT") else bare


def centred(start: np.ndarray, end: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Give windows of one width: what is too many or too few is shared by both ends, an odd base goes to the right."""
    excess = end - start - width
    first = start + np.sign(excess) * (np.abs(excess) // 2)
    return first, first + width


def near(table: pd.DataFrame, others: pd.DataFrame, reach: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pair the intervals of two tables (chrom, start, end; half-open, in any order) that are at most `reach` apart.

    Returns
    -------
    i, j : int64, positions in `table` and `others`.
    apart : int64, bases between the two: 0 where they touch, below 0 where they overlap.
    """
    names = {name: code for code, name in enumerate(others["chrom"].unique())}
    code, other_code = (np.array([names.get(c, -1) for c in t["chrom"]], dtype=np.int64) for t in (table, others))
    first, last = (table[name].to_numpy(dtype=np.int64) for name in ("start", "end"))
    start, end = (others[name].to_numpy(dtype=np.int64) for name in ("start", "end"))
    longest = int((end - start).max(initial=0))
    # One line for all chromosomes, each longer than any of them.
    line = int(max(end.max(initial=0), last.max(initial=0))) + 2 * (reach + longest + 1)
    at = other_code * line + start
    order = np.argsort(at, kind="stable")
    low = np.searchsorted(at[order], code * line + first - reach - longest)
    high = np.searchsorted(at[order], code * line + last + reach, side="right")
    n = np.where(code >= 0, np.maximum(high - low, 0), 0)
    i = np.repeat(np.arange(len(table)), n)
    j = order[np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n) + low[i]]
    apart = np.maximum(start[j] - last[i], first[i] - end[j])
    kept = (apart <= reach) & (other_code[j] == code[i])
    return i[kept], j[kept], apart[kept]


def _told(var: pd.DataFrame, table: pd.DataFrame, row: int) -> str:
    found = table.iloc[row]
    return f"'{var.index[row]}' ({found['chrom']}:{found['start']}-{found['end']})"
