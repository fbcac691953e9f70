"""How well each motif of a collection fits somewhere in a sequence, and how well everywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numba
import numpy as np
import pandas as pd

from omicsfm._errors import InputError
from omicsfm._progress import progress
from omicsfm.seq._embedders import Embedder, read_rest
from omicsfm.seq._motif_files import read_motifs
from omicsfm.seq._sequences import UNKNOWN, as_list, code_blocks

_WORD = 4  # bases looked up at once: tables of 5^4 numbers, of which those without N fit the fastest cache
_UNIFORM = (0.25, 0.25, 0.25, 0.25)
_PSEUDOCOUNT = 0.8
_ROWS = 2048  # sequences of a step of the progress bar


def motifs(
    sequences: Any,
    db: str | Mapping[str, np.ndarray] = "JASPAR2026",
    *,
    taxon: str | None = "vertebrates",
    background: Sequence[float] = _UNIFORM,
    pseudocount: float = _PSEUDOCOUNT,
) -> pd.DataFrame:
    """Scan sequences with motifs, on both strands.

    Parameters
    ----------
    sequences
        (n_seq,) list, array or Series of strings over A, C, G, T, N and IUPAC codes, in either case, of any lengths.
    db, taxon
        Which motifs: as in :func:`read_motifs`. Choose the taxon of your species.
    background
        Probabilities of A, C, G, T where there is no site.
    pseudocount
        Added to every column of counts, shared out as the background.

    Returns
    -------
    DataFrame (n_seq, 2 * n_motifs) of float32, in bits: ``"<motif>:max"`` of all motifs, then ``"<motif>:mean"``. The
    score of a window is the log2 of its likelihood ratio, the product over its positions of
    ``(count + pseudocount * b) / (total + pseudocount) / b`` with b the background. `max` is the best window of either
    strand. `mean` is the log2 of the mean likelihood ratio over all windows of both strands, the average motif affinity
    (AMA). A base that is not known has the ratio 1, which is its mean under the background. A sequence that is shorter
    than a motif has no window and gets 0 bits for both, the score of knowing nothing.

    Raises
    ------
    InputError
        On letters that are no DNA, unknown motifs, or a background or pseudocount that is not positive.

    References
    ----------
    Buske et al. 2010, doi:10.1093/bioinformatics/btq049 (AMA). Nishida et al. 2009, doi:10.1093/nar/gkn1019 (the
    pseudocount of 0.8).
    """
    bank = read_motifs(db, taxon=taxon)
    ready = _prepare(bank, background=background, pseudocount=pseudocount)
    index = sequences.index if isinstance(sequences, pd.Series) else None
    return pd.DataFrame(_scores(as_list("seq.motifs", sequences), ready), index=index, columns=_columns(bank))


def motif_embedder(rest: str) -> Embedder:
    """Make the embedder ``motifs:DB`` or ``motifs:DB:TAXON``, DB being a release of JASPAR or a MEME file."""
    db, taxon = read_rest("motifs:DB or motifs:DB:TAXON", r"([^:]+)(?::([a-z]+))?", rest or "JASPAR2026")
    bank = read_motifs(str(db), taxon=taxon or "vertebrates")
    digest = hashlib.sha256()
    for name, matrix in bank.items():
        digest.update(name.encode() + matrix.tobytes())
    return Embedder(
        name=f"motifs:{db}{f':{taxon}' if taxon else ''}",
        embed=partial(_scores, ready=_prepare(bank, background=_UNIFORM, pseudocount=_PSEUDOCOUNT)),
        params={"background": list(_UNIFORM), "pseudocount": _PSEUDOCOUNT},
        names=lambda: _columns(bank),
        facts={"motifs": str(len(bank)), "motifs_sha256": digest.hexdigest()},
        licence="CC-BY-4.0" if str(db).startswith("JASPAR") else "LicenseRef-unknown",
    )


def _columns(bank: Mapping[str, np.ndarray]) -> list[str]:
    return [f"{name}:{what}" for what in ("max", "mean") for name in bank]


class _Ready(NamedTuple):
    """Likelihood ratios of all motifs, to be looked up.

    Tables ``first[2 * m]`` to ``first[2 * m + 1]`` are of motif m, those to ``first[2 * m + 2]`` of its other strand.
    """

    tables: np.ndarray
    first: np.ndarray
    widths: np.ndarray


def _prepare(bank: Mapping[str, np.ndarray], *, background: Sequence[float], pseudocount: float) -> _Ready:
    base = np.asarray(background, dtype=np.float64)
    if base.shape != (4,) or not (base > 0).all() or abs(base.sum() - 1) > 1e-6 or not pseudocount > 0:
        raise InputError(
            f"seq.motifs: background must be 4 probabilities above 0 that sum to 1, and pseudocount above 0; found "
            f"{list(background)} and {pseudocount}. Fix: give these, such as the base fractions of the genome."
        )
    strands = []
    for counts in bank.values():
        ratio = (counts + pseudocount * base[:, None]) / (counts.sum(axis=0) + pseudocount) / base[:, None]
        strands += [_tables(ratio), _tables(ratio[::-1, ::-1])]  # A, C, G, T backwards is its complement
    widths = np.array([counts.shape[1] for counts in bank.values()])
    return _Ready(np.concatenate(strands), np.cumsum([0, *map(len, strands)]), widths)


def _scores(sequences: list[str], ready: _Ready) -> np.ndarray:
    """(n_seq, 2 * n_motifs) float32 bits."""
    n_motifs = len(ready.widths)
    out = np.empty((len(sequences), 2, n_motifs), dtype=np.float32)
    for start in progress(range(0, len(sequences), _ROWS), desc="scan motifs"):
        for rows, block in code_blocks("seq.motifs", sequences[start : start + _ROWS]):
            ratios = np.ones((len(block.lengths), 2, n_motifs))
            _scan(_words(block.codes), block.offsets, ratios, *ready)
            out[start + rows.start : start + rows.stop] = np.log2(ratios)
    return out.reshape(len(sequences), 2 * n_motifs)


def _tables(ratio: np.ndarray) -> np.ndarray:
    """(n_words, 5^4) products of the ratios of 4 positions at a time; N, and what lies behind the motif, is 1."""
    n_words = -(-ratio.shape[1] // _WORD)
    full = np.ones((UNKNOWN + 1, n_words * _WORD))
    full[:UNKNOWN, : ratio.shape[1]] = ratio
    a, b, c, d = full.reshape(UNKNOWN + 1, n_words, _WORD).transpose(2, 1, 0)
    return np.einsum("wa,wb,wc,wd->wabcd", a, b, c, d).reshape(n_words, -1)


def _words(codes: np.ndarray) -> np.ndarray:
    """(n_bases,) which 4 bases begin at each position, as a number of base 5. Behind the end there is N."""
    padded = np.append(codes, [UNKNOWN] * (_WORD - 1)).astype(np.int16)
    words = np.zeros(len(codes), dtype=np.int16)
    for i in range(_WORD):
        words = (UNKNOWN + 1) * words + padded[i : i + len(codes)]
    return words


@numba.njit(cache=True, fastmath=True)
def _scan(
    words: np.ndarray,
    offsets: np.ndarray,
    ratios: np.ndarray,
    tables: np.ndarray,
    first: np.ndarray,
    widths: np.ndarray,
) -> None:
    """Write the best and the mean likelihood ratio of each motif in each sequence, (n_seq, 2, n_motifs).

    A last word may reach into the next sequence, to where its table is 1.
    """
    for m in range(widths.size):
        plus, minus = first[2 * m], first[2 * m + 1]
        for i in range(offsets.size - 1):
            n = offsets[i + 1] - offsets[i] - widths[m] + 1
            if n < 1:
                continue
            best, total = 0.0, 0.0
            for start in range(offsets[i], offsets[i] + n):
                word = words[start]
                here, there = tables[plus, word], tables[minus, word]
                for w in range(1, minus - plus):
                    word = words[start + 4 * w]
                    here *= tables[plus + w, word]
                    there *= tables[minus + w, word]
                total += here + there
                best = max(best, max(here, there))
            ratios[i, 0, m], ratios[i, 1, m] = best, total / (2 * n)
