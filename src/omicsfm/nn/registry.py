"""MIXERS: the token mixers by name."""

from __future__ import annotations

from collections.abc import Callable

import torch

from omicsfm._errors import InputError
from omicsfm.nn.attention import Attention
from omicsfm.nn.mixer import Mixer
from omicsfm.nn.mlp import SetMLP
from omicsfm.nn.ssm import SelectiveSSM

MIXERS: dict[str, Callable[..., Mixer]] = {"attention": Attention, "mlp": SetMLP, "ssm": SelectiveSSM}


def make_mixer(name: str, d_model: int, *, generator: torch.Generator | None = None) -> Mixer:
    """Make a mixer with its default settings.

    Parameters
    ----------
    name
        A key of `MIXERS`.
    d_model
        Width of a token.
    generator
        Source of the initial weights; None: seed 0.

    Raises
    ------
    InputError
        For an unknown name.
    """
    if name not in MIXERS:
        raise InputError(f"make_mixer: no mixer is called {name!r}. Fix: choose one of {', '.join(sorted(MIXERS))}.")
    return MIXERS[name](d_model, generator=generator)
