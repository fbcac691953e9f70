"""What the filters of a first convolution have learnt to see, and which known motif it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from omicsfm._errors import InputError
from omicsfm._optional import require
from omicsfm.explain._scorer import is_module, of_one_length
from omicsfm.seq._motif_files import read_motifs
from omicsfm.seq._one_hot import one_hot

_BATCH = 256
_PSEUDOCOUNT = 0.8


def filter_motifs(module: Any, sequences: Any, *, threshold: float = 0.5) -> dict[str, np.ndarray]:
    """Count the bases under what most excites each filter of the first convolution.

    Parameters
    ----------
    module
        Torch module whose first ``nn.Conv1d`` over 4 channels reads one-hot DNA.
    sequences
        (n_seq,) strings of one length.
    threshold
        A window counts if it excites the filter by more than this part of the filter's maximum over all sequences.

    Returns
    -------
    ``"filter 0"`` -> (4, width) counts, rows A, C, G, T; of the filters that something excites above 0.

    Raises
    ------
    InputError
        If there is no such convolution, or it is dilated or strided.

    References
    ----------
    Alipanahi et al. 2015, doi:10.1038/nbt.3300; the threshold as in Kelley et al. 2016, doi:10.1101/gr.200535.115.
    """
    import torch

    layers = module.modules() if is_module(module) else []
    first = next((m for m in layers if isinstance(m, torch.nn.Conv1d) and m.in_channels == 4), None)
    if first is None or first.dilation != (1,) or first.stride != (1,) or not 0 < threshold < 1:
        raise InputError(
            "explain.filter_motifs: a torch module whose first convolution reads 4 channels, without dilation or "
            f"stride, and a threshold between 0 and 1 were needed; found {first or type(module).__name__} and "
            f"{threshold}. Fix: pass the part of the network that reads the sequence."
        )
    x = torch.from_numpy(one_hot(of_one_length("explain.filter_motifs", sequences))).transpose(1, 2).contiguous()
    parts = x.split(_BATCH)

    def excited(part: torch.Tensor) -> torch.Tensor:
        # Without padding: every window lies within its sequence.
        return torch.nn.functional.conv1d(part.to(first.weight), first.weight, first.bias)

    with torch.inference_mode():
        best = torch.stack([excited(part).amax(dim=(0, 2)) for part in parts]).amax(dim=0)
        counts = torch.zeros(first.out_channels, 4, first.kernel_size[0], device=first.weight.device)
        for part in parts:
            hits = (excited(part) > threshold * best[:, None]).to(counts)
            windows = part.to(counts).unfold(2, first.kernel_size[0], 1)  # (n, 4, n_windows, width)
            counts += torch.einsum("nfp,ncpw->fcw", hits, windows)
    found = counts.double().cpu().numpy()
    return {f"filter {i}": found[i] for i in range(len(found)) if best[i] > 0 and found[i].sum(axis=0).all()}


def match_motifs(
    motifs: Mapping[str, np.ndarray],
    db: str | Mapping[str, np.ndarray] = "JASPAR2026",
    *,
    taxon: str | None = "vertebrates",
    n_nearest: int = 1,
) -> pd.DataFrame:
    """Find the known motifs that are most like some motifs (TOMTOM, by memelite; its first call compiles).

    Parameters
    ----------
    motifs
        By name (4, width) counts, such as :func:`filter_motifs` gives.
    db, taxon
        Known motifs, as for :func:`omicsfm.seq.read_motifs`.
    n_nearest
        Known motifs to give for each.

    Returns
    -------
    DataFrame, `n_nearest` rows per motif: `motif`, `match`, `p` of the alignment, corrected for the alignments of this
    pair alone; `q`, the false discovery rate over all pairs that were compared (Benjamini and Hochberg); `offset`,
    `overlap` in bases, and `strand` of the match.

    Raises
    ------
    InputError
        If a matrix is none of counts.

    References
    ----------
    Gupta et al. 2007, doi:10.1186/gb-2007-8-2-r24.
    """
    memelite = require("memelite", extra="seq")
    asked, known = read_motifs(motifs), read_motifs(db, taxon=taxon)
    p, _, offsets, overlaps, strands = memelite.tomtom(
        [_probabilities(m) for m in asked.values()], [_probabilities(m) for m in known.values()], n_jobs=1
    )[:5]
    q = false_discovery_control(np.clip(p, 0, 1), axis=None).reshape(p.shape)
    names = list(known)
    rows = []
    for i, name in enumerate(asked):
        for j in np.argsort(p[i], kind="stable")[:n_nearest]:
            rows.append(
                {
                    "motif": name,
                    "match": names[j],
                    "p": float(p[i, j]),
                    "q": float(q[i, j]),
                    "offset": int(offsets[i, j]),
                    "overlap": int(overlaps[i, j]),
                    "strand": "-" if strands[i, j] else "+",
                }
            )
    return pd.DataFrame(rows)


def _probabilities(counts: np.ndarray) -> np.ndarray:
    return (counts + _PSEUDOCOUNT / 4) / (counts.sum(axis=0) + _PSEUDOCOUNT)
