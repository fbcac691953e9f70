"""Does an effect come out again in the other half of the cells? Arrays in, numbers out."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from omicsfm import contract
from omicsfm.tl._screen_contrasts import make_contrasts

MIN_CONTROL = 16  # fewer make no pseudo-perturbations worth the name


def split_half(
    x: sparse.csr_matrix | np.ndarray,
    code: np.ndarray,
    weight: sparse.csr_matrix,
    *,
    n_splits: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Correlate the effects of random halves, each of which has its own half of the controls.

    One control for both halves would put its own noise into both effects, which then agree without any effect.

    Parameters
    ----------
    x
        (n_cells, n_genes), log-normalised.
    code
        (n_cells,) group of each cell; every group in use has two cells or more.
    weight
        (n_units, n_groups): effects are ``weight @ means of the groups``.
    n_splits
        Number of random halvings.

    Returns
    -------
    Pearson correlation over genes (n_units, n_splits); NaN where an effect has no spread.
    """
    n_groups = weight.shape[1]
    n = np.bincount(code, minlength=n_groups)
    used = np.asarray(abs(weight).sum(axis=0)).ravel() > 0
    start = np.cumsum(n) - n
    sum_g = _sums(x, code, np.ones(len(code), dtype=bool), n_groups)
    out = np.empty((weight.shape[0], n_splits))
    for s in range(n_splits):
        order = np.lexsort((rng.random(len(code)), code))
        rank = np.empty(len(code), dtype=np.intp)
        rank[order] = np.arange(len(code))
        # The odd cell of a group goes to either half.
        in_first = (rank - start[code] + rng.integers(0, 2, n_groups)[code]) % 2 == 0
        first = _sums(x, code, in_first & used[code], n_groups)
        n_first = np.bincount(code[in_first], minlength=n_groups)
        halves = [
            weight @ (total / np.maximum(size, 1)[:, None])
            for total, size in ((first, n_first), (sum_g - first, n - n_first))
        ]
        a, b = (half - half.mean(axis=1, keepdims=True) for half in halves)
        length = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
        out[:, s] = np.divide((a * b).sum(axis=1), length, out=np.full(len(a), np.nan), where=length > 0)
    return out


def null_split_half(
    x: sparse.csr_matrix | np.ndarray,
    replicate: np.ndarray,
    share: float,
    *,
    n_draws: int,
    n_splits: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Do the same to pseudo-perturbations: random control cells against half of the controls.

    Parameters
    ----------
    x
        (n_control, n_genes), controls of one context.
    replicate
        (n_control,) replicate of each; pseudo-perturbations are spread over replicates as the controls are.
    share
        Size of a pseudo-perturbation as a share of the controls, at most 1/2.

    Returns
    -------
    Mean correlation over splits (n_draws,).
    """
    x = _compact(x)
    names, rep = np.unique(replicate, return_inverse=True)
    n = np.bincount(rep)
    start = np.cumsum(n) - n
    per_round = max(int(0.5 / share), 1)
    found: list[np.ndarray] = []
    for _ in range(-(-n_draws // per_round)):
        order = np.lexsort((rng.random(len(rep)), rep))
        rank = np.empty(len(rep))
        rank[order] = np.arange(len(rep)) - start[rep[order]]
        # Ranks spread over 0..1 within a replicate: the first half are controls, then one pseudo-perturbation after
        # the other; a random shift lets the odd cells of small replicates fall to either.
        place = (rank + rng.random(len(n))[rep]) / n[rep]
        which = np.where(place < 0.5, 0, 1 + np.floor((place - 0.5) / share)).astype(np.intp)
        kept = which <= per_round
        code = (which * len(n) + rep)[kept]
        design = pd.DataFrame(
            {
                "perturbation": [contract.CONTROL if k == 0 else str(k) for k in range(per_round + 1) for _ in names],
                "context": contract.EVERYWHERE,
                "dose": np.nan,
                "replicate": list(names) * (per_round + 1),
            }
        )
        size = np.bincount(code, minlength=len(design))
        weight = make_contrasts(design, np.where(size > 1, size, 0)).weight
        if weight.shape[0]:
            found.append(split_half(x[kept], code, weight, n_splits=n_splits, rng=rng).mean(axis=1))
    every = np.concatenate(found) if found else np.empty(0)
    return every[np.isfinite(every)][:n_draws]


def spearman_brown(r: np.ndarray) -> np.ndarray:
    """Reliability of the whole from the correlation of its halves, 2 r / (1 + r), not below -1."""
    r = np.maximum(np.asarray(r, dtype=np.float64), -1 / 3)
    return 2 * r / (1 + r)


def cells_for(reliability: np.ndarray, n_cells: np.ndarray, *, wanted: float = 0.8) -> np.ndarray:
    """Cells for a wanted reliability, by the Spearman-Brown prophecy; infinite where there is no effect to see.

    The controls are taken to grow along.
    """
    seen = np.clip(reliability, 1e-12, 1 - 1e-12)
    times = wanted * (1 - seen) / (seen * (1 - wanted))
    return np.where(np.isnan(reliability), np.nan, np.where(reliability > 0, np.ceil(n_cells * times - 1e-9), np.inf))


def _compact(x: sparse.csr_matrix | np.ndarray) -> np.ndarray:
    """Give cells the same correlations in fewer columns, where there are more genes than cells."""
    dense = x.toarray() if isinstance(x, sparse.csr_matrix) else np.asarray(x)
    if dense.shape[1] <= 2 * dense.shape[0]:
        return dense
    dense = dense - dense.mean(axis=1, keepdims=True)
    value, vector = np.linalg.eigh(dense @ dense.T)
    z = vector * np.sqrt(np.maximum(value, 0) / 2)
    return np.hstack([z, -z])  # inner products as they were, and rows of mean zero, as those of the centred cells


def _sums(x: sparse.csr_matrix | np.ndarray, code: np.ndarray, kept: np.ndarray, n_groups: int) -> np.ndarray:
    """Sum the cells of every group (n_groups, n_genes)."""
    cells = np.flatnonzero(kept)
    member = sparse.csr_matrix((np.ones(len(cells)), (code[cells], cells)), shape=(n_groups, len(code)))
    total = member @ x
    return total.toarray() if sparse.issparse(total) else np.asarray(total)
