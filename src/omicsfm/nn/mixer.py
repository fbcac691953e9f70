"""Mixer: the base of all layers that let the tokens of a cell, or of a sequence, inform each other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from omicsfm._errors import InputError


class Mixer(nn.Module):
    """Lets present tokens inform each other; what stands in an absent token, even NaN, is never read.

    A subclass is made by ``Mixer(d_model, *, ..., generator=None)`` and writes `mix`, which may read `present_bl` to
    leave absent tokens (zeros by then) out of its sums. Absent tokens are taken out before and after it, here alone.

    Parameters
    ----------
    d_model
        Width of a token.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        if d_model < 1:
            raise InputError(
                f"{type(self).__name__}: d_model must be at least 1, found {d_model}. Fix: make it larger."
            )
        self.d_model = d_model

    def forward(self, x_bld: Tensor, present_bl: Tensor | None = None) -> Tensor:
        """Mix the tokens.

        Parameters
        ----------
        x_bld
            Tokens (batch, tokens, d_model).
        present_bl
            bool (batch, tokens), True where a token was measured; None: all were.

        Returns
        -------
        (batch, tokens, d_model); zeros where a token is absent.

        Raises
        ------
        InputError
            Where the shapes do not fit, or `present_bl` is not bool.
        """
        check_tokens(type(self).__name__, x_bld, present_bl, d_model=self.d_model)
        return keep_present(self.mix(keep_present(x_bld, present_bl), present_bl), present_bl)

    def mix(self, x_bld: Tensor, present_bl: Tensor | None) -> Tensor:
        """Mix tokens of which the absent are zero; what it gives for absent tokens must be finite, and is dropped."""
        raise NotImplementedError


def keep_present(x_bld: Tensor, present_bl: Tensor | None) -> Tensor:
    """Put zeros in absent tokens. A fill, not a product: neither the value nor the gradient of a NaN gets through."""
    return x_bld if present_bl is None else x_bld.masked_fill(~present_bl[..., None], 0.0)


def check_tokens(where: str, x_bld: Tensor, present_bl: Tensor | None, *, d_model: int) -> None:
    """Raise InputError unless tokens are (batch, tokens, d_model) and the mask is bool (batch, tokens)."""
    if x_bld.dim() != 3 or x_bld.shape[-1] != d_model:
        raise InputError(
            f"{where}: tokens of shape (batch, tokens, {d_model}) are needed, found {tuple(x_bld.shape)}. "
            "Fix: reshape them, or make the layer with another d_model."
        )
    if present_bl is not None and (present_bl.dtype != torch.bool or present_bl.shape != x_bld.shape[:2]):
        raise InputError(
            f"{where}: present must be bool of shape {tuple(x_bld.shape[:2])}, found {present_bl.dtype} of shape "
            f"{tuple(present_bl.shape)}. Fix: give one True or False per token."
        )
