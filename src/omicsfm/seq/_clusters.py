"""Sequences that are nearly the same: what must not be on both sides of a split."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from scipy import sparse

from omicsfm._errors import InputError
from omicsfm.seq._sequences import coded

_SKETCH = 32  # words by which a short sequence is looked up
_NEIGHBOURS = 50  # sequences with a word in common that one of them is compared with


def similarity_clusters(sequences: Any, *, k: int = 16, threshold: float = 0.2) -> np.ndarray:
    """Group sequences so that no two groups are similar, for splits that similarity cannot cross.

    Two sequences are linked if the sets of their k-mers, of either strand, have a Jaccard index (common over all) of at
    least `threshold`; a group is what links connect. With the defaults, windows that overlap by a third of their length
    are linked, and so are sequences of which 93 % of the bases agree.

    Parameters
    ----------
    sequences
        (n_seq,) list, array or Series of strings over A, C, G, T, N and IUPAC codes, in either case.
    k
        Length of a word, 1 to 16. Short words are shared by chance, and then take long.
    threshold
        Above 0, at most 1.

    Returns
    -------
    (n_seq,) int64 groups, numbered by their first sequence; the same for the same input. A sequence without a word of
    known bases is alone.

    Raises
    ------
    InputError
        On letters that are no DNA, or another k or threshold.

    Notes
    -----
    The index is exact, but only pairs that share one of some words are compared: those whose hash is below a bound that
    leaves about 32 of a short sequence (FracMinHash), each sequence with the next 50 that have the word. A pair at the
    threshold is overlooked about once in 40,000.

    References
    ----------
    Irber et al. 2022, doi:10.1101/2022.01.11.475838 (FracMinHash).
    """
    if not 1 <= k <= 16 or not 0 < threshold <= 1:
        raise InputError(
            f"seq.similarity_clusters: k must be 1 to 16 and threshold above 0 and at most 1, found {k} and "
            f"{threshold}. Fix: choose these."
        )
    found = coded("seq.similarity_clusters", sequences)
    words, offsets = _word_sets(found.codes, found.offsets, k)
    left, right = _candidates(words, offsets)
    linked = _linked(words, offsets, left, right, threshold)
    n = len(offsets) - 1
    graph = sparse.coo_matrix((np.ones(linked.sum(), dtype=bool), (left[linked], right[linked])), shape=(n, n))
    _, group = sparse.csgraph.connected_components(graph, directed=False)
    return np.unique(group, return_inverse=True)[1].astype(np.int64)


def _candidates(words: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the pairs of sequences that share a word of the sketch."""
    n = len(offsets) - 1
    sizes = np.diff(offsets)
    scale = max(1, int(np.percentile(sizes[sizes > 0], 5)) // _SKETCH) if sizes.any() else 1
    kept = words * np.uint32(2654435761) < (1 << 32) // scale  # Knuth's multiplicative hash
    word, row = words[kept], np.repeat(np.arange(n), sizes)[kept]
    order = np.lexsort((row, word))
    word, row = word[order], row[order]
    pairs = []
    for step in range(1, _NEIGHBOURS + 1):
        same = np.flatnonzero(word[step:] == word[:-step])
        pairs.append(row[same] * n + row[same + step])
    return np.divmod(np.unique(np.concatenate(pairs)), max(n, 1))


@numba.njit(cache=True)
def _word_sets(codes: np.ndarray, offsets: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the words of each sequence, or of its other strand where that is smaller: sorted, each once.

    Returns
    -------
    words : (n_words,) uint32, of all sequences one behind the other.
    ends : (n_seq + 1,) int64, where those of each begin.
    """
    words, ends = np.empty(codes.size, np.uint32), np.zeros(offsets.size, np.int64)
    mask = np.uint64((1 << (2 * k)) - 1)
    end = 0
    for i in range(offsets.size - 1):
        start, run = end, 0
        plus, minus = np.uint64(0), np.uint64(0)
        for at in range(offsets[i], offsets[i + 1]):
            if codes[at] > 3:
                run = 0
                continue
            base = np.uint64(codes[at])
            plus = ((plus << np.uint64(2)) | base) & mask
            minus = (minus >> np.uint64(2)) | ((np.uint64(3) - base) << np.uint64(2 * (k - 1)))
            run += 1
            if run >= k:
                words[end] = min(plus, minus)
                end += 1
        found = np.sort(words[start:end])
        end = start
        for w in range(found.size):
            if w == 0 or found[w] != found[w - 1]:
                words[end] = found[w]
                end += 1
        ends[i + 1] = end
    return words[:end].copy(), ends


@numba.njit(cache=True)
def _linked(
    words: np.ndarray, offsets: np.ndarray, left: np.ndarray, right: np.ndarray, threshold: float
) -> np.ndarray:
    """Say of each pair of sets of words whether their Jaccard index is at least the threshold."""
    out = np.zeros(left.size, np.bool_)
    for p in range(left.size):
        a, a_end = offsets[left[p]], offsets[left[p] + 1]
        b, b_end = offsets[right[p]], offsets[right[p] + 1]
        total, common = a_end - a + b_end - b, 0
        while a < a_end and b < b_end:
            if words[a] == words[b]:
                common += 1
                a += 1
                b += 1
            elif words[a] < words[b]:
                a += 1
            else:
                b += 1
        out[p] = common >= threshold * (total - common)
    return out
