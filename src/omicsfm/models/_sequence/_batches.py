"""Sequences as tensors: batches of similar length, padded at their end."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from omicsfm.seq._sequences import BASES, UNKNOWN, Coded, coded

BASES_AT_ONCE = 1 << 16  # of a batch with its padding
_ONE_HOT = torch.eye(UNKNOWN + 1, len(BASES))  # the last row, of N, is zero


class Reads:
    """Coded sequences, from which batches are taken.

    Parameters
    ----------
    function
        Who asks, for errors.
    sequences
        n strings.
    """

    def __init__(self, function: str, sequences: list[str]) -> None:
        self.data: Coded = coded(function, sequences)
        self.lengths = self.data.lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, rows: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Give one-hot bases (n, longest, 4), and bool (n, longest) where lengths differ."""
        lengths = self.lengths[rows]
        place = np.arange(max(1, int(lengths.max())))
        there = place < lengths[:, None]
        if there.all():
            return _ONE_HOT[torch.from_numpy(self.data.codes[self.data.offsets[rows][:, None] + place]).long()], None
        codes = np.full(there.shape, UNKNOWN, dtype=np.uint8)
        codes[there] = self.data.codes[(self.data.offsets[rows][:, None] + place)[there]]
        return _ONE_HOT[torch.from_numpy(codes).long()], torch.from_numpy(there)

    def cut(self, rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Cut rows, in their order, into batches of at most `size` sequences and 65,536 bases with their padding."""
        start, longest = 0, 0
        for i, length in enumerate(self.lengths[rows]):
            longest = max(longest, int(length))
            if i > start and (i - start == size or longest * (i - start + 1) > BASES_AT_ONCE):
                yield rows[start:i]
                start, longest = i, int(length)
        if start < len(rows):
            yield rows[start:]

    def shuffled(self, rows: np.ndarray, size: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Give the batches of an epoch: at random, but of similar length where lengths differ."""
        order = rng.permutation(rows)
        lengths = self.lengths[order]
        if len(lengths) and lengths.min() != lengths.max():
            order = order[np.argsort(lengths, kind="stable")]
        batches = list(self.cut(order, size))
        return [batches[i] for i in rng.permutation(len(batches))]

    def by_length(self, size: int) -> Iterator[np.ndarray]:
        """Give batches of all rows, of similar length."""
        yield from self.cut(np.argsort(self.lengths, kind="stable"), size)
