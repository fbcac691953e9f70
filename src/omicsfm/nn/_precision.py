"""Float32 at least, where bfloat16 would lose the result."""

from __future__ import annotations

import torch
from torch import Tensor


def widen(x: Tensor) -> Tensor:
    """Give `x` in float32, or as it is where it is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def no_autocast(x: Tensor) -> torch.autocast:
    """Keep autocast from narrowing what is computed inside."""
    return torch.autocast(x.device.type, enabled=False)
