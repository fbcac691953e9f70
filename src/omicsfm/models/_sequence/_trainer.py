"""One trainer for every encoder: averaged weights, stopped early on held-out sequences or by its budget."""

from __future__ import annotations

import time
import warnings

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from omicsfm._errors import InputError, OmicsfmWarning
from omicsfm._progress import progress
from omicsfm.models._sequence._batches import Reads
from omicsfm.models._sequence._data import Labelled
from omicsfm.models._sequence._forward import BATCH, make, one_thread
from omicsfm.models._sequence._linear import fit_linear, log_loss
from omicsfm.models._sequence._network import Network
from omicsfm.nn import SequenceClassifier
from omicsfm.nn.sequence_encoder import other_strand

LR = 2e-3
WEIGHT_DECAY = 0.05
WARM_UP = 100  # steps
AVERAGED = 200  # steps over which weights are averaged, an epoch at most: as good as a falling step size, unplanned
PATIENCE = 5  # epochs
N_SEEN = 400_000  # sequences shown in training, at most
EPOCHS = (10, 60)


def train(
    data: Labelled, held: tuple[np.ndarray, np.ndarray], layer: str, *, both_strands: bool, seed: int, cpu_s: float
) -> Network:
    """Train a network.

    Parameters
    ----------
    data
        All sequences of `fit`.
    held
        Rows to train on, and rows on which it stops.
    cpu_s
        Budget in CPU seconds of this process; at least one epoch's part of it is trained.

    Warns
    -----
    OmicsfmWarning
        If a loss turned non-finite: in which epoch; the last good state is kept.

    Raises
    ------
    InputError
        If it did so before there was a good state.
    """
    start = time.process_time()
    reads = Reads("SequenceModel.fit", data.sequences)
    net = make(layer, len(data.classes), both_strands=both_strands, seed=seed)
    average = make(layer, len(data.classes), both_strands=both_strands, seed=seed).eval()
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / WARM_UP))
    y = torch.from_numpy(data.y)
    size = int(np.clip(len(held[0]) // 20, 16, 128))
    horizon = int(np.clip(len(held[0]) // size, 10, AVERAGED))
    n_epochs = int(np.clip(N_SEEN // len(held[0]), *EPOCHS))
    best, best_epoch, best_weights, history, stopped = np.inf, 0, _weights(average), [], "all epochs"
    n_steps = 0
    with one_thread():
        for epoch in progress(range(1, n_epochs + 1), desc=f"training {layer}"):
            rng = np.random.default_rng([seed, epoch])
            net.train()
            total, n_seen = 0.0, 0
            for rows in reads.shuffled(held[0], size, rng):
                x, present = reads.batch(rows)
                if both_strands:
                    x = _either_strand(x, present, rng)
                loss = cross_entropy(net(x, present), y[rows])
                if not _step(net, loss, optimizer):
                    stopped = "not finite"
                    break
                schedule.step()
                n_steps += 1
                _average(average, net, min(1 - 1 / horizon, n_steps / (n_steps + 10)))
                total, n_seen = total + loss.item() * len(rows), n_seen + len(rows)
                if time.process_time() - start > cpu_s:
                    stopped = "budget"
                    break
            if stopped == "not finite":
                break
            value = _held_out_loss(average, reads, held[1], data.y)
            history.append([total / n_seen, value])
            if value < best:
                best, best_epoch, best_weights = value, epoch, _weights(average)
            if stopped == "budget":
                break
            if epoch - best_epoch >= PATIENCE:
                stopped = "held-out loss"
                break
    if stopped == "not finite":
        _tell(layer, len(history) + 1, best_epoch)
    return Network(layer, both_strands, best_weights, np.array(history).reshape(-1, 2), best_epoch, stopped)


def untrained(
    data: Labelled, held: tuple[np.ndarray, np.ndarray], layer: str, *, both_strands: bool, seed: int
) -> Network:
    """Make the random-initialised twin: the weights as they start, and a logistic regression on what they give."""
    net = make(layer, len(data.classes), both_strands=both_strands, seed=seed)
    twin = Network(layer, both_strands, _weights(net), np.zeros((0, 2)), 0, "not trained")
    x = twin.features(data.sequences)
    fits = [fit_linear(x[held[0]], data.y[held[0]], strength) for strength in (0.01, 0.1, 1.0)]
    linear = min(fits, key=lambda f: log_loss(f.probability(x[held[1]]), data.y[held[1]]))
    head = {"head.weight": linear.coef.T, "head.bias": linear.intercept}
    weights = twin.weights | {name: np.ascontiguousarray(w, dtype=np.float32) for name, w in head.items()}
    return Network(layer, both_strands, weights, twin.history, 0, "not trained")


def _either_strand(x: Tensor, present: Tensor | None, rng: np.random.Generator) -> Tensor:
    other = torch.from_numpy(rng.random(len(x)) < 0.5)
    return torch.where(other[:, None, None], other_strand(x, present), x)


def _step(net: nn.Module, loss: Tensor, optimizer: torch.optim.Optimizer) -> bool:
    """Take a step; False, and none taken, where the loss or a gradient is not finite."""
    optimizer.zero_grad()
    if not torch.isfinite(loss):
        return False
    loss.backward()
    if not torch.isfinite(nn.utils.clip_grad_norm_(net.parameters(), 1.0)):
        return False
    optimizer.step()
    return True


@torch.no_grad()
def _average(average: nn.Module, net: nn.Module, keep: float) -> None:
    for mean, now in zip(average.parameters(), net.parameters(), strict=True):
        mean.lerp_(now, 1 - keep)


@torch.no_grad()
def _held_out_loss(net: SequenceClassifier, reads: Reads, rows: np.ndarray, y: np.ndarray) -> float:
    rows = rows[np.argsort(reads.lengths[rows], kind="stable")]
    parts = [
        cross_entropy(net(*reads.batch(some)), torch.from_numpy(y[some]), reduction="sum")
        for some in reads.cut(rows, BATCH)
    ]
    return float(torch.stack(parts).sum()) / len(rows)


def _weights(net: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy().copy() for name, value in net.state_dict().items()}


def _tell(layer: str, epoch: int, best_epoch: int) -> None:
    if not best_epoch:
        raise InputError(
            f"SequenceModel.fit: the loss of '{layer}' was not finite in epoch {epoch}, before there was a good state. "
            "Fix: report it with the sequences; encoder='kmer' does not train a network."
        )
    warnings.warn(
        f"SequenceModel.fit: the loss of '{layer}' was not finite in epoch {epoch}; the state of epoch {best_epoch} is "
        "kept. Fix: another seed, or encoder='kmer'.",
        OmicsfmWarning,
        stacklevel=4,
    )
