"""How often each word of DNA occurs: k-mers, and k-mers with gaps."""

from __future__ import annotations

from functools import partial
from itertools import combinations, product
from typing import Any

import numba
import numpy as np
from scipy import sparse

from omicsfm._errors import InputError
from omicsfm.seq._embedders import Embedder, read_rest
from omicsfm.seq._sequences import BASES, as_list, code_blocks

_MAX_COLUMNS = 1 << 22


def kmer(sequences: Any, k: int = 4, *, canonical: bool = False) -> sparse.csr_matrix:
    """Count the k-mers of sequences.

    Parameters
    ----------
    sequences
        (n_seq,) list, array or Series of strings over A, C, G, T, N and IUPAC codes, in either case, of any lengths.
    k
        Length of a word, 1 to 8.
    canonical
        Count a word and its reverse complement as one, so that the strand does not matter.

    Returns
    -------
    (n_seq, 4^k) CSR of float32 counts, columns in the order of the alphabet (:func:`kmer_names`). Canonical: one column
    for each word that is no later in the alphabet than its reverse complement, which are 4^k / 2 for odd k and
    (4^k + 2^k) / 2 for even k. A word with an unknown base is not counted; a sequence shorter than k has no words.

    Raises
    ------
    InputError
        On letters that are no DNA, or another k.
    """
    pattern = _word("seq.kmer", k)
    return _count_words("seq.kmer", sequences, pattern, canonical=canonical)


def kmer_names(k: int = 4, *, canonical: bool = False) -> list[str]:
    """Name the columns of :func:`kmer`, such as ``["AAAA", "AAAC", ...]``."""
    return _names(_word("seq.kmer_names", k), canonical=canonical)


def gapped_kmer(sequences: Any, k: int = 6, informative: int = 4, *, canonical: bool = False) -> sparse.csr_matrix:
    """Count words of k positions of which only some are looked at, for every choice of these.

    Parameters
    ----------
    sequences
        As in :func:`kmer`.
    k
        Length of a word with its gaps (l in the paper).
    informative
        Number of positions that are looked at (k in the paper), 1 to 8 and at most `k`.
    canonical
        Count a word and its reverse complement as one.

    Returns
    -------
    (n_seq, C(k, informative) * 4^informative) CSR of float32 counts, fewer columns if canonical; named by
    :func:`gapped_kmer_names`. Each of the ``length - k + 1`` windows of a sequence counts once for each choice of
    positions, unless one of these holds an unknown base.

    Raises
    ------
    InputError
        On letters that are no DNA, or if there would be no column or more than 4 million.

    References
    ----------
    Ghandi et al. 2014, doi:10.1371/journal.pcbi.1003711 (the features; no mismatch kernel is computed).
    """
    patterns = _gapped("seq.gapped_kmer", k, informative)
    return _count_words("seq.gapped_kmer", sequences, patterns, canonical=canonical)


def gapped_kmer_names(k: int = 6, informative: int = 4, *, canonical: bool = False) -> list[str]:
    """Name the columns of :func:`gapped_kmer`; a gap is a dash, as in ``"AC-G-T"``."""
    return _names(_gapped("seq.gapped_kmer_names", k, informative), canonical=canonical)


def kmer_embedder(rest: str) -> Embedder:
    """Make the embedder ``kmer:K`` or ``kmer:K:canonical``."""
    k, canonical = read_rest("kmer:K or kmer:K:canonical", r"(\d+)(:canonical)?", rest or "4")
    params: dict[str, Any] = {"k": int(k or 4), "canonical": canonical is not None}
    _word("seq.embedder", params["k"])
    return Embedder(f"kmer:{k}{canonical or ''}", partial(kmer, **params), params, partial(kmer_names, **params))


def gapped_embedder(rest: str) -> Embedder:
    """Make the embedder ``gapped:K:INFORMATIVE`` or ``gapped:K:INFORMATIVE:canonical``."""
    usage = "gapped:K:INFORMATIVE or gapped:K:INFORMATIVE:canonical"
    k, informative, canonical = read_rest(usage, r"(\d+):(\d+)(:canonical)?", rest or "6:4")
    params: dict[str, Any] = {
        "k": int(k or 6),
        "informative": int(informative or 4),
        "canonical": canonical is not None,
    }
    _gapped("seq.embedder", params["k"], params["informative"])
    name = f"gapped:{k}:{informative}{canonical or ''}"
    return Embedder(name, partial(gapped_kmer, **params), params, partial(gapped_kmer_names, **params))


def _word(function: str, k: int) -> np.ndarray:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= 8:
        raise InputError(f"{function}: k must be a whole number from 1 to 8, found {k!r}. Fix: choose one.")
    return np.arange(k)[None]


def _gapped(function: str, k: int, informative: int) -> np.ndarray:
    """(n_patterns, informative) positions that are looked at, in the order of the alphabet."""
    if not 1 <= informative <= min(k, 8):
        raise InputError(
            f"{function}: informative must be 1 to 8 and at most k, found {informative} of {k}. Fix: choose fewer."
        )
    patterns = np.array(list(combinations(range(k), informative)))
    if (n := len(patterns) * 4**informative) > _MAX_COLUMNS:
        raise InputError(f"{function}: {n:,} columns are too many. Fix: choose a shorter k, or fewer informative.")
    return patterns


def _columns(patterns: np.ndarray, *, canonical: bool) -> tuple[np.ndarray, np.ndarray]:
    """Give each word its column.

    Returns
    -------
    column : (n_patterns * 4^m,) int32; words in the order of `patterns`, then of the alphabet.
    first : (n_columns,) the word after which each column is named.
    """
    n, m = patterns.shape
    words = np.arange(n * 4**m)
    if not canonical:
        return words.astype(np.int32), words
    # The other strand reads the positions from the other end: a pattern becomes its mirror image.
    mirror = {tuple(pattern): i for i, pattern in enumerate(patterns.tolist())}
    other = np.array([mirror[tuple(span)] for span in (patterns.max() - patterns[:, ::-1]).tolist()])
    pattern, rest = np.divmod(words, 4**m)
    partner = other[pattern]
    flipped = np.zeros_like(words)
    for _ in range(m):
        rest, base = np.divmod(rest, 4)
        flipped = 4 * flipped + 3 - base
    first, column = np.unique(np.minimum(words, partner * 4**m + flipped), return_inverse=True)
    return column.astype(np.int32), first


def _names(patterns: np.ndarray, *, canonical: bool) -> list[str]:
    n, m = patterns.shape
    letters = ["".join(word) for word in product(BASES, repeat=m)]
    names = []
    for word in _columns(patterns, canonical=canonical)[1]:
        pattern, rest = divmod(int(word), 4**m)
        name = ["-"] * int(patterns.max() + 1)
        for at, letter in zip(patterns[pattern], letters[rest], strict=True):
            name[at] = letter
        names.append("".join(name))
    return names


def _count_words(function: str, sequences: Any, patterns: np.ndarray, *, canonical: bool) -> sparse.csr_matrix:
    found = as_list(function, sequences)
    column, first = _columns(patterns, canonical=canonical)
    counts: list[np.ndarray] = []
    columns: list[np.ndarray] = []
    n_words = [np.zeros(1, dtype=np.int64)]
    for _, block in code_blocks(function, found):
        parts = _count(block.codes, block.offsets, patterns, column, len(first))
        for to, part in zip((counts, columns, n_words), parts, strict=True):
            to.append(part)
    indptr = np.cumsum(np.concatenate(n_words))
    if indptr[-1] <= np.iinfo(np.int32).max:
        indptr = indptr.astype(np.int32)  # one type of index, else scipy copies both
    # One after the other, so that no more than one array exists twice.
    data = np.concatenate([np.zeros(0, dtype=np.float32), *counts])
    counts.clear()
    indices = np.concatenate([np.zeros(0, dtype=indptr.dtype), *columns], dtype=indptr.dtype)
    return sparse.csr_matrix((data, indices, indptr), shape=(len(found), len(first)))


@numba.njit(cache=True)
def _count(
    codes: np.ndarray, offsets: np.ndarray, patterns: np.ndarray, column: np.ndarray, n_columns: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count the words of a block; per sequence only the columns that occur, in order."""
    n_patterns, m = patterns.shape
    span = patterns.max() + 1
    size = 0
    for i in range(offsets.size - 1):
        size += min(max(offsets[i + 1] - offsets[i] - span + 1, 0) * n_patterns, n_columns)
    counts, columns = np.empty(size, np.float32), np.empty(size, np.int32)
    n_words = np.zeros(offsets.size - 1, np.int64)
    count, seen = np.zeros(n_columns, np.int32), np.empty(n_columns, np.int32)
    end = 0
    for i in range(offsets.size - 1):
        n_seen = 0
        for start in range(offsets[i], offsets[i + 1] - span + 1):
            for p in range(n_patterns):
                word = p
                for j in range(m):
                    base = codes[start + patterns[p, j]]
                    if base > 3:
                        word = -1
                        break
                    word = 4 * word + base
                if word >= 0:
                    at = column[word]
                    if count[at] == 0:
                        seen[n_seen] = at
                        n_seen += 1
                    count[at] += 1
        for at in np.sort(seen[:n_seen]):
            columns[end], counts[end] = at, count[at]
            count[at] = 0
            end += 1
        n_words[i] = n_seen
    return counts[:end].copy(), columns[:end].copy(), n_words
