"""Dropout: like torch's, but drawn from a seed of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from omicsfm._errors import InputError


class Dropout(nn.Module):
    """Set values to zero with probability `p` in training, and scale the others by 1 / (1 - p).

    Call n keeps or drops value i by a hash of (seed, n, i). So torch's global generator is neither read nor moved, the
    same values are dropped on every device and under ``torch.compile``, and a model restored from its ``state_dict``,
    which holds the seed and n, goes on as if it had never stopped.

    Parameters
    ----------
    p
        Probability, at least 0 and below 1.
    generator
        Source of the seed.
    """

    state: Tensor

    def __init__(self, p: float, *, generator: torch.Generator) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise InputError(f"Dropout: p must be at least 0 and below 1, found {p}. Fix: choose such a probability.")
        self.p = p
        seed = int(torch.randint(2**31, (), generator=generator))
        self.register_buffer("state", torch.tensor([seed, 0], dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        """Drop values of `x` in training; give `x` itself otherwise."""
        if not self.training or self.p == 0:
            return x
        seed, n_calls = self.state.clone().unbind()
        self.state[1] += 1
        values = torch.arange(x.numel(), dtype=torch.int32, device=x.device)
        uniform = _hash(values ^ _hash(seed ^ _hash(n_calls))).view(x.shape)  # over all of int32
        return x * (uniform >= int(self.p * 2**32) - 2**31) / (1 - self.p)


def _hash(x: Tensor) -> Tensor:
    """Mix the bits of int32 values, one to one (T. Mueller's finaliser); products wrap around."""
    for _ in range(2):
        x = ((x >> 16 & 0xFFFF) ^ x) * 0x45D9F3B
    return (x >> 16 & 0xFFFF) ^ x
