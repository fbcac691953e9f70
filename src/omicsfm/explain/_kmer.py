"""What each base contributes to a score that is linear in k-mer counts: exact, and without running anything."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm._errors import InputError
from omicsfm.explain._scorer import of_one_length
from omicsfm.seq._kmer import _columns, _word
from omicsfm.seq._sequences import BASES, UNKNOWN, coded


def kmer_contributions(coefficients: Any, sequences: Any, k: int, *, canonical: bool = False) -> np.ndarray:
    """Share out a linear k-mer score among the bases.

    Parameters
    ----------
    coefficients
        (n_kmers,) of the counts that :func:`omicsfm.seq.kmer` gives, not of scaled ones.
    sequences
        (n_seq,) strings of one length L.
    k, canonical
        As for :func:`omicsfm.seq.kmer`.

    Returns
    -------
    (n_seq, L) float64. Each word gives its coefficient in equal parts to its k bases, so that a row adds up to the
    score without its intercept.

    Raises
    ------
    InputError
        If the coefficients are not as many as the k-mers.
    """
    words, codes = _ready("explain.kmer_contributions", coefficients, sequences, k, canonical=canonical)
    each = _values(words, np.lib.stride_tricks.sliding_window_view(codes, k, axis=1)) / k
    out = np.zeros(codes.shape)
    for j in range(k):
        out[:, j : j + each.shape[1]] += each
    return out


def kmer_mutagenesis(coefficients: Any, sequences: Any, k: int, *, canonical: bool = False) -> np.ndarray:
    """Give what :func:`mutagenesis` gives for a linear k-mer score, from its coefficients alone.

    Parameters
    ----------
    coefficients, sequences, k, canonical
        As for :func:`kmer_contributions`.

    Returns
    -------
    (n_seq, L, 4) float64 changes of the score, columns A, C, G, T.

    Raises
    ------
    InputError
        If the coefficients are not as many as the k-mers.
    """
    words, codes = _ready("explain.kmer_mutagenesis", coefficients, sequences, k, canonical=canonical)
    windows = np.lib.stride_tricks.sliding_window_view(codes, k, axis=1)
    power = 4 ** np.arange(k - 1, -1, -1)
    value = _values(words, windows)
    out = np.zeros((*codes.shape, len(BASES)))
    for j in range(k):  # the base that changes is the j-th of the word
        others = np.delete(windows, j, axis=2)
        rest = others @ np.delete(power, j)
        known = (others < UNKNOWN).all(axis=2)
        for base in range(len(BASES)):
            new = words[np.where(known, rest + base * power[j], 0)]
            out[:, j : j + value.shape[1], base] += np.where(known, new, 0) - value
    return out


def _values(words: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Give the coefficient of the word at each place, 0 where a base is not known."""
    known = (windows < UNKNOWN).all(axis=2)
    word = windows @ 4 ** np.arange(windows.shape[2] - 1, -1, -1)
    return np.where(known, words[np.where(known, word, 0)], 0)


def _ready(
    function: str, coefficients: Any, sequences: Any, k: int, *, canonical: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(4^k,) coefficient of every word, and (n_seq, L) codes."""
    found = of_one_length(function, sequences)
    column, first = _columns(_word(function, k), canonical=canonical)
    given = np.asarray(coefficients, dtype=np.float64).ravel()
    if len(given) != len(first) or len(found[0]) < k:
        raise InputError(
            f"{function}: {len(first)} coefficients and sequences of at least {k} bases were needed, found "
            f"{len(given)} and {len(found[0])} bases. Fix: pass those of ofm.seq.kmer(sequences, k={k}"
            f"{', canonical=True' if canonical else ''})."
        )
    return given[column], coded(function, found).codes.astype(np.int64).reshape(len(found), -1)
