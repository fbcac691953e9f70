"""The networks of SpliceAI and MTSplice as encoders of DNA, one vector per base."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from omicsfm._errors import InputError, OmicsfmWarning
from omicsfm._progress import progress
from omicsfm.seq._keras_net import KerasNet, wheel_file
from omicsfm.seq._one_hot import one_hot
from omicsfm.seq._options import Options
from omicsfm.seq._states import Batch, windows_by_length

_BASES = 1 << 16  # of a batch


@dataclass(frozen=True)
class _Published:
    """What is known of a published network.

    `outputs` names, from layer 0 on, the Keras layers whose channels stand side by side; `flank` is how many unknown
    bases the network had at each side when it was trained beyond the positions that it spoke of.
    """

    package: str
    file: str
    members: tuple[int, ...]
    outputs: tuple[tuple[str, ...], ...]
    flank: int
    licence: str
    commercial: bool


_UNITS = [i for i in range(1, 20) if i % 5]  # every fifth sum of SpliceAI belongs to its skip connections
PUBLISHED = {
    # Jaganathan et al. 2019, doi:10.1016/j.cell.2018.12.015: 16 residual units, then the sum that enters the softmax.
    "spliceai": _Published(
        package="spliceai",
        file="spliceai/models/spliceai{}.h5",
        members=(1, 2, 3, 4, 5),
        outputs=(("conv1d_1",), *((f"add_{i}",) for i in _UNITS), ("add_20",)),
        flank=5000,
        licence="CC-BY-NC-4.0",
        commercial=False,
    ),
    # Cheng et al. 2021, doi:10.1186/s13059-021-02273-7: one tower for the acceptor, one for the donor.
    "mtsplice": _Published(
        package="mmsplice",
        file="mmsplice/models/mtsplice_deep{}.h5",
        members=(0, 1, 2, 3),
        outputs=(("conv1d_1", "conv1d_10"), *((f"add_{i}", f"add_{i + 8}") for i in range(1, 9))),
        flank=0,
        licence="MIT",
        commercial=True,
    ),
}


class SpliceEncoder:
    """One network of SpliceAI or MTSplice.

    Parameters
    ----------
    name
        "spliceai" or "mtsplice".
    member
        Which of the published networks, as text; empty is the first.
    options
        Of which `dtype`, `flank` and `random` are heeded.
    device
        Of torch.
    """

    has_cls = False

    def __init__(self, name: str, member: str, options: Options, device: str) -> None:
        known = PUBLISHED[name]
        members = [str(i) for i in known.members]
        if member not in ("", *members):
            raise InputError(
                f"seq.embedder: '{name}' has the networks {', '.join(members)}, found '{member}'. "
                f"Fix: '{name}:{members[0]}'."
            )
        self.member = member or members[0]
        path = wheel_file(known.package, known.file.format(self.member))
        if options.random is None and not known.commercial:
            warnings.warn(
                f"seq.embedder: the weights of '{name}' are under {known.licence}: not for commercial use.",
                OmicsfmWarning,
                stacklevel=4,
            )
        self.net = KerasNet(path, options.random).to(device, getattr(torch, options.dtype)).eval()
        self.licence = known.licence
        self._outputs = known.outputs
        self.n_layers = len(known.outputs) - 1
        self._flank = known.flank if options.flank is None else options.flank
        self._like = next(self.net.buffers())

    def states(self, sequences: list[str], layers: Sequence[int]) -> Iterator[Batch]:
        """Run the network on each sequence as a whole, between unknown bases."""
        wanted = [self._outputs[layer] for layer in layers]
        names = [name for group in wanted for name in group]
        for rows, codes in windows_by_length(self._windows(sequences), _BASES):
            x = torch.from_numpy(codes.reshape(len(codes), -1, 4)).to(self._like).transpose(1, 2)
            x = torch.nn.functional.pad(x, (self._flank, self._flank))
            outputs = dict(zip(names, self.net(x, names), strict=True))
            inner = slice(self._flank, x.shape[2] - self._flank)
            # Cut before pooling: the flanks are most of it.
            states = [
                torch.cat([outputs[name][:, :, inner] for name in group], dim=1).transpose(1, 2) for group in wanted
            ]
            yield Batch(rows, states, slice(None))

    @staticmethod
    def _windows(sequences: list[str]) -> Iterator[tuple[int, np.ndarray]]:
        for row, sequence in enumerate(progress(sequences, desc="embed")):
            yield row, one_hot([sequence])[0].reshape(-1)
