"""One column per base, and the other strand."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm._errors import InputError
from omicsfm.seq._embedders import Embedder, read_rest
from omicsfm.seq._sequences import BASES, UNKNOWN, Coded, as_list, code_blocks

# The four columns of a base as one number, which numpy looks up four times as fast; the last one, of N, is zero.
_ROWS = np.eye(UNKNOWN + 1, len(BASES), dtype=np.uint8).view(np.uint32).ravel()
_COMPLEMENT = str.maketrans("ACGTNRYSWKMBDHV", "TGCANYRSWMKVHDB")


def one_hot(sequences: Any, *, length: int | None = None) -> np.ndarray:
    """Turn sequences into one-hot arrays.

    Parameters
    ----------
    sequences
        (n_seq,) list, array or Series of strings over A, C, G, T, N and IUPAC codes, in either case.
    length
        Number of bases L of every result. A longer sequence loses ``(n - L) // 2`` bases at its left and the rest at
        its right; a shorter one gets ``(L - n) // 2`` unknown bases at its left and the rest at its right. Without it
        all must be of one length.

    Returns
    -------
    (n_seq, L, 4) uint8, columns A, C, G, T. N and IUPAC codes for more than one base are four zeros.

    Raises
    ------
    InputError
        On other letters, on no sequences, or on different lengths where `length` is not given.
    """
    found = as_list("seq.one_hot", sequences)
    if length is None:
        length = _common_length(found)
    if length < 1:
        raise InputError(f"seq.one_hot: length must be 1 or more, found {length}. Fix: give the number of bases.")
    out = np.empty((len(found), length), dtype=np.uint32)
    for rows, block in code_blocks("seq.one_hot", found):
        out[rows] = _ROWS[_centred(block, length)]
    return out.view(np.uint8).reshape(len(found), length, len(BASES))


def reverse_complement(sequences: Any) -> Any:
    """Give the other strand, read in its own direction.

    Parameters
    ----------
    sequences
        One string, a list, array or Series of them, or a one-hot array (..., L, 4) with columns A, C, G, T.

    Returns
    -------
    As given: a string (upper case, IUPAC codes complemented), a list of them, or an array of the same shape and dtype.

    Raises
    ------
    InputError
        On letters that are neither bases nor IUPAC codes, or an array of numbers that does not end in 4 columns.
    """
    if isinstance(sequences, np.ndarray) and sequences.dtype.kind in "biuf":
        if sequences.ndim < 2 or sequences.shape[-1] != len(BASES):
            raise InputError(
                f"seq.reverse_complement: one-hot must be (..., length, 4), found shape {sequences.shape}. "
                "Fix: move the bases to the last axis."
            )
        return np.ascontiguousarray(sequences[..., ::-1, ::-1])  # A, C, G, T backwards is its complement
    single = isinstance(sequences, str)
    found = as_list("seq.reverse_complement", [sequences] if single else sequences)
    for _ in code_blocks("seq.reverse_complement", found):
        pass  # the check of the letters
    out = [other_strand(sequence.upper()) for sequence in found]
    return out[0] if single else out


def other_strand(sequence: str) -> str:
    """Do the work of :func:`reverse_complement` for one string in upper case, unchecked."""
    return sequence.translate(_COMPLEMENT)[::-1]


def one_hot_embedder(rest: str) -> Embedder:
    """Make the embedder ``onehot:LENGTH``, whose columns are the bases of each position in turn."""
    (length,) = read_rest("onehot:LENGTH", r"(\d+)", rest)
    n = int(length or 0)

    def flat(sequences: list[str]) -> np.ndarray:
        return one_hot(sequences, length=n).reshape(len(sequences), n * len(BASES))

    return Embedder(f"onehot:{n}", flat, {"length": n}, lambda: [f"{i}{base}" for i in range(n) for base in BASES])


def _common_length(sequences: list[str]) -> int:
    lengths = set(map(len, sequences))
    if len(lengths) == 1:
        return lengths.pop()
    found = f"{min(lengths)} to {max(lengths)} bases" if lengths else "no sequences"
    raise InputError(
        f"seq.one_hot: sequences of one length were needed, found {found}. "
        "Fix: pass length=, to which they are cut or padded at both ends."
    )


def _centred(block: Coded, length: int) -> np.ndarray:
    """(n_seq, length) codes, cut or padded at both ends."""
    lengths = block.lengths
    if (lengths == length).all():
        return block.codes.reshape(-1, length)
    out = np.full((len(lengths), length), UNKNOWN, dtype=np.uint8)
    for row, (start, n) in enumerate(zip(block.offsets[:-1], lengths, strict=True)):
        skip, left = max(n - length, 0) // 2, max(length - n, 0) // 2
        kept = min(n, length)
        out[row, left : left + kept] = block.codes[start + skip : start + skip + kept]
    return out
