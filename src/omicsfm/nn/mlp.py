"""SetMLP: token mixing without attention: each token meets the mean of the present ones."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import gelu

from omicsfm.nn._init import linear, seeded
from omicsfm.nn.mixer import Mixer


class SetMLP(Mixer):
    """Token-mixing MLP: ``W_2 gelu(W_1 x_i + V mean_j(x_j))`` over present tokens j; equivariant to their order.

    MLP-Mixer mixes tokens through weights tied to their places, which means nothing when tokens are absent or their
    number changes; the permutation-equivariant layer of DeepSets is its form for sets.

    Parameters
    ----------
    d_model
        Width of a token.
    expansion
        Width of the hidden layer over `d_model`.
    generator
        Source of the initial weights; None: seed 0.

    References
    ----------
    Zaheer et al. (2017), NIPS, arXiv:1703.06114, lemma 3; Tolstikhin et al. (2021), NeurIPS, arXiv:2105.01601.
    """

    def __init__(self, d_model: int, *, expansion: int = 2, generator: torch.Generator | None = None) -> None:
        super().__init__(d_model)
        generator = seeded(generator)
        self.token = linear(d_model, expansion * d_model, generator=generator)
        self.mean = linear(d_model, expansion * d_model, generator=generator, bias=False)
        self.out = linear(expansion * d_model, d_model, generator=generator)

    def mix(self, x_bld: Tensor, present_bl: Tensor | None) -> Tensor:
        """Add what the mean of the present tokens says to each of them."""
        if present_bl is None:
            mean_b1d = x_bld.mean(dim=1, keepdim=True)
        else:
            n_b11 = present_bl.sum(dim=1).clamp(min=1)[:, None, None]
            mean_b1d = x_bld.sum(dim=1, keepdim=True) / n_b11
        return self.out(gelu(self.token(x_bld) + self.mean(mean_b1d)))
