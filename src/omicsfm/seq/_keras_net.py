"""A convolutional network that Keras saved, read by h5py and run by torch: neither TensorFlow nor Keras is needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from omicsfm._optional import MissingDependency


def wheel_file(package: str, name: str) -> Path:
    """Find a file of an installed distribution without importing it.

    Raises
    ------
    MissingDependency
        If it is not installed.
    """
    try:
        path = Path(str(distribution(package).locate_file(name)))
    except PackageNotFoundError:
        path = Path()
    if not path.is_file():
        raise MissingDependency(
            f"seq.embedder: '{name}' of the distribution '{package}' was needed and is not installed. "
            f"Fix: run `pip install --no-deps {package}`; only its weights are read."
        )
    return path


class KerasNet(nn.Module):
    """A functional Keras model of 1-d convolutions, up to the layers that are asked for.

    Parameters
    ----------
    path
        HDF5 file with ``model_config`` and ``model_weights``.
    random
        Seed of new weights in place of the saved ones (Glorot uniform, as Keras begins; normalisation does nothing).

    Notes
    -----
    Layers: Conv1D, BatchNormalization, Activation (relu) and Add. Tensors are (n, channels, length) here and
    (n, length, channels) in Keras.
    """

    def __init__(self, path: Path, random: int | None = None) -> None:
        super().__init__()
        generator = None if random is None else torch.Generator().manual_seed(random)
        self.made_of: dict[str, tuple[str, dict[str, Any], list[str]]] = {}
        with h5py.File(path, "r") as file:
            layers = json.loads(file.attrs["model_config"])["config"]["layers"]
            for layer in layers:
                name = layer["name"]
                parents = [node[0] for nodes in layer["inbound_nodes"] for node in nodes]
                self.made_of[name] = (layer["class_name"], layer["config"], parents)
                saved = file["model_weights"][name]
                for key in saved.attrs.get("weight_names", []):
                    text = key.decode() if isinstance(key, bytes) else key
                    value = np.asarray(saved[text], dtype=np.float32)
                    self.register_buffer(f"{name}__{_short(text)}", _tensor(value, _short(text), generator))

    def forward(self, x: torch.Tensor, names: Sequence[str]) -> list[torch.Tensor]:
        """Give the outputs of some layers.

        Parameters
        ----------
        x
            (n, 4, length) one-hot, the same for each input that is needed.
        names
            Of layers.

        Returns
        -------
        (n, channels, length) per name.
        """
        # Walked with a stack of its own: recursion would go as deep as the network.
        done: dict[str, torch.Tensor] = {}
        todo = list(names)
        while todo:
            kind, config, parents = self.made_of[todo[-1]]
            if waiting := [parent for parent in parents if parent not in done]:
                todo += waiting
                continue
            name = todo.pop()
            if name not in done:
                done[name] = x if kind == "InputLayer" else self._run(name, kind, config, [done[p] for p in parents])
        return [done[name] for name in names]

    def _run(self, name: str, kind: str, config: dict[str, Any], inputs: list[torch.Tensor]) -> torch.Tensor:
        (x, *rest) = inputs
        if kind == "Conv1D":
            (width,), (dilation,) = config["kernel_size"], config["dilation_rate"]
            # "same" of odd widths; an even one would need one more position at the right than at the left.
            padding = dilation * (width - 1) // 2 if config["padding"] == "same" else 0
            kernel, bias = self._of(name, "kernel"), self._of(name, "bias")
            x = functional.conv1d(x, kernel, bias, padding=padding, dilation=dilation)
            return x.relu() if config["activation"] == "relu" else x
        if kind == "BatchNormalization":
            mean, variance = self._of(name, "moving_mean"), self._of(name, "moving_variance")
            gamma, beta = self._of(name, "gamma"), self._of(name, "beta")
            return functional.batch_norm(x, mean, variance, gamma, beta, eps=config["epsilon"])
        if kind == "Add":
            return x + sum(rest)
        if kind == "Activation" and config["activation"] == "relu":
            return x.relu()
        raise NotImplementedError(f"a layer '{kind}' of a Keras model")

    def _of(self, name: str, what: str) -> torch.Tensor:
        return self.get_buffer(f"{name}__{what}")


def _short(text: str) -> str:
    """Take "kernel" out of "conv1d_1/kernel:0"."""
    return text.rpartition("/")[2].partition(":")[0]


def _tensor(value: np.ndarray, what: str, generator: torch.Generator | None) -> torch.Tensor:
    """Turn a weight into one of torch, kernels as (out, in, width), or draw it anew."""
    if what == "kernel" and value.ndim == 3:
        value = np.ascontiguousarray(value.transpose(2, 1, 0))
    found = torch.from_numpy(value)
    if generator is None:
        return found
    if what == "kernel":
        n_out, n_in = found.shape[0] * found[0, 0].numel(), found.shape[1] * found[0, 0].numel()
        bound = (6 / (n_in + n_out)) ** 0.5
        return torch.empty_like(found).uniform_(-bound, bound, generator=generator)
    return torch.full_like(found, 1.0 if what in ("gamma", "moving_variance") else 0.0)
