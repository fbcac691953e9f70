"""Attention: multi-head self-attention over the present tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from omicsfm._errors import InputError
from omicsfm.nn._init import linear, seeded
from omicsfm.nn._rotary import check_even, rotate
from omicsfm.nn.mixer import Mixer


class Attention(Mixer):
    """Multi-head self-attention; equivariant to the order of tokens, unless it is told their places.

    Parameters
    ----------
    d_model
        Width of a token.
    n_heads
        Heads; must divide `d_model`. None: 4, or the largest common divisor of 4 and `d_model` (rotary: half of it).
    rotary
        Tokens have places (a sequence, not a set): attention depends on how far apart two tokens are.
    generator
        Source of the initial weights; None: seed 0.

    References
    ----------
    Vaswani et al. (2017), NIPS, arXiv:1706.03762, section 3.2; Su et al. (2021), arXiv:2104.09864 (rotary).
    """

    def __init__(
        self,
        d_model: int,
        *,
        n_heads: int | None = None,
        rotary: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(d_model)
        even = 2 if rotary else 1  # rotary positions turn pairs of channels
        self.n_heads = math.gcd(d_model // even, 4) if n_heads is None else n_heads
        if self.n_heads < 1 or d_model % self.n_heads:
            raise InputError(
                f"Attention: n_heads must divide d_model={d_model}, found {n_heads}. Fix: choose a divisor, or None."
            )
        self.rotary = rotary
        if rotary:
            check_even("Attention", d_model // self.n_heads)
        generator = seeded(generator)
        self.qkv = linear(d_model, 3 * d_model, generator=generator)
        self.out = linear(d_model, d_model, generator=generator)

    def mix(self, x_bld: Tensor, present_bl: Tensor | None) -> Tensor:
        """Attend over the present tokens."""
        b, n_tokens, _ = x_bld.shape
        q, k, v = self.qkv(x_bld).view(b, n_tokens, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        if self.rotary:
            q, k = rotate(q), rotate(k)
        keys = None
        if present_bl is not None:
            # A cell with no token would divide zero by zero: it attends to its zeros, and gives none of it out.
            keys = (present_bl | ~present_bl.any(dim=1, keepdim=True))[:, None, None, :]
        y = scaled_dot_product_attention(q, k, v, attn_mask=keys)
        return self.out(y.transpose(1, 2).reshape(b, n_tokens, -1))
