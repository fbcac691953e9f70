"""Training of the network: losses in a LightningModule, views and order of cells from (seed, epoch) alone."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from omicsfm.models._correction._batch import network_input
from omicsfm.models._correction._net import CorrectionNet
from omicsfm.models._correction._options import Options
from omicsfm.models._correction._views import Views
from omicsfm.nn import gaussian_nll, info_nce

TEMPERATURE = 0.1  # of the contrast, as a share of the mean squared distance between cells
MAX_VALIDATION = 1024


class _Batches(Dataset[Any]):
    """Batches of an epoch, each as it goes to the network: collating is done here, not row by row."""

    def __init__(
        self,
        data: dict[str, Any],
        rows: list[np.ndarray],
        shown: list[np.ndarray],
        told: list[np.ndarray],
        *,
        seed: list[int],
    ) -> None:
        self.data, self.rows, self.shown, self.told, self.seed = data, rows, shown, told, seed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, Any]:
        rows = torch.from_numpy(self.rows[i])
        batch = {key: self.data[key][rows] for key in ("code", "batch", "label")}
        batch["origin"] = batch["batch"]
        batch["batch"] = batch["batch"] * torch.from_numpy(self.told[i])
        for key in ("x", "information"):
            batch[key] = {m: v[rows] for m, v in self.data[key].items()}
        rng = np.random.default_rng([*self.seed, i])
        batch["counts"] = {
            m: {k: torch.from_numpy(v) for k, v in source.take(self.data["obs"], self.rows[i], rng).items()}
            for m, source in self.data["counts"].items()
        }
        return {**batch, "shown": torch.from_numpy(self.shown[i])}


class Training(pl.LightningModule):
    """Losses of the correction.

    Parameters
    ----------
    net
        The network.
    constants
        Tensors shared by all cells: "covariance" (2^M, k, k), "scale" (2^M, k), "mean" and "loading" per modality.
    data
        Tensors with one row per cell: x, information, code, batch (0: unknown), label (-1: none); and counts.
    train_rows, stop_rows
        Rows trained on, and rows on which training stops early (None: it runs to the end).
    views
        Which modalities a cell shows.
    """

    def __init__(
        self,
        net: CorrectionNet,
        constants: dict[str, Any],
        data: dict[str, Any],
        *,
        train_rows: np.ndarray,
        stop_rows: np.ndarray | None,
        views: Views,
        options: Options,
        count_heads: list[torch.nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.count_heads = torch.nn.ModuleList(count_heads or [])
        self.run = torch.compile(net) if options.compile else net
        self.options, self.data = options, data
        self.train_rows, self.stop_rows = train_rows, stop_rows
        self.views = views
        self.mods = list(constants["mean"])
        self.covariance: Tensor
        self.scale: Tensor
        self.best_epoch: Tensor
        self.register_buffer("covariance", constants["covariance"], persistent=False)
        self.register_buffer("scale", constants["scale"], persistent=False)
        for i, m in enumerate(self.mods):  # by number: a name may hold what torch forbids
            self.register_buffer(f"mean_{i}", constants["mean"][m], persistent=False)
            self.register_buffer(f"loading_{i}", constants["loading"][m], persistent=False)
        self.register_buffer("best_epoch", torch.zeros((), dtype=torch.int64))
        self.culprit = ""

    # ---- data

    def train_dataloader(self) -> DataLoader[Any]:
        """Give this epoch's batches, this process's share of them."""
        rng = np.random.default_rng([self.options.seed, self.current_epoch])
        order = rng.permutation(self.train_rows)
        shown = self.views.draw(self.data["code"].numpy()[order], rng)
        world, rank = self.trainer.world_size, self.trainer.global_rank
        # Equal shares, or the processes would wait for each other for ever.
        n = len(order) // world * world
        # The batch embedding is learnt to be done without: half of the time a cell's batch is not told.
        parts = [v[rank:n:world] for v in (order, shown, rng.random(len(order)) < 0.5)]
        cuts = max(1, len(parts[0]) // self.options.batch_size)
        split = [np.array_split(v, cuts) for v in parts]
        return _loader(_Batches(self.data, *split, seed=[self.options.seed, self.current_epoch]))

    def val_dataloader(self) -> DataLoader[Any]:
        """Give the held-out cells as one batch, with the same views every time."""
        rng = np.random.default_rng(self.options.seed)
        held_out = np.zeros(0, dtype=np.int64) if self.stop_rows is None else self.stop_rows
        rows = np.sort(rng.permutation(held_out)[:MAX_VALIDATION])
        shown = self.views.draw(self.data["code"].numpy()[rows], rng)
        told = np.zeros(len(rows), dtype=bool)
        return _loader(_Batches(self.data, [rows], [shown], [told], seed=[self.options.seed]))

    # ---- losses

    def training_step(self, batch: dict[str, Any], index: int) -> Tensor | None:
        """Sum the losses of a batch; None, and the end of training, where one is not finite."""
        terms = self._finite(batch, "loss")
        return None if terms is None else torch.stack(list(terms.values())).sum()

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Take no step along a gradient that is not finite."""
        for name, parameter in self.named_parameters():
            if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
                self._stop(f"the gradient of {name}", None)
                optimizer.zero_grad()
                return

    def validation_step(self, batch: dict[str, Any], index: int) -> None:
        """Log the loss of the held-out cells."""
        terms = self._finite(batch, "held-out loss")
        if terms is None:
            value = torch.full((), torch.inf, device=self.device)
        else:
            value = torch.stack([v for k, v in terms.items() if k != "label"]).sum()
        self.log("held_out", value, on_epoch=True, sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW, as everyone does."""
        return torch.optim.AdamW(self.parameters(), lr=self.options.lr, weight_decay=1e-2)

    def _finite(self, batch: dict[str, Any], what: str) -> dict[str, Tensor] | None:
        """Give the losses of a batch; None, and the end of training, where one is not finite."""
        terms = self.losses(batch)
        bad = [name for name, value in terms.items() if not torch.isfinite(value)]
        if bad:
            self._stop(f"the {' and '.join(bad)} {what}", batch)
        return None if bad else terms

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Give every loss of a batch of cells by name."""
        whole, shown = batch["code"], batch["shown"]
        rest = whole & ~shown
        paired = rest > 0
        read = {}
        for name, code in (("shown", shown), ("rest", rest)):
            x, z, present = network_input({**batch, "covariance": self.covariance}, slice(None), code)
            read[name] = z, self.run(x, z, present, batch["batch"]), code
        terms: dict[str, Tensor] = {}
        if paired.any():
            target = network_input({**batch, "covariance": self.covariance}, slice(None), whole)[1]
            pairs = (("shown", rest), ("rest", shown))
            token = [self._token_loss(batch, *read[name], hidden) for name, hidden in pairs]
            state = [self._state_loss(*read[name], target, whole, paired) for name, _ in pairs]
            terms["token"], terms["state"] = torch.stack(token).mean(), torch.stack(state).mean()
            if self.options.contrast and int(paired.sum()) > 1:
                a, b = (self._states(*read[name])[paired] for name, _ in pairs)
                terms["contrast"] = self.options.contrast * info_nce(a, b, temperature=TEMPERATURE)
        labelled = batch["label"] >= 0
        if self.net.to_label is not None and labelled.any():
            z, out, _ = read["shown"]
            logit = self.net.to_label(z + out["state"])[labelled]
            terms["label"] = self.options.label_weight * functional.cross_entropy(logit, batch["label"][labelled])
        for m, head in zip(self.data["counts"], self.count_heads, strict=True):
            terms[f"{m} counts"] = self._count_loss(m, head, batch, read, whole, rest)
        if not terms:  # cells that teach nothing in this epoch; keeps the graph whole
            terms["token"] = read["shown"][1]["state"].sum() * 0
        return terms

    def _token_loss(
        self, batch: dict[str, Any], z: Tensor, out: dict[str, Any], code: Tensor, hidden: Tensor
    ) -> Tensor:
        """Squared error of hidden tokens, closed form plus correction, per hidden modality and cell."""
        total, count = z.new_zeros(()), 0
        for i, m in enumerate(self.mods):
            rows = (hidden >> i & 1).bool() & (code > 0)
            if rows.any():
                error = batch["x"][m] - self._tokens(m, z, out)
                total = total + error[rows].square().mean(dim=1).sum()
                count += int(rows.sum())
        return total / max(count, 1)

    def _tokens(self, m: str, z: Tensor, out: dict[str, Any]) -> Tensor:
        i = self.mods.index(m)
        return getattr(self, f"mean_{i}") + z @ getattr(self, f"loading_{i}").T + out["tokens"][m]

    def _states(self, z: Tensor, out: dict[str, Any], code: Tensor) -> Tensor:
        return (z + out["state"]) * self.scale[code]

    def _state_loss(
        self, z: Tensor, out: dict[str, Any], code: Tensor, target: Tensor, whole: Tensor, paired: Tensor
    ) -> Tensor:
        """Negative log-density of the factors given all modalities under those given what is shown."""
        left = torch.diagonal(self.covariance[whole], dim1=1, dim2=2)
        log_var = torch.diagonal(self.covariance[code], dim1=1, dim2=2).log() + 2 * out["log_sd"]
        # The target is uncertain itself: its variance adds to the expected square.
        value = gaussian_nll(target, z + out["state"], log_var) + 0.5 * (left * torch.exp(-log_var)).sum(dim=1)
        return value[paired].mean() / z.shape[1]

    def _count_loss(
        self, m: str, head: torch.nn.Module, batch: dict[str, Any], read: dict[str, Any], whole: Tensor, rest: Tensor
    ) -> Tensor:
        """Likelihood of the counts of a modality, where it was hidden from the view that predicts it."""
        i = self.mods.index(m)
        hidden_now = (rest >> i & 1).bool()
        z, out, _ = read["shown"]
        z2, out2, _ = read["rest"]
        tokens = torch.where(hidden_now[:, None], self._tokens(m, z, out), self._tokens(m, z2, out2))
        use = (whole >> i & 1).bool() & (rest > 0)
        return head(tokens, batch["counts"][m], use)

    def _stop(self, what: str, batch: dict[str, Any] | None) -> None:
        if self.culprit:
            return
        where = f"epoch {self.current_epoch}, step {self.global_step}"
        if batch is not None:
            names = ["unknown", *self.data["batch_names"]]
            where += f", cells of batches {', '.join(names[i] for i in sorted(set(batch['origin'].tolist())))}"
        self.culprit = f"{what} was not finite ({where})"
        self.trainer.should_stop = True


def _loader(batches: _Batches) -> DataLoader[Any]:
    # Its own generator: a loader without one draws from torch's global one.
    return DataLoader(batches, batch_size=None, num_workers=0, generator=torch.Generator().manual_seed(0))
