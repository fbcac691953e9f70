"""Arrays to tensors, and what the network reads of cells that show some of their modalities."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from omicsfm.models._correction._inputs import Inputs


def as_tensors(inputs: Inputs) -> dict[str, Any]:
    """Wrap the arrays without copying."""
    return {
        "x": {m: torch.from_numpy(x) for m, x in inputs.x.items()},
        "information": {m: torch.from_numpy(h) for m, h in inputs.information.items()},
        "has": torch.from_numpy(inputs.has),
        "batch": torch.from_numpy(inputs.batch),
    }


def network_input(data: dict[str, Any], rows: Any, code: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Give what the network reads of some rows, each showing the set of modalities `code`.

    Returns
    -------
    x : modality -> (n, d + k), scaled tokens and factors given the modality alone; zeros where it is not shown.
    z : (n, k), the closed form's posterior mean given all that is shown.
    present : bool (n, n_modalities).
    """
    mods = list(data["x"])
    present = torch.stack([code >> i & 1 for i in range(len(mods))], dim=1).bool()
    covariance = data["covariance"]
    information = {m: data["information"][m][rows] * present[:, [i]] for i, m in enumerate(mods)}
    total = torch.stack(list(information.values())).sum(dim=0)
    z = torch.bmm(total[:, None], covariance[code])[:, 0]
    x = {
        m: torch.cat([data["x"][m][rows] * present[:, [i]], information[m] @ covariance[1 << i]], dim=1)
        for i, m in enumerate(mods)
    }
    return x, z, present
