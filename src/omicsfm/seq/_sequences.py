"""Strings of DNA as they are given: checked, and turned into small integers.

One rule for letters holds everywhere in :mod:`omicsfm.seq`. A, C, G and T are bases, in either case. N and the IUPAC
codes for more than one base (R Y S W K M B D H V) are a base that is not known. Anything else is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from omicsfm._errors import InputError

BASES = "ACGT"
UNKNOWN = 4  # the code of N
IUPAC = "RYSWKMBDHV"

_BAD = 255
_BLOCK = 1 << 24  # bases coded at once


def _codes() -> np.ndarray:
    table = np.full(256, _BAD, dtype=np.uint8)
    for letters, code in [*((base, i) for i, base in enumerate(BASES)), ("N" + IUPAC, UNKNOWN)]:
        table[list((letters + letters.lower()).encode())] = code
    return table


_CODE = _codes()


@dataclass(frozen=True)
class Coded:
    """Sequences one behind the other.

    Attributes
    ----------
    codes : (n_bases,) uint8; 0 to 3 are A, C, G, T and 4 is a base that is not known.
    offsets : (n_seq + 1,) int64; sequence i is ``codes[offsets[i] : offsets[i + 1]]``.
    """

    codes: np.ndarray
    offsets: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """(n_seq,) number of bases of each sequence."""
        return np.diff(self.offsets)


def as_list(function: str, sequences: Any) -> list[str]:
    """Check that sequences are a list, array or Series of strings that are not empty.

    Raises
    ------
    InputError
        If not; it names the first that is something else.
    """
    if isinstance(sequences, str | bytes):
        raise InputError(
            f"{function}: sequences must be a list of strings, found one {type(sequences).__name__}. Fix: pass [it]."
        )
    try:
        found = sequences.tolist() if hasattr(sequences, "tolist") else list(sequences)
    except TypeError as err:
        raise InputError(
            f"{function}: sequences must be a list, array or Series of strings, found {type(sequences).__name__}. "
            "Fix: pass these, such as ofm.seq.read_fasta(path)."
        ) from err
    if not isinstance(found, list):  # an array without axes
        raise InputError(f"{function}: sequences must be a list of strings, found one value. Fix: pass [it].")
    for i, sequence in enumerate(found):
        if not isinstance(sequence, str) or not sequence:
            what = "an empty string" if sequence == "" else f"{type(sequence).__name__} ({sequence!r:.40})"
            raise InputError(f"{function}: sequence {i} must be a string of bases, found {what}. Fix: leave it out.")
    return found


def code_blocks(function: str, sequences: list[str]) -> Iterator[tuple[slice, Coded]]:
    """Code sequences (as from :func:`as_list`) in blocks of at most 16 million bases, or of one sequence.

    Yields
    ------
    Which sequences, and their codes.

    Raises
    ------
    InputError
        If there is a letter that stands for no base; it names the first one and its sequence.
    """
    ends = np.cumsum(np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences)))
    start = 0
    while start < len(sequences):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _BLOCK, side="right")))
        offsets = np.concatenate([[0], ends[start:stop] - before])
        # A letter outside ASCII becomes "?", which is no base either.
        text = "".join(sequences[start:stop]).encode("ascii", errors="replace")
        codes = _CODE[np.frombuffer(text, dtype=np.uint8)]
        if codes.max() == _BAD:
            at = int(np.argmax(codes == _BAD))
            row = int(np.searchsorted(offsets, at, side="right")) - 1
            _refuse(function, sequences[start + row], start + row, at - int(offsets[row]))
        yield slice(start, stop), Coded(codes, offsets)
        start = stop


def coded(function: str, sequences: Any) -> Coded:
    """Check sequences and code all of them."""
    blocks = [block for _, block in code_blocks(function, as_list(function, sequences))]
    lengths = np.concatenate([np.zeros(1, dtype=np.int64), *(block.lengths for block in blocks)])
    codes = np.concatenate([np.zeros(0, dtype=np.uint8), *(block.codes for block in blocks)])
    return Coded(codes, np.cumsum(lengths))


def _refuse(function: str, sequence: str, row: int, at: int) -> None:
    letter = sequence[at]
    fix = "write T for U" if letter in "uU" else "remove what is no DNA, or write N"
    raise InputError(
        f"{function}: letters must be A, C, G, T, N or IUPAC codes ({IUPAC}, read as N), found {letter!r} at position "
        f"{at} of sequence {row} ({sequence[:20]!r}...). Fix: {fix}."
    )
