"""LocalAttention: each token attends to those near it, at a cost linear in their number."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from omicsfm._errors import InputError
from omicsfm.nn._init import linear, seeded
from omicsfm.nn._rotary import check_even, rotate
from omicsfm.nn.mixer import Mixer


class LocalAttention(Mixer):
    """Multi-head self-attention over the tokens at most `window` places away, with rotary positions.

    The tokens are cut into blocks of `window`; a block attends to itself and its two neighbours, less what is too far.

    Parameters
    ----------
    d_model
        Width of a token.
    window
        Largest distance, in tokens, over which one attends to another.
    n_heads
        Heads; must divide `d_model` and leave each an even width. None: 4, or the largest common divisor of 4 and
        ``d_model / 2``.
    generator
        Source of the initial weights; None: seed 0.

    References
    ----------
    Beltagy, Peters & Cohan (2020), arXiv:2004.05150, section 3.1; Su et al. (2021), arXiv:2104.09864 (rotary).
    """

    def __init__(
        self,
        d_model: int,
        *,
        window: int = 32,
        n_heads: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(d_model)
        self.n_heads = math.gcd(d_model // 2, 4) if n_heads is None else n_heads
        if self.n_heads < 1 or d_model % self.n_heads:
            raise InputError(
                f"LocalAttention: n_heads must divide d_model={d_model}, found {n_heads}. Fix: choose a divisor."
            )
        check_even("LocalAttention", d_model // self.n_heads)
        if window < 1:
            raise InputError(f"LocalAttention: window must be at least 1, found {window}. Fix: leave it at 32.")
        self.window = window
        generator = seeded(generator)
        self.qkv = linear(d_model, 3 * d_model, generator=generator)
        self.out = linear(d_model, d_model, generator=generator)

    def mix(self, x_bld: Tensor, present_bl: Tensor | None) -> Tensor:
        """Attend over the present tokens of the neighbourhood."""
        b, n_tokens, _ = x_bld.shape
        w, fill = self.window, -n_tokens % self.window
        qkv = self.qkv(x_bld).view(b, n_tokens, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = rotate(qkv[0]), rotate(qkv[1]), qkv[2]  # (b, h, l, k)
        q_blocks = pad(q, [0, 0, 0, fill]).unflatten(2, (-1, w))
        k_blocks, v_blocks = (_with_neighbours(x, w, fill) for x in (k, v))
        keys = self._keys(b, n_tokens, present_bl, x_bld.device)
        # (batch and block, heads, w, channels): blocks are independent problems
        q_flat, k_flat, v_flat = (x.transpose(1, 2).flatten(0, 1) for x in (q_blocks, k_blocks, v_blocks))
        y = scaled_dot_product_attention(q_flat, k_flat, v_flat, attn_mask=keys)
        return self.out(y.transpose(1, 2).reshape(b, n_tokens + fill, -1)[:, :n_tokens])

    def _keys(self, b: int, n_tokens: int, present_bl: Tensor | None, device: torch.device) -> Tensor:
        """(batch and block, 1, w, 3 w) bool: whom each token may attend to."""
        w, fill = self.window, -n_tokens % self.window
        to, source = torch.arange(w, device=device), torch.arange(3 * w, device=device) - w
        near = (to[:, None] - source).abs() <= w
        if present_bl is None:
            present_bl = torch.ones(b, n_tokens, dtype=torch.bool, device=device)
        there = pad(present_bl, [w, w + fill]).unfold(1, 3 * w, w)  # (b, blocks, 3 w)
        keys = near & there[:, :, None, :]
        # A token without anyone to attend to would divide zero by zero: it attends to what is there, all zeros or not,
        # and what it gets is dropped, for it is itself absent.
        return (keys | ~keys.any(-1, keepdim=True)).flatten(0, 1)[:, None]


def _with_neighbours(x_bhlk: Tensor, w: int, fill: int) -> Tensor:
    """(b, h, l, k) -> (b, h, blocks, 3 w, k): each block of w tokens between the one before and the one after."""
    return pad(x_bhlk, [0, 0, w, w + fill]).unfold(2, 3 * w, w).transpose(-1, -2)
