"""How a correction is built and trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Options:
    """Parameters of `Mosaic` that concern the network; see there."""

    mixer: str
    d_model: int
    n_layers: int
    dropout: float
    max_epochs: int
    batch_size: int
    lr: float
    contrast: float
    batch_penalty: str
    label_weight: float
    likelihood: dict[str, str] | None
    accelerator: str
    devices: Any
    strategy: str
    precision: str
    compile: bool
    seed: int
