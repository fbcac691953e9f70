"""The network itself, in torch: made, filled with weights, run over sequences."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from omicsfm.models._sequence._batches import Reads
from omicsfm.models._sequence._network import Network
from omicsfm.nn import SequenceClassifier, SequenceEncoder

BATCH = 256


def make(layer: str, n_classes: int, *, both_strands: bool, seed: int) -> SequenceClassifier:
    """Make a network with weights from the seed."""
    generator = torch.Generator().manual_seed(seed)
    encoder = SequenceEncoder(layer, generator=generator)
    return SequenceClassifier(encoder, n_classes, both_strands=both_strands, generator=generator)


def build(network: Network) -> SequenceClassifier:
    """Make a network with the weights that were learnt."""
    net = make(network.layer, len(network.weights["head.bias"]), both_strands=network.both_strands, seed=0)
    net.load_state_dict({name: torch.from_numpy(np.array(w)) for name, w in network.weights.items()})
    return net.eval()


def logits(network: Network, sequences: list[str]) -> np.ndarray:
    """Give (n, n_classes)."""
    net = build(network)
    return run(net.__call__, Reads("SequenceModel.predict_proba", sequences), net.head.out_features)


def features(network: Network, sequences: list[str]) -> np.ndarray:
    """Give the vectors (n, d_out) before the linear head."""
    net = build(network)
    return run(net.features, Reads("SequenceModel.embed", sequences), net.head.in_features).astype(np.float32)


def run(function: Callable[..., Tensor], reads: Reads, n_columns: int) -> np.ndarray:
    """Apply a function of a batch to all sequences; gives float64 (n, n_columns), rows in order."""
    out = np.empty((len(reads), n_columns))
    with one_thread(), torch.no_grad():
        for rows in reads.by_length(BATCH):
            out[rows] = function(*reads.batch(rows)).double().numpy()
    return out


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread: small products are not faster on more, and sums come out the same on every machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
