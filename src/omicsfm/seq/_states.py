"""From the states of a network at every position to one vector per sequence."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from omicsfm._errors import InputError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Batch:
    """What a network makes of some windows of one length.

    Attributes
    ----------
    rows : (n_windows,) the sequence each is a part of.
    states : one (n_windows, n_positions, d) tensor per layer that was asked for.
    inner : the positions that stand for bases, without special tokens.
    """

    rows: np.ndarray
    states: list[torch.Tensor]
    inner: slice


class Encoder(Protocol):
    """A network over sequences whose states can be looked at."""

    n_layers: int
    has_cls: bool

    def states(self, sequences: list[str], layers: Sequence[int]) -> Iterable[Batch]:
        """Give the states of windows that together are the sequences; a window depends on its own sequence only."""
        ...


def resolve_layers(encoder: Encoder, layers: Sequence[int]) -> list[int]:
    """Count layers from the start, or say which there are."""
    n = encoder.n_layers
    for layer in layers:
        if not -n - 1 <= layer <= n:
            raise InputError(
                f"seq.embedder: the model has layers 0 (what enters) to {n}, found {layer}. Fix: choose one, or -1."
            )
    return [layer % (n + 1) for layer in layers]


def pool(encoder: Encoder, sequences: list[str], layers: Sequence[int], poolings: Sequence[str]) -> list[np.ndarray]:
    """Pool the states of each layer, over all windows of a sequence.

    Parameters
    ----------
    encoder, sequences
        What to run on what.
    layers
        From 0 on, as :func:`resolve_layers` gives them.
    poolings
        "mean" over the positions of all windows, "max" likewise, "cls" the mean of the windows' first special tokens.

    Returns
    -------
    One (n_seq, n_poolings * d) float32 array per layer, poolings side by side.

    Raises
    ------
    InputError
        If the model has no such token, or makes no token of a sequence.
    """
    import torch

    if "cls" in poolings and not encoder.has_cls:
        raise InputError(
            "seq.embedder: pooling 'cls' needs a special token before the sequence, which this model has not. "
            "Fix: choose 'mean' or 'max'."
        )
    n = len(sequences)
    weight = np.zeros(n)  # positions of each sequence
    windows = np.zeros(n)
    sums: list[dict[str, np.ndarray]] = [{} for _ in layers]
    with torch.inference_mode():
        for batch in encoder.states(sequences, layers):
            np.add.at(weight, batch.rows, len(range(*batch.inner.indices(batch.states[0].shape[1]))))
            np.add.at(windows, batch.rows, 1)
            for store, state in zip(sums, batch.states, strict=True):
                _add(store, poolings, batch, state.float(), n)
    if n and not weight.all():
        row = int(np.argmin(weight))
        raise InputError(
            f"seq.embedder: the tokenizer makes nothing of sequence {row} ({sequences[row]!r:.20}). Fix: leave it out."
        )
    divide = {"mean": weight[:, None], "cls": windows[:, None], "max": 1.0}
    return [
        np.concatenate([store[pooling] / divide[pooling] for pooling in poolings], axis=1).astype(np.float32)
        for store in sums
    ]


def _add(store: dict[str, np.ndarray], poolings: Sequence[str], batch: Batch, state: torch.Tensor, n: int) -> None:
    inner = state[:, batch.inner]
    for pooling in poolings:
        new = state[:, 0] if pooling == "cls" else inner.amax(dim=1) if pooling == "max" else inner.sum(dim=1)
        if pooling not in store:
            store[pooling] = np.full((n, state.shape[2]), -np.inf if pooling == "max" else 0.0)
        merge: np.ufunc = np.maximum if pooling == "max" else np.add
        merge.at(store[pooling], batch.rows, new.cpu().numpy().astype(np.float64))


def windows_by_length(
    windows: Iterable[tuple[int, np.ndarray]], budget: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Gather windows of one length, so that none is padded and none depends on its neighbours.

    Parameters
    ----------
    windows
        (sequence, (n,) numbers) pairs.
    budget
        Numbers of a batch; a batch has one window at least.

    Yields
    ------
    rows : (b,) and values : (b, n).
    """
    waiting: dict[int, list[tuple[int, np.ndarray]]] = {}
    for row, values in windows:
        group = waiting.setdefault(len(values), [])
        group.append((row, values))
        if len(group) * len(values) >= budget:
            yield _batch(waiting.pop(len(values)))
    for length in sorted(waiting):
        yield _batch(waiting[length])


def _batch(group: list[tuple[int, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([row for row, _ in group]), np.stack([values for _, values in group])


def weights_sha256(net: torch.nn.Module) -> str:
    """Hash names, shapes, types and values of all parameters and buffers that are saved, whatever file they came in."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def forked_seed(seed: int) -> Iterator[None]:
    """Seed what draws from torch's global generator, and leave that as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
