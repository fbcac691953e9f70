"""Sequences that are the same, on either strand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from omicsfm.seq._one_hot import other_strand
from omicsfm.seq._sequences import as_list, code_blocks


def duplicates(a: Any, b: Any) -> pd.DataFrame:
    """Find the sequences of `b` that are in `a`, as they are or as their reverse complement.

    Parameters
    ----------
    a, b
        (n_a,) and (n_b,) lists, arrays or Series of strings over A, C, G, T, N and IUPAC codes, in either case.

    Returns
    -------
    DataFrame, one row for each sequence of `b` that is found: `b` and `a`, their positions (of `a` the first), and
    `kind`, "exact" or, where only that is there, "reverse_complement".

    Raises
    ------
    InputError
        On letters that are no DNA.
    """
    upper = []
    for name, given in (("a", a), ("b", b)):
        function = f"seq.duplicates ({name})"
        found = as_list(function, given)
        for _ in code_blocks(function, found):
            pass  # the check of the letters
        upper.append([sequence.upper() for sequence in found])
    first: dict[str, int] = {}
    for i, sequence in enumerate(upper[0]):
        first.setdefault(sequence, i)
    rows = []
    for j, sequence in enumerate(upper[1]):
        if sequence in first:
            rows.append((j, first[sequence], "exact"))
        elif (other := other_strand(sequence)) in first:
            rows.append((j, first[other], "reverse_complement"))
    return pd.DataFrame(rows, columns=["b", "a", "kind"]).astype({"b": np.int64, "a": np.int64})
