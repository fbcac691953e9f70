"""Hierarchical: tokens are pooled into windows, the windows mixed, and each token told what its window learnt."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad, sigmoid

from omicsfm._errors import InputError
from omicsfm.nn._init import linear, seeded
from omicsfm.nn.convolution import DilatedConvolution
from omicsfm.nn.long_convolution import GatedLongConvolution
from omicsfm.nn.mixer import Mixer, keep_present


class Hierarchical(Mixer):
    """A convolution near by, a gated long convolution over the means of windows far away; n log n in tokens.

    ``u = conv(x)``; windows of `factor` tokens are averaged over the present ones and mixed; each token adds what its
    window got, through a gate of its own.

    Parameters
    ----------
    d_model
        Width of a token.
    factor
        Tokens per window.
    generator
        Source of the initial weights; None: seed 0.

    References
    ----------
    Avsec et al. (2021), doi:10.1038/s41592-021-01252-x (Enformer: convolve, pool, then mix what
    is far); the mixer of windows is that of Poli et al. (2023), arXiv:2302.10866.
    """

    def __init__(self, d_model: int, *, factor: int = 8, generator: torch.Generator | None = None) -> None:
        super().__init__(d_model)
        if factor < 1:
            raise InputError(f"Hierarchical: factor must be at least 1, found {factor}. Fix: leave it at 8.")
        self.factor = factor
        generator = seeded(generator)
        self.near = DilatedConvolution(d_model, depth=1, generator=generator)
        self.far = GatedLongConvolution(d_model, generator=generator)
        self.gate = linear(d_model, d_model, generator=generator)

    def mix(self, x_bld: Tensor, present_bl: Tensor | None) -> Tensor:
        """Mix near tokens, then windows."""
        u_bld = keep_present(self.near.mix(x_bld, present_bl), present_bl)
        n_tokens, fill = u_bld.shape[1], -u_bld.shape[1] % self.factor
        blocks = pad(u_bld, [0, 0, 0, fill]).unflatten(1, (-1, self.factor))
        if present_bl is None:
            present_bl = torch.ones(u_bld.shape[:2], dtype=torch.bool, device=u_bld.device)
        count = pad(present_bl, [0, fill]).unflatten(1, (-1, self.factor)).sum(-1)
        windows = blocks.sum(2) / count.clamp(min=1)[..., None]
        far = self.far(windows, count > 0).repeat_interleave(self.factor, dim=1)[:, :n_tokens]
        return u_bld + sigmoid(self.gate(u_bld)) * far
