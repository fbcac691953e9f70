"""SEQUENCE_LAYERS: the mixers of tokens that have places, by name."""

from __future__ import annotations

from collections.abc import Callable

import torch

from omicsfm._errors import InputError
from omicsfm.nn.attention import Attention
from omicsfm.nn.convolution import DilatedConvolution
from omicsfm.nn.hierarchy import Hierarchical
from omicsfm.nn.hybrid import Hybrid
from omicsfm.nn.local_attention import LocalAttention
from omicsfm.nn.long_convolution import GatedLongConvolution
from omicsfm.nn.mixer import Mixer
from omicsfm.nn.ssm import sequence_ssm


def _attention(d_model: int, *, generator: torch.Generator | None = None) -> Attention:
    return Attention(d_model, rotary=True, generator=generator)


SEQUENCE_LAYERS: dict[str, Callable[..., Mixer]] = {
    "attention": _attention,
    "cnn": DilatedConvolution,
    "hierarchical": Hierarchical,
    "hybrid": Hybrid,
    "hyena": GatedLongConvolution,
    "local": LocalAttention,
    "ssm": sequence_ssm,
}


def make_sequence_layer(name: str, d_model: int, *, generator: torch.Generator | None = None) -> Mixer:
    """Make a layer for sequences with its default settings.

    Unlike those of `MIXERS`, these know the places of tokens: only padding at the end of a sequence is as if removed.
    All but "attention" cost n or n log n in tokens.

    Parameters
    ----------
    name
        A key of `SEQUENCE_LAYERS`.
    d_model
        Width of a token.
    generator
        Source of the initial weights; None: seed 0.

    Raises
    ------
    InputError
        For an unknown name.
    """
    if name not in SEQUENCE_LAYERS:
        raise InputError(
            f"make_sequence_layer: no layer is called {name!r}. Fix: choose one of {', '.join(SEQUENCE_LAYERS)}."
        )
    return SEQUENCE_LAYERS[name](d_model, generator=generator)
