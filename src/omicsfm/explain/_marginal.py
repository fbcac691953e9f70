"""What a motif does to the score when it is put into sequences that do not have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from omicsfm._errors import InputError
from omicsfm._optional import require
from omicsfm.explain._scorer import of_one_length, scorer
from omicsfm.metrics._bootstrap import paired_bootstrap
from omicsfm.seq._one_hot import one_hot
from omicsfm.seq._sequences import BASES


def shuffled(sequences: Any, *, n: int = 1, seed: int = 0) -> list[str]:
    """Shuffle sequences so that every pair of neighbours occurs as often as before (by tangermeme).

    Parameters
    ----------
    sequences
        (n_seq,) strings of one length, without unknown bases.
    n
        Shuffles of each.
    seed
        Of the shuffles.

    Returns
    -------
    (n_seq * n,) strings, those of the first sequence first.

    Raises
    ------
    InputError
        If lengths differ or a base is not known.
    """
    import torch

    ersatz = require("tangermeme.ersatz", extra="seq")
    found = of_one_length("explain.shuffled", sequences)
    if not set("".join(found)) <= set(BASES):
        raise InputError("explain.shuffled: bases must be known, found N or IUPAC codes. Fix: leave these out.")
    x = torch.from_numpy(one_hot(found).transpose(0, 2, 1).astype(np.int8))
    codes = ersatz.dinucleotide_shuffle(x, n=n, random_state=seed).flatten(0, 1).argmax(dim=1).numpy()
    return ["".join(row) for row in np.array(list(BASES))[codes]]


def marginal_effects(
    model: Any,
    motifs: Mapping[str, str | np.ndarray],
    backgrounds: Any,
    *,
    target: Any = None,
    position: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Put motifs into backgrounds and give what that changes.

    Parameters
    ----------
    model, target
        As for :func:`omicsfm.explain.mutagenesis`.
    motifs
        By name a word over A, C, G, T, or (4, width) counts as :func:`omicsfm.seq.read_motifs` gives them, of which a
        word is drawn anew for every background.
    backgrounds
        (n,) strings of one length, such as :func:`shuffled` ones.
    position
        Of the motif's first base, from 0 on; default in the middle.
    seed
        Of the words and of the bootstrap.

    Returns
    -------
    DataFrame, one row per motif: `before` and `after`, mean scores; `effect`, the mean change; `low` and `high`, its
    95 % interval over backgrounds (paired bootstrap); `n`.

    Raises
    ------
    InputError
        If a motif is none, or does not fit in where it shall be.
    """
    found = of_one_length("explain.marginal_effects", backgrounds)
    score = scorer("explain.marginal_effects", model, target)
    before = score(found)
    rng = np.random.default_rng(seed)
    rows = {}
    for name, motif in motifs.items():
        words = _words(name, motif, len(found), rng)
        width = len(words[0])
        start = (len(found[0]) - width) // 2 if position is None else position
        if not 0 <= start <= len(found[0]) - width:
            raise InputError(
                f"explain.marginal_effects: motif '{name}' of {width} bases does not fit at position {start} of "
                f"{len(found[0])}. Fix: another position, or longer backgrounds."
            )
        after = score([b[:start] + word + b[start + width :] for b, word in zip(found, words, strict=True)])
        compared = paired_bootstrap(after, before, seed=seed, unit_name="backgrounds")
        rows[name] = {
            "before": float(before.mean()),
            "after": float(after.mean()),
            "effect": compared.difference,
            "low": compared.low,
            "high": compared.high,
            "n": len(found),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _words(name: str, motif: str | np.ndarray, n: int, rng: np.random.Generator) -> list[str]:
    if isinstance(motif, str):
        if not motif or not set(motif.upper()) <= set(BASES):
            raise InputError(
                f"explain.marginal_effects: motif '{name}' must be a word over A, C, G, T, found {motif!r}. Fix: mend "
                "it, or give (4, width) counts."
            )
        return [motif.upper()] * n
    counts = np.asarray(motif, dtype=np.float64)
    if counts.ndim != 2 or counts.shape[0] != len(BASES) or (counts < 0).any() or not (counts.sum(axis=0) > 0).all():
        raise InputError(
            f"explain.marginal_effects: motif '{name}' must be (4, width) counts, found shape {counts.shape}. Fix: "
            "rows A, C, G, T."
        )
    drawn = [rng.choice(len(BASES), size=n, p=column / column.sum()) for column in counts.T]
    return ["".join(BASES[i] for i in word) for word in np.stack(drawn, axis=1)]
