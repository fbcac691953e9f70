"""Attributions that one backward pass gives, of torch modules."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from omicsfm._errors import InputError, OmicsfmWarning
from omicsfm._optional import require
from omicsfm.explain._scorer import column, device_of, is_module, of_one_length, predicting
from omicsfm.seq._one_hot import one_hot

_BATCH = 32  # sequences, or pairs of a sequence and a reference
_TOLERANCE = 0.01  # of what the score changes by, which the attributions may miss


def gradient(module: Any, sequences: Any, *, target: int | None = None) -> np.ndarray:
    """Multiply the gradient by the input.

    Parameters
    ----------
    module
        Torch module from (n, 4, length) one-hot to (n,) or (n, n_targets).
    sequences
        (n_seq,) strings of one length L.
    target
        Column to explain; not needed for one output, and of two it is the second.

    Returns
    -------
    (n_seq, L) float32: the derivative by the base that is there, less the mean over the four bases, since a one-hot
    input can only move from one base to another (Majdandzic et al. 2023, doi:10.1186/s13059-023-02956-3). 0 where the
    base is not known.

    Raises
    ------
    InputError
        If it is no torch module, or the target fits nothing.
    """
    import torch

    x = _tensor("explain.gradient", module, sequences)
    parts = []
    with predicting(module):
        for start in range(0, len(x), _BATCH):
            batch = x[start : start + _BATCH].to(device_of(module)).requires_grad_()
            out = module(batch)
            out = out[:, None] if out.ndim == 1 else out
            picked = out[:, column("explain.gradient", target, out.shape[1])]
            (grad,) = torch.autograd.grad(picked.sum(), batch)
            parts.append(((grad - grad.mean(dim=1, keepdim=True)) * batch).sum(dim=1).detach().cpu().numpy())
    return np.concatenate(parts)


def deeplift(
    module: Any, sequences: Any, *, target: int | None = None, n_references: int = 20, seed: int = 0
) -> np.ndarray:
    """Share out the difference to shuffled sequences among the bases (DeepLIFT/SHAP, by tangermeme).

    Parameters
    ----------
    module
        As for :func:`gradient`. Its non-linear parts must be modules (``nn.ReLU``, not ``relu``).
    sequences
        (n_seq,) strings of one length L, without unknown bases.
    target
        As for :func:`gradient`.
    n_references
        Dinucleotide shuffles of each sequence to compare with.
    seed
        Of the shuffles.

    Returns
    -------
    (n_seq, L) float32. A row adds up to the score less the mean score of its references.

    Raises
    ------
    InputError
        If it is no torch module, or bases are unknown.

    Warns
    -----
    OmicsfmWarning
        If rows miss that sum by more than 1 % of the mean difference: the module has parts to which the rule cannot be
        applied.

    References
    ----------
    Shrikumar et al. 2017, arXiv:1704.02685. Lundberg and Lee 2017, arXiv:1705.07874.
    """
    import torch

    deep = require("tangermeme.deep_lift_shap", extra="seq")
    ersatz = require("tangermeme.ersatz", extra="seq")
    x = _tensor("explain.deeplift", module, sequences)
    if not bool(x.sum(dim=1).all()):
        raise InputError(
            "explain.deeplift: bases must be known, found N. Fix: leave these sequences out, or use explain.gradient."
        )
    references = ersatz.dinucleotide_shuffle(x, n=n_references, random_state=seed).to(x.dtype)

    class Columns(torch.nn.Module):
        """(n, n_targets) whatever the module gives."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            out = self.inner(batch)
            return out[:, None] if out.ndim == 1 else out

    wrapped, device = Columns(), device_of(module)
    with predicting(module), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of is measured below
        with torch.no_grad():
            scores = torch.cat([wrapped(part.to(device)) for part in x.split(_BATCH)])
            flat = references.flatten(0, 1)
            against = torch.cat([wrapped(part.to(device)) for part in flat.split(_BATCH)])
        at = column("explain.deeplift", target, scores.shape[1])
        found = deep.deep_lift_shap(wrapped, x, target=at, references=references, batch_size=_BATCH, device=str(device))
    values = found.sum(dim=1).cpu().numpy().astype(np.float32)
    wanted = (scores[:, at] - against[:, at].reshape(len(x), -1).mean(dim=1)).cpu().numpy()
    missed = float(np.abs(values.sum(axis=1) - wanted).mean() / max(np.abs(wanted).mean(), 1e-12))
    if missed > _TOLERANCE:
        warnings.warn(
            f"explain.deeplift: attributions miss the difference they share out by {missed:.1%} on average. Rely on "
            "explain.mutagenesis instead, or write the non-linear parts of the network as modules of torch.",
            OmicsfmWarning,
            stacklevel=2,
        )
    return values


def _tensor(function: str, module: Any, sequences: Any) -> Any:
    import torch

    if not is_module(module):
        raise InputError(
            f"{function}: a torch module was needed, found {type(module).__name__}. Fix: explain.mutagenesis takes any "
            "model."
        )
    x = torch.from_numpy(one_hot(of_one_length(function, sequences)))
    return x.transpose(1, 2).contiguous().float()
