"""Energy distance between groups of cells, and the permutation test that goes with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist, pdist, squareform
from scipy.stats import false_discovery_control

from omicsfm._errors import InputError
from omicsfm._progress import progress
from omicsfm.metrics._pairwise_blocks import grouped, pair_means

_AT_ONCE = 1000  # permutations in one matrix product


def e_distance(
    x: Any, groups: Any, *, reference: Any = None, squared: bool = False, device: str | None = None
) -> pd.DataFrame | pd.Series:
    """Energy distance, ``2 E|X - Y| - E|X - X'| - E|Y - Y'|``, between groups of cells.

    The unbiased estimate: X and X' are distinct cells. Its expectation does not depend on how many cells there are and
    is 0 for two groups of one kind, so that an estimate may be below 0.

    Parameters
    ----------
    x
        (n, d) dense points, as 50 principal components.
    groups
        (n,) labels.
    reference
        A group; only distances to it are computed. None: between all groups.
    squared
        Take the square of the Euclidean distance. That is twice the squared distance of the two means, less what noise
        adds to it: it sees no other difference. Time grows with n, not with its square.
    device
        Of torch, as "cuda"; None: the CPU.

    Returns
    -------
    DataFrame (groups, groups), symmetric, 0 on the diagonal; or with a reference a Series over the other groups. NaN
    where a group has one cell, which has no distance to another of its group. Unit: that of `x` (squared: its square).

    Raises
    ------
    InputError
        On NaN, missing labels, rows that do not agree or an absent reference.

    References
    ----------
    Szekely and Rizzo 2013, doi:10.1016/j.jspi.2013.03.018; Peidli et al. 2024, doi:10.1038/s41592-023-02144-y, which
    has the squared distance and pairs of a cell with itself.
    """
    x_nd, label_n, names, ref = grouped("e_distance", x, groups, reference)
    if squared:
        distance = _squared(x_nd, label_n)
    else:
        mean = pair_means(x_nd, label_n, lambda d2: d2.sqrt_(), reference=ref, device=device)
        distance = 2 * mean - (np.diag(mean)[:, None] + np.diag(mean))
        np.fill_diagonal(distance, 0)
    if ref is None:
        return pd.DataFrame(distance, index=names, columns=names)
    return pd.Series(distance[:, ref], index=names, name="e_distance").drop(reference)


def _squared(x_nd: np.ndarray, label_n: np.ndarray) -> np.ndarray:
    """2 |mean of X - mean of Y|^2, less the variances of the two means."""
    size = np.bincount(label_n)
    x_nd = x_nd - x_nd.mean(axis=0)
    mean = np.stack([np.bincount(label_n, weights=column) for column in x_nd.T], axis=1) / size[:, None]
    spread = np.bincount(label_n, weights=((x_nd - mean[label_n]) ** 2).sum(axis=1))
    pairs = size * (size - 1.0)
    noise = np.divide(spread, pairs, out=np.full(len(size), np.nan), where=pairs > 0)
    distance = 2 * (cdist(mean, mean, "sqeuclidean") - (noise[:, None] + noise))
    np.fill_diagonal(distance, 0)
    return distance


def e_test(x: Any, groups: Any, reference: Any, *, n_permutations: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Test for every group whether its cells and those of the reference come from one distribution.

    The labels of a group's and the reference's cells are permuted; their distances are computed once.

    Parameters
    ----------
    x
        (n, d) dense points.
    groups
        (n,) labels.
    reference
        Label of the group that the others are compared with.
    n_permutations
        Number of permutations; no p-value is below 1 / (n_permutations + 1).
    seed
        Of the permutations.

    Returns
    -------
    DataFrame, index the other groups: `e_distance` (as :func:`e_distance`), `p_value` (share of permutations with as
    large a distance, the data as given counted among them), `p_adjusted` (Benjamini-Hochberg over the groups). NaN for
    a group of one cell. Memory and time grow with the square of the cells of a group and the reference.

    Raises
    ------
    InputError
        On NaN, missing labels, rows that do not agree, an absent reference or no permutations.

    References
    ----------
    Peidli et al. 2024, doi:10.1038/s41592-023-02144-y; Phipson and Smyth 2010, doi:10.2202/1544-6115.1585.
    """
    x_nd, label_n, names, ref = grouped("e_test", x, groups, reference)
    if n_permutations < 1:
        raise InputError(f"e_test: n_permutations must be 1 or more, found {n_permutations}. Fix: give 1000.")
    rng = np.random.default_rng(seed)
    out = pd.DataFrame(np.nan, index=names, columns=["e_distance", "p_value", "p_adjusted"]).drop(reference)
    control = x_nd[label_n == ref]
    for name in progress(list(out.index), desc="e_test"):
        own = x_nd[label_n == names.get_loc(name)]
        if min(len(own), len(control)) > 1:
            out.loc[name, ["e_distance", "p_value"]] = _permuted(own, control, n_permutations, rng)
    tested = out["p_value"].notna()
    if tested.any():
        out.loc[tested, "p_adjusted"] = false_discovery_control(out.loc[tested, "p_value"])
    return out


def _permuted(
    own: np.ndarray, control: np.ndarray, n_permutations: int, rng: np.random.Generator
) -> tuple[float, float]:
    """E-distance and p-value. Of labels z, pairs within the group sum to z'Dz; all else follows from row sums of D."""
    n, m = len(own), len(control)
    far = squareform(pdist(np.concatenate([own, control])))
    row, total = far.sum(axis=1), far.sum()
    far = far.astype(np.float32)

    def distance(members: np.ndarray) -> np.ndarray:
        z = np.zeros((n + m, len(members)), dtype=np.float32)
        z[members.T, np.arange(len(members))] = 1
        inside = np.einsum("ip,ip->p", z, far @ z, dtype=np.float64)
        of_group = row[members].sum(axis=1)
        across, outside = of_group - inside, total - 2 * of_group + inside
        return 2 * across / (n * m) - inside / (n * (n - 1)) - outside / (m * (m - 1))

    found = distance(np.arange(n)[None])[0]
    as_far = 0
    tolerance = 1e-6 * total / (n + m) ** 2  # two ways to sum the same in float32 are not equal
    for start in range(0, n_permutations, _AT_ONCE):
        times = range(start, min(start + _AT_ONCE, n_permutations))
        members = np.stack([rng.choice(n + m, n, replace=False, shuffle=False) for _ in times])
        as_far += int((distance(members) >= found - tolerance).sum())
    return float(found), (as_far + 1) / (n_permutations + 1)
