"""Rotary positions: queries and keys turned so that their product depends on how far apart they are."""

from __future__ import annotations

import torch
from torch import Tensor

from omicsfm._errors import InputError
from omicsfm.nn._precision import no_autocast, widen

BASE = 10_000.0


def check_even(where: str, head_dim: int) -> None:
    """Raise InputError for an odd width of heads, which cannot be turned in pairs."""
    if head_dim % 2:
        raise InputError(
            f"{where}: rotary positions need an even width of heads, found {head_dim}. "
            "Fix: choose n_heads so that d_model / n_heads is even."
        )


def rotate(x_bhlk: Tensor) -> Tensor:
    """Turn pairs of channels by an angle that grows with the place, fast in the first pair and slowly in the last.

    Parameters
    ----------
    x_bhlk
        (batch, heads, tokens, channels), an even number of channels.

    Returns
    -------
    The same shape and dtype. The dot product of two results depends on the distance of their places alone.

    References
    ----------
    Su et al. (2021), arXiv:2104.09864, equation 15.
    """
    n_tokens, width = x_bhlk.shape[-2:]
    with no_autocast(x_bhlk):
        x = widen(x_bhlk)
        pair = torch.arange(0, width, 2, device=x.device, dtype=x.dtype)
        place = torch.arange(n_tokens, device=x.device, dtype=x.dtype)
        angle_lk = place[:, None] * BASE ** (-pair / width)
        cos, sin = angle_lk.cos(), angle_lk.sin()
        first, second = x.chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x_bhlk.dtype)
