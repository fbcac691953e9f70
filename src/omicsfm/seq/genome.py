"""A genome on disk, and the DNA of intervals on it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from omicsfm._errors import InputError
from omicsfm._progress import progress
from omicsfm.seq._fasta import Place, check_file, open_text, place, records, tells_places
from omicsfm.seq._indexed import open_indexed
from omicsfm.seq._intervals import centred, plain_chrom
from omicsfm.seq._locate import locate
from omicsfm.seq._one_hot import one_hot, other_strand

_CHUNK = 1 << 22  # bytes read at once


class Genome:
    """The DNA of intervals, from a FASTA file.

    Parameters
    ----------
    path
        FASTA of chromosomes, or of the regions themselves: records named as the features are, or with
        ``chrom:start-end`` in their headers. Plain, or compressed by bgzip or gzip.

    Attributes
    ----------
    path : Path of the file.
    name : its name.
    lengths : number of bases by record.
    sha256 : of the decompressed text, computed when asked for.

    Raises
    ------
    InputError
        If there is no such file, or it is no FASTA.

    Notes
    -----
    The index is kept in the cache folder ($OMICSFM_CACHE), never beside the file. A compressed file is unpacked there
    once.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = check_file("seq.Genome", path).resolve()
        self.name = self.path.name
        with open_indexed(self.path) as fasta:
            self.lengths = {str(name): len(record) for name, record in fasta.records.items()}

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the text, decompressed: the same for a plain, a gzip and a bgzip copy of one genome."""
        digest = hashlib.sha256()
        with open_text(self.path) as handle:
            for chunk in progress(iter(lambda: handle.read(_CHUNK), b""), desc=f"sha256 of {self.name}"):
                digest.update(chunk)
        return digest.hexdigest()

    def fetch(self, intervals: pd.DataFrame, *, width: int | None = None, pad: bool = False) -> list[str]:
        """Read the DNA of intervals.

        Parameters
        ----------
        intervals
            ``adata.var``: columns `chrom`, `start`, `end` (0-based, half-open) and perhaps `strand`, or names such as
            ``"chr1:100-600"``. chr1 and 1 (chrM and MT) are the same chromosome; a warning says so where they differ.
        width
            Number of bases of every window. It has the centre of its interval: one of n bases that is too long loses
            ``(n - width) // 2`` at its left, one that is too short gains ``(width - n) // 2`` there, and the rest at
            its right. Without it, the intervals as they are.
        pad
            Write N for what lies outside of the chromosome; else that is an error.

        Returns
        -------
        (n,) strings in upper case; the reverse complement where `strand` is "-". Records that have the names of the
        features are taken as they are written, whatever the strand.

        Raises
        ------
        InputError
            If chromosomes are unknown or many intervals end beyond them (another assembly), or a window leaves its
            chromosome and `pad` is false; it names the first.
        """
        windows = self._windows(intervals, width=width, pad=pad)
        with open_indexed(self.path) as fasta:
            return self._read(fasta, windows)

    def blocks(
        self, intervals: pd.DataFrame, *, width: int | None = None, pad: bool = False, size: int = 2048
    ) -> Iterator[tuple[slice, list[str]]]:
        """Read the DNA of intervals as :meth:`fetch` does, `size` of them at a time.

        Yields
        ------
        Which intervals, and their DNA.
        """
        windows = self._windows(intervals, width=width, pad=pad)
        with open_indexed(self.path) as fasta:
            for start in progress(range(0, len(windows), size), desc=f"DNA of {self.name}"):
                rows = slice(start, min(start + size, len(windows)))
                yield rows, self._read(fasta, windows.iloc[rows])

    def one_hot_blocks(
        self, intervals: pd.DataFrame, *, width: int | None = None, pad: bool = False, size: int = 2048
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Read the DNA of intervals as one-hot arrays, `size` of them at a time: no more than that is in memory.

        Parameters
        ----------
        intervals, width, pad
            As in :meth:`fetch`; without `width` all intervals must be of one length.
        size
            Number of intervals of a block.

        Yields
        ------
        Which intervals, and (n, L, 4) uint8 with columns A, C, G, T; N is four zeros.
        """
        for rows, sequences in self.blocks(intervals, width=width, pad=pad, size=size):
            yield rows, one_hot(sequences)

    def _windows(self, intervals: pd.DataFrame, *, width: int | None, pad: bool) -> pd.DataFrame:
        """Say what to read for each interval: record, start, end, flip."""
        if width is not None and width < 1:
            raise InputError(f"seq.Genome: width must be 1 or more, found {width}. Fix: give a number of bases.")
        found = locate(self.name, self.lengths, var=intervals, places=self._places)
        start, end = found["start"].to_numpy(), found["end"].to_numpy()
        if width is not None:
            start, end = centred(start, end, width)
        outside = (start < 0) | (end > found["record"].map(self.lengths).to_numpy())
        if outside.any() and not pad:
            i = int(np.argmax(outside))
            record = found["record"].iloc[i]
            raise InputError(
                f"seq.Genome: {int(outside.sum()):,} of {len(outside):,} windows leave their record, first "
                f"'{intervals.index[i]}' ({record}:{start[i]}-{end[i]}, of {self.lengths[record]:,} bases). "
                "Fix: pad=True to write N there, a smaller width, or remove these features."
            )
        return found.assign(start=start, end=end)

    def _read(self, fasta: Any, windows: pd.DataFrame) -> list[str]:
        out = []
        for record, start, end, flip in windows.itertuples(index=False, name=None):
            first, last = max(start, 0), min(end, self.lengths[record])
            inside = fasta[record][first:last] if first < last else ""
            text = ("N" * min(first - start, end - start) + inside).ljust(end - start, "N")
            out.append(other_strand(text) if flip else text)
        return out

    def _places(self) -> dict[Place, str]:
        """Give the records by the interval in their headers, if any; a strand that is not told is plus."""
        found: dict[Place, str] = {}
        if not tells_places(self.path):
            return found
        for record in records("seq.Genome", self.path):
            if (at := place(record.header, len(record.sequence))) is not None:
                found[at._replace(chrom=plain_chrom(at.chrom), minus=bool(at.minus))] = record.name
        return found
