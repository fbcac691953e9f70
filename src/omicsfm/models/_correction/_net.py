"""The network: one token per modality and one for the closed-form state, mixed, and read by zero-initialised heads."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from omicsfm.nn import TokenEncoder


class CorrectionNet(nn.Module):
    """Corrections of the state, of its spread, and of the tokens of every modality.

    With the heads at zero, as they start, nothing is corrected: the model is the closed form.

    Parameters
    ----------
    width
        Modality -> number of its tokens' values.
    n_latent
        Number of factors.
    n_batches
        Batches known; batch 0 stands for any other.
    n_labels
        Classes of the label head; 0 for none.
    """

    def __init__(
        self,
        width: dict[str, int],
        *,
        n_latent: int,
        n_batches: int,
        n_labels: int = 0,
        d_model: int = 64,
        n_layers: int = 2,
        mixer: str = "attention",
        dropout: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.mods = list(width)
        # Each modality also sees what the closed form draws from it, so that no layer need learn that again.
        self.enter = nn.ModuleList(_linear(d + n_latent, d_model, generator) for d in width.values())
        self.enter_state = _linear(n_latent, d_model, generator)
        self.kind = nn.Parameter(torch.randn(len(width) + 1, d_model, generator=generator) * 0.1)
        self.batch = nn.Parameter(torch.randn(n_batches + 1, d_model, generator=generator) * 0.1)
        self.encoder = TokenEncoder(d_model, n_layers, mixer=mixer, dropout=dropout, generator=generator)
        self.to_state = _zero(d_model, n_latent)
        self.to_log_sd = _zero(d_model, n_latent)
        self.to_tokens = nn.ModuleList(_zero(d_model, d) for d in width.values())
        self.to_label = _linear(n_latent, n_labels, generator) if n_labels else None

    def forward(self, x: dict[str, Tensor], z_nk: Tensor, present: Tensor, batch: Tensor) -> dict[str, Any]:
        """Read cells from the modalities that are `present`.

        Parameters
        ----------
        x
            Modality -> (n, d + k): scaled tokens, and the posterior mean of the factors given this modality alone.
        z_nk
            Posterior mean given all that is present.
        present
            bool (n, n_modalities).
        batch
            int (n,).

        Returns
        -------
        "state" and "log_sd" (n, k), "tokens": modality -> (n, d).
        """
        entered = [layer(x[m]) for m, layer in zip(self.mods, self.enter, strict=True)] + [self.enter_state(z_nk)]
        sequence = torch.stack(entered, dim=1) + self.kind + self.batch[batch][:, None]
        always = torch.ones(len(z_nk), 1, dtype=torch.bool, device=present.device)
        context = self.encoder(sequence, torch.cat([present, always], dim=1))[:, -1]
        return {
            "state": self.to_state(context),
            "log_sd": torch.tanh(self.to_log_sd(context)),
            "tokens": {m: head(context) for m, head in zip(self.mods, self.to_tokens, strict=True)},
        }


def _linear(d_in: int, d_out: int, generator: torch.Generator) -> nn.Linear:
    layer = nn.utils.skip_init(nn.Linear, d_in, d_out)
    with torch.no_grad():
        layer.weight.normal_(0, d_in**-0.5, generator=generator)
        layer.bias.zero_()
    return layer


def _zero(d_in: int, d_out: int) -> nn.Linear:
    layer = nn.utils.skip_init(nn.Linear, d_in, d_out)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
    return layer
