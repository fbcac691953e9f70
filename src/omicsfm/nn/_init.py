"""Seeded parameters: every draw comes from a generator that the caller holds, none from torch's global one."""

from __future__ import annotations

import math

import torch
from torch import nn


def seeded(generator: torch.Generator | None) -> torch.Generator:
    """Give `generator`, or where it is None a new one with seed 0."""
    return torch.Generator().manual_seed(0) if generator is None else generator


def linear(d_in: int, d_out: int, *, generator: torch.Generator, bias: bool = True) -> nn.Linear:
    """Make a linear layer with weights and bias uniform in +-1/sqrt(d_in), torch's default, drawn from `generator`."""
    layer = nn.utils.skip_init(nn.Linear, d_in, d_out, bias=bias)
    bound = 1 / math.sqrt(d_in)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    return layer


def convolution(
    d_in: int, d_out: int, width: int, *, generator: torch.Generator, dilation: int = 1, groups: int = 1
) -> nn.Conv1d:
    """Make a convolution without padding, weights and bias uniform in +-1/sqrt(fan in), drawn from `generator`."""
    layer = nn.utils.skip_init(nn.Conv1d, d_in, d_out, width, dilation=dilation, groups=groups)
    bound = 1 / math.sqrt(d_in // groups * width)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    return layer
