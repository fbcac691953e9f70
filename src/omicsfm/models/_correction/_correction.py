"""A trained correction, as arrays, and its application to blocks of cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from omicsfm import hub
from omicsfm.models._cells import Block
from omicsfm.models._correction._inputs import Frame, Inputs, code_of, covariances
from omicsfm.models._factor import FactorModel, Pattern
from omicsfm.models._latent import Latent
from omicsfm.pp import Tokens

if TYPE_CHECKING:
    from omicsfm.models._correction._net import CorrectionNet


@hub.state
@dataclass(frozen=True)
class Correction:
    """Network weights and what is needed to put cells to it.

    Attributes
    ----------
    frame : scales of the tokens.
    factors : the closed form that is corrected.
    sizes : arguments of the network.
    weights : its parameters.
    """

    frame: Frame
    factors: FactorModel
    sizes: dict[str, Any]
    weights: dict[str, np.ndarray]

    def knows(self, pattern: Pattern) -> bool:
        """Tell whether the network was trained on all these modalities, and there is one."""
        return bool(pattern) and set(pattern) <= set(self.frame.mods)

    def with_batches(self, names: list[str]) -> Correction:
        """Give the same correction with more batches, about which it knows nothing yet."""
        new = [name for name in names if name not in self.frame.batches]
        embedding = self.weights["batch"]
        embedding = np.vstack([embedding, np.zeros((len(new), embedding.shape[1]), dtype=embedding.dtype)])
        frame = replace(self.frame, batches=[*self.frame.batches, *new])
        sizes = {**self.sizes, "n_batches": len(frame.batches)}
        return replace(self, frame=frame, sizes=sizes, weights={**self.weights, "batch": embedding})

    def __call__(
        self, latent: Latent, tokens: Tokens, block: Block, pattern: Pattern
    ) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Give the corrections of a block of cells read from `pattern`.

        Returns
        -------
        Of the factors (n, k), of the log of their sd (n, k), and of the tokens in their own units,
        modality -> (n, d); float64.
        """
        inputs = Inputs.of(self.frame, latent, self.factors, tokens, np.sort(block.obs), shown=pattern)
        out = self.read(inputs, np.full(len(inputs.obs), code_of(self.frame, pattern)))
        row = np.searchsorted(inputs.obs, block.obs)
        return (
            out["state"][row],
            out["log_sd"][row],
            {m: out["tokens"][m][row] * self.frame.scale[m] for m in self.frame.mods},
        )

    def read(self, inputs: Inputs, code: np.ndarray) -> dict[str, Any]:
        """Run the network on cells, each read from the set of modalities `code` (n,)."""
        import torch

        from omicsfm.models._correction._batch import as_tensors, network_input

        data = as_tensors(inputs)
        data["covariance"] = torch.from_numpy(self._covariances)
        with torch.no_grad():
            x, z, present = network_input(data, np.arange(len(inputs.obs)), torch.from_numpy(code))
            out = self._net(x, z, present, data["batch"])
        return {
            "state": out["state"].double().numpy(),
            "log_sd": out["log_sd"].double().numpy(),
            "tokens": {m: t.double().numpy() for m, t in out["tokens"].items()},
        }

    @cached_property
    def _covariances(self) -> np.ndarray:
        return covariances(self.frame, self.factors)

    @cached_property
    def _net(self) -> CorrectionNet:
        import torch

        from omicsfm.models._correction._net import CorrectionNet

        net = CorrectionNet(**self.sizes)
        net.load_state_dict({name: torch.from_numpy(np.array(w)) for name, w in self.weights.items()})
        return net.eval()
