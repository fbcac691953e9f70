"""The network behind `Mixing`: penalised moves that make batches alike (MMD) or hard to tell apart (adversary)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from omicsfm.models._correction._options import Options
from omicsfm.models._correction._trainer import loop
from omicsfm.nn import mmd, reverse_gradient

N_STEPS = 500
BATCH = 256
LR = 2e-3
STAY = 0.05  # what a unit of squared movement costs, against a unit of squared discrepancy
ADVERSARY = 0.1  # share of the judge's gradient that reaches the network
HIDDEN = 64
WIDTHS = (0.02, 0.05, 0.1, 0.25, 0.5)  # of the kernels, as shares of the median squared distance


class MixingNet(nn.Module):
    """State and batch in, shift of the state out; zero as it starts."""

    def __init__(self, n_state: int, n_batches: int, *, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.n_batches = n_batches
        self.enter = _seeded(nn.utils.skip_init(nn.Linear, n_state + n_batches, HIDDEN), generator)
        self.middle = _seeded(nn.utils.skip_init(nn.Linear, HIDDEN, HIDDEN), generator)
        self.leave = _seeded(nn.utils.skip_init(nn.Linear, HIDDEN, n_state), generator, scale=0.0)

    def forward(self, state_nk: Tensor, batch: Tensor) -> Tensor:
        """Give the shift (n, k)."""
        one_hot = functional.one_hot(batch, self.n_batches).to(state_nk.dtype)
        hidden = functional.gelu(self.enter(torch.cat([state_nk, one_hot], dim=1)))
        return self.leave(functional.gelu(self.middle(hidden)))


Part = tuple[Tensor, Tensor, Tensor]  # scaled states, batches, weights of the cells of one view


class _Draws(Dataset[Any]):
    """Batches of random rows, each of one view, views in turn; the i-th is the same whoever asks."""

    def __init__(self, parts: list[Part], seed: list[int]) -> None:
        self.parts, self.seed = parts, seed

    def __len__(self) -> int:
        return N_STEPS

    def __getitem__(self, i: int) -> tuple[Tensor, ...]:
        part = self.parts[i % len(self.parts)]
        rows = np.random.default_rng([*self.seed, i]).permutation(len(part[0]))[:BATCH]
        return tuple(v[rows] for v in part)


class _MixingTraining(pl.LightningModule):
    def __init__(self, net: MixingNet, parts: list[Part], options: Options) -> None:
        super().__init__()
        self.net, self.parts, self.options = net, parts, options
        generator = torch.Generator().manual_seed(options.seed + 1)
        k = parts[0][0].shape[1]
        self.judge = nn.Sequential(
            _seeded(nn.utils.skip_init(nn.Linear, k, HIDDEN), generator),
            nn.GELU(),
            _seeded(nn.utils.skip_init(nn.Linear, HIDDEN, net.n_batches), generator),
        )
        self.culprit = ""

    def train_dataloader(self) -> DataLoader[Any]:
        draws = _Draws(self.parts, [self.options.seed, self.trainer.global_rank])
        return DataLoader(draws, batch_size=None, generator=torch.Generator().manual_seed(0))

    def training_step(self, batch: tuple[Tensor, ...], index: int) -> Tensor | None:
        x, code, weight = batch
        shift = self.net(x, code)
        if self.options.batch_penalty == "adversary":
            logit = self.judge(reverse_gradient(x + shift, ADVERSARY))
            apart = (weight * functional.cross_entropy(logit, code, reduction="none")).mean()
        else:
            apart = mmd(x + shift, code, weight_b=weight, widths=WIDTHS)
        loss = apart + STAY * shift.square().sum(dim=1).mean()
        if not torch.isfinite(loss):
            self.culprit = f"the batch penalty was not finite (step {self.global_step})"
            self.trainer.should_stop = True
            return None
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=LR, weight_decay=1e-3)


def train_mixing(
    parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], n_batches: int, options: Options, words: str
) -> dict[str, np.ndarray]:
    """Train on views of cells: states (n, k) of unit scale, batches and weights (n,); gives the parameters."""
    net = MixingNet(parts[0][0].shape[1], n_batches, seed=options.seed)
    tensors = [(torch.from_numpy(x), torch.from_numpy(code), torch.from_numpy(w)) for x, code, w in parts]
    loop(_MixingTraining(net, tensors, options), replace(options, max_epochs=1), words=words, callbacks=[])
    return {k: v.cpu().numpy() for k, v in net.state_dict().items()}


def _seeded(layer: Any, generator: torch.Generator, *, scale: float = 1.0) -> nn.Linear:
    with torch.no_grad():
        layer.weight.normal_(0, 1, generator=generator).mul_(scale * layer.in_features**-0.5)
        layer.bias.zero_()
    return layer
