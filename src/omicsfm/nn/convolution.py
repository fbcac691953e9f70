"""DilatedConvolution: a residual stack of convolutions that look ever further."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from omicsfm._errors import InputError
from omicsfm.nn._init import convolution, seeded
from omicsfm.nn.mixer import Mixer, keep_present


class DilatedConvolution(Mixer):
    """Residual convolutions whose dilation doubles: ``x + gelu(conv(norm(x)))``, `depth` times; linear in tokens.

    Tokens at most ``(width - 1) / 2 * (2^depth - 1)`` places away are seen; beyond the ends are zeros.

    Parameters
    ----------
    d_model
        Width of a token.
    depth
        Convolutions.
    width
        Tokens that each looks at; odd.
    generator
        Source of the initial weights; None: seed 0.

    References
    ----------
    Yu & Koltun (2016), ICLR, arXiv:1511.07122; Avsec et al. (2021), doi:10.1038/s41588-021-00782-6 (BPNet: residual).
    """

    def __init__(
        self, d_model: int, *, depth: int = 2, width: int = 5, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(d_model)
        if depth < 1 or width < 1 or width % 2 == 0:
            raise InputError(
                f"DilatedConvolution: depth must be at least 1 and width odd, found {depth} and {width}. "
                "Fix: depth=2, width=5."
            )
        generator = seeded(generator)
        self.reach = width // 2
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(depth))
        self.convolutions = nn.ModuleList(
            convolution(d_model, d_model, width, dilation=2**i, generator=generator) for i in range(depth)
        )

    def mix(self, x_bld: Tensor, present_bl: Tensor | None) -> Tensor:
        """Convolve; absent tokens are zeros at every depth, as what is beyond the ends."""
        y_bld = x_bld
        for i, (norm, layer) in enumerate(zip(self.norms, self.convolutions, strict=True)):
            reach = self.reach * 2**i
            x_bdl = keep_present(norm(y_bld), present_bl).transpose(1, 2)
            y_bld = y_bld + gelu(layer(pad(x_bdl, [reach, reach])).transpose(1, 2))
        return y_bld
