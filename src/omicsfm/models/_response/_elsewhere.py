"""A process per context whose inputs are the effects of the same perturbation in the other contexts.

What a perturbation does elsewhere says what it does here, though not by the same genes: this learns the translation.
Contexts are apart in it, so that a row never meets its own effect as the input of another.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from omicsfm.models._response._kernels import Prior, prior_kernels, same_context
from omicsfm.models._response._rows import Rows


def effects_elsewhere(known: Rows, departs: np.ndarray, asked: Rows) -> np.ndarray:
    """Mean departure of the same perturbation (at the same dose) in other contexts, zero where there is none."""
    position: dict[tuple[str, float], list[int]] = {}
    for i, key in enumerate(known.keys()):
        position.setdefault(key, []).append(i)
    out = np.zeros((len(asked), departs.shape[1]))
    for i, key in enumerate(asked.keys()):
        rows = [j for j in position.get(key, []) if known.contexts[j] != asked.contexts[i]]
        if rows:
            out[i] = departs[rows].mean(axis=0)
    return out


def kernels(
    priors: Mapping[str, Prior], a: Rows, b: Rows, za: np.ndarray, zb: np.ndarray, *, width: float, size: float
) -> dict[str, np.ndarray]:
    """Give the kernels within contexts: priors, and effects elsewhere (linear, cosine and local).

    Parameters
    ----------
    za, zb
        From :func:`effects_elsewhere`.
    width, size
        Median squared distance and mean squared length of the training rows' inputs.
    """
    here = same_context(a, b)
    na, nb = (np.linalg.norm(z, axis=1) for z in (za, zb))
    known = (na > 0)[:, None] & (nb > 0)[None]
    dot = za @ zb.T
    square = na[:, None] ** 2 + nb[None] ** 2 - 2 * dot
    cosine = np.divide(dot, na[:, None] * nb[None], out=np.zeros_like(dot), where=known)
    out = {name: kernel * here for name, kernel in prior_kernels(priors, a, b).items()}
    out["elsewhere"] = dot / size * here
    out["elsewhere (cosine)"] = cosine * here
    out["elsewhere (local)"] = np.where(known, np.exp(-square / width), 0) * here
    out["mean"] = a.size[:, None] * b.size[None] * here
    return out


def widths(z: np.ndarray, seed: int) -> tuple[float, float]:
    """Give the median squared distance and the mean squared length of the inputs that are not zero."""
    z = z[np.linalg.norm(z, axis=1) > 0]
    if len(z) < 2:
        return 1.0, 1.0
    some = z[np.random.default_rng(seed).permutation(len(z))[:300]]
    square = np.square(some).sum(axis=1)
    distance = square[:, None] + square[None] - 2 * some @ some.T
    median = float(np.median(distance[np.triu_indices(len(some), 1)]))
    return max(median, 1e-12), max(float(np.square(z).sum(axis=1).mean()), 1e-12)
