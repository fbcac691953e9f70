"""Hybrid: convolution, local attention and a state-space scan side by side."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from omicsfm.nn._init import seeded
from omicsfm.nn.convolution import DilatedConvolution
from omicsfm.nn.local_attention import LocalAttention
from omicsfm.nn.mixer import Mixer
from omicsfm.nn.ssm import sequence_ssm


class Hybrid(Mixer):
    """The sum of three mixers, each channel of each with a learnt share (``share_md``: a third at the start).

    What is near goes through the convolution and the attention, what is far through the scan; linear in tokens.

    Parameters
    ----------
    d_model
        Width of a token.
    window
        Of the local attention.
    generator
        Source of the initial weights; None: seed 0.

    References
    ----------
    Lieber et al. (2024), arXiv:2403.19887 (attention and scans in one stack); Dong et al. (2024), arXiv:2411.13676
    (side by side).
    """

    def __init__(self, d_model: int, *, window: int = 32, generator: torch.Generator | None = None) -> None:
        super().__init__(d_model)
        generator = seeded(generator)
        self.mixers = nn.ModuleList(
            [
                DilatedConvolution(d_model, depth=1, generator=generator),
                LocalAttention(d_model, window=window, generator=generator),
                sequence_ssm(d_model, generator=generator),
            ]
        )
        self.share_md = nn.Parameter(torch.full((3, d_model), 1 / 3))

    def mix(self, x_bld: Tensor, present_bl: Tensor | None) -> Tensor:
        """Add what the three say."""
        y_bld = torch.zeros_like(x_bld)
        for share, mixer in zip(self.share_md, self.mixers, strict=True):
            y_bld = y_bld + share * mixer(x_bld, present_bl)
        return y_bld
