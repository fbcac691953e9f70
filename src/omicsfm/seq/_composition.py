"""What a sequence is made of: the simplest thing that could explain a difference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from omicsfm.seq._embedders import Embedder, read_rest
from omicsfm.seq._kmer import kmer, kmer_names
from omicsfm.seq._sequences import BASES, as_list

_COLUMNS = (*BASES, "GC", "CpG_oe", "length")


def composition(sequences: Any) -> pd.DataFrame:
    """Describe sequences by their bases and their length.

    Parameters
    ----------
    sequences
        (n_seq,) list, array or Series of strings over A, C, G, T, N and IUPAC codes, in either case.

    Returns
    -------
    DataFrame (n_seq, 7) of float32: A, C, G, T as fractions of the known bases; GC, the sum of two of them; CpG_oe, the
    number of CG times the number of known bases over that of C times that of G; length in bases, unknown ones among
    them. What would be 0 / 0 is 0.

    References
    ----------
    Gardiner-Garden and Frommer 1987, doi:10.1016/0022-2836(87)90689-9 (observed over expected CpG).
    """
    found = as_list("seq.composition", sequences)
    base = kmer(found, k=1).toarray().astype(np.float64)
    cg = kmer(found, k=2)[:, kmer_names(2).index("CG")].toarray().ravel()
    known = base.sum(axis=1)
    fraction = base / np.maximum(known, 1)[:, None]
    c, g = base[:, 1], base[:, 2]
    table = [*fraction.T, fraction[:, 1] + fraction[:, 2], cg * known / np.maximum(c * g, 1), [*map(len, found)]]
    index = sequences.index if isinstance(sequences, pd.Series) else None
    return pd.DataFrame(np.array(table, dtype=np.float32).T.reshape(-1, 7), index=index, columns=list(_COLUMNS))


def composition_embedder(rest: str) -> Embedder:
    """Make the embedder ``composition``."""
    read_rest("composition", "", rest)
    return Embedder("composition", lambda sequences: composition(sequences).to_numpy(), names=lambda: list(_COLUMNS))
