"""GatedLongConvolution: filters as long as the sequence, written by a small network and applied by FFT."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from omicsfm.nn._init import convolution, linear, seeded
from omicsfm.nn._precision import no_autocast, widen
from omicsfm.nn.mixer import Mixer, keep_present

N_WAVES = 8  # of the features of a distance
LONGEST = 4096.0  # tokens of the longest wave; distances beyond it are told by the decay alone
HIDDEN = 32


class GatedLongConvolution(Mixer):
    """Hyena's operator of order 2 in both directions: ``q * (h conv (k * v))``, n log n in tokens.

    q, k and v are projections of the tokens, each after a convolution over 3 neighbours. The filter of channel c at a
    distance t (negative: from the right) is ``network(t)_c * r_c exp(-r_c |t|)``: its size does not grow with the
    sequence, and neither do its parameters. Distances are in tokens, not shares of the length, so that padding at the
    end changes nothing.

    Parameters
    ----------
    d_model
        Width of a token.
    generator
        Source of the initial weights; None: seed 0.

    References
    ----------
    Poli et al. (2023), ICML, arXiv:2302.10866, sections 3.1 to 3.3; here with signed distances.
    """

    def __init__(self, d_model: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__(d_model)
        generator = seeded(generator)
        self.qkv = linear(d_model, 3 * d_model, generator=generator)
        self.short = convolution(3 * d_model, 3 * d_model, 3, groups=3 * d_model, generator=generator)
        self.filter = nn.ModuleList(
            [linear(2 * N_WAVES + 1, HIDDEN, generator=generator), linear(HIDDEN, d_model, generator=generator)]
        )
        # Memories of 2 to 2,000 tokens, evenly in logarithms over the channels.
        self.log_rate_d = nn.Parameter(torch.linspace(math.log(0.5), math.log(0.0005), d_model))
        self.skip_d = nn.Parameter(torch.ones(d_model))
        self.out = linear(d_model, d_model, generator=generator)

    def mix(self, x_bld: Tensor, present_bl: Tensor | None) -> Tensor:
        """Convolve the gated values with the whole filter."""
        qkv = keep_present(self.qkv(x_bld), present_bl).transpose(1, 2)
        q_bdl, k_bdl, v_bdl = self.short(pad(qkv, [1, 1])).chunk(3, dim=1)
        value = widen(k_bdl * v_bdl)
        if present_bl is not None:
            value = value.masked_fill(~present_bl[:, None, :], 0.0)
        n = value.shape[-1]
        distance = torch.arange(1 - n, n, device=value.device, dtype=value.dtype)
        mixed = signed_convolution(value, self.taps(distance)) + self.skip_d[:, None] * value
        return self.out((q_bdl * mixed).transpose(1, 2).to(x_bld.dtype))

    def taps(self, distance_t: Tensor) -> Tensor:
        """Give the filter (channels, distances) at signed distances in tokens."""
        with no_autocast(distance_t):
            wave = 2 * math.pi * LONGEST ** -torch.linspace(0, 1, N_WAVES, device=distance_t.device)
            angle = distance_t[:, None] * wave.to(distance_t.dtype)
            features = torch.cat([distance_t.sign()[:, None], angle.sin(), angle.cos()], dim=1)
            height = self.filter[1](self.filter[0](features).sin()).T
            rate = self.log_rate_d.exp()[:, None]
            return height * rate * torch.exp(-rate * distance_t.abs())


def signed_convolution(value_bdl: Tensor, taps_dt: Tensor) -> Tensor:
    """Give ``y_i = sum_j taps[i - j] value_j`` by FFT; taps at the distances ``1 - l`` to ``l - 1``.

    Returns
    -------
    (batch, channels, l), in float32 at least, under autocast too.
    """
    n = value_bdl.shape[-1]
    size = 1 << max(1, (2 * n - 2).bit_length())  # holds all 2 n - 1 distances: none wraps onto another
    with no_autocast(value_bdl):
        spectrum = torch.fft.rfft(widen(value_bdl), size) * torch.fft.rfft(_circular(widen(taps_dt), size))
        return torch.fft.irfft(spectrum, size)[..., :n]


def _circular(taps_dt: Tensor, size: int) -> Tensor:
    """Put distance 0 first and negative distances at the end, zeros between."""
    n = (taps_dt.shape[1] + 1) // 2
    return torch.cat([pad(taps_dt[:, n - 1 :], [0, size - (2 * n - 1)]), taps_dt[:, : n - 1]], dim=1)
