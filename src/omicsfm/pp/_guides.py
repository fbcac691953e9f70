"""Which guides a cell has: for each guide, where counts stop being background. Arrays in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import sparse
from scipy.special import gammaln, lambertw, log_ndtr, ndtr

from omicsfm import io

MIN_CELLS = 20  # with a count above the background: fewer do not fix two components
_MAX_ITER, _TOL = 200, 1e-6
_MIN_SPREAD = 0.25  # of log counts: narrower than any count of that size is known


@dataclass(frozen=True)
class Cut:
    """Where the counts of one guide are split.

    Attributes
    ----------
    threshold : smallest count that is signal.
    method : "mixture", or "threshold" where the mixture could not be fitted.
    separation : log2 of the median signal over the mean background count; NaN without a mixture.
    """

    threshold: int
    method: str
    separation: float = np.nan


def cut_of(count: np.ndarray, n_cells: np.ndarray, *, threshold: int = 5) -> Cut:
    """Split the non-zero counts of a guide into background and signal.

    Background is a Poisson without its zero, signal a log-normal cut into whole counts; EM on the histogram, from a
    start at `threshold`. Signal begins where its posterior passes one half and stays there.

    Parameters
    ----------
    count
        (n_values,) distinct counts, 1 and up, ascending.
    n_cells
        (n_values,) cells with each.
    threshold
        The cut where fewer than 20 cells reach it, where nothing lies below it, or where the fit does not put the
        signal above the background.

    References
    ----------
    A Poisson and a Gaussian on log counts are the mixture of Replogle et al. (2020), Nat. Biotechnol. 38:954.
    """
    high = count >= threshold
    if n_cells[high].sum() < MIN_CELLS or high.all():
        return Cut(threshold, "threshold")
    k, n, log_k = count.astype(np.float64), n_cells.astype(np.float64), np.log(count)
    resp = high.astype(np.float64)
    before = -np.inf
    for _ in range(_MAX_ITER):
        share = (n * resp).sum() / n.sum()
        back, sign = n * (1 - resp), n * resp
        if not 1e-9 < share < 1 - 1e-9:
            return Cut(threshold, "threshold")
        rate = _rate((back * k).sum() / back.sum())
        mean = (sign * log_k).sum() / sign.sum()
        spread = max(np.sqrt((sign * (log_k - mean) ** 2).sum() / sign.sum()), _MIN_SPREAD)
        low = np.log1p(-share) + k * np.log(rate) - gammaln(k + 1) - np.log(np.expm1(rate))
        top = np.log(share) + _log_normal(k, mean, spread)
        total = np.logaddexp(low, top)
        resp = np.exp(top - total)
        now = float((n * total).sum())
        if now - before < _TOL * abs(now):
            break
        before = now
    every = np.arange(1, int(k.max()) + 1)
    ratio = np.log(share) + _log_normal(every, mean, spread) - np.log1p(-share)
    ratio -= every * np.log(rate) - gammaln(every + 1) - np.log(np.expm1(rate))
    # Beyond the largest count of background; below the background the signal's tail may win again, and means nothing.
    cut = int(every[ratio <= 0].max(initial=0)) + 1
    separation = float(np.log2(np.exp(mean) / (rate / -np.expm1(-rate))))
    if separation <= 1 or not (k >= cut).any():
        return Cut(threshold, "threshold")
    return Cut(cut, "mixture", separation)


def cuts(x: sparse.csr_matrix | np.ndarray, *, threshold: int = 5) -> list[Cut]:
    """Split the counts (n_obs, n_guides) of every guide."""
    guides = io.canonical(x.T)
    found = []
    for start, stop in pairwise(guides.indptr):
        count, n_cells = np.unique(np.rint(guides.data[start:stop]).astype(np.int64), return_counts=True)
        found.append(cut_of(count[count > 0], n_cells[count > 0], threshold=threshold))
    return found


def above(x: sparse.csr_matrix | np.ndarray, threshold: np.ndarray, *, min_share: float) -> sparse.csr_matrix:
    """Tell which guides each cell has: bool (n_obs, n_guides), counts at the threshold or above it.

    Parameters
    ----------
    threshold
        (n_guides,) smallest count of signal.
    min_share
        Share of the cell's largest guide count below which a guide is ambient whatever its count: background rises with
        the amount of guides in a cell.
    """
    counts = io.canonical(x).tocoo()
    top = np.zeros(counts.shape[0])
    np.maximum.at(top, counts.row, counts.data)
    kept = (counts.data >= threshold[counts.col]) & (counts.data >= min_share * top[counts.row]) & (counts.data > 0)
    return sparse.csr_matrix(
        (np.ones(int(kept.sum()), dtype=bool), (counts.row[kept], counts.col[kept])), shape=counts.shape
    )


def _rate(mean: float) -> float:
    """Rate of a Poisson whose mean without zeros is given: the solution of mean = rate / (1 - exp(-rate))."""
    if mean < 1 + 1e-6:  # nothing but ones: the branch point, where the function below is not defined
        return 1e-6
    return float(mean + lambertw(-mean * np.exp(-mean)).real)


def _log_normal(k: np.ndarray, mean: float, spread: float) -> np.ndarray:
    """Log probability of whole counts k >= 1 under a log-normal rounded to them, given that it is not rounded to 0."""
    upper, lower = ((np.log(k + step) - mean) / spread for step in (0.5, -0.5))
    # The tail on the near side keeps its digits.
    near, far = np.where(lower > 0, -lower, upper), np.where(lower > 0, -upper, lower)
    log_near, log_far = log_ndtr(near), log_ndtr(far)
    mass = log_near + np.log(-np.expm1(np.minimum(log_far - log_near, -1e-12)))
    return mass - np.log(ndtr((mean - np.log(0.5)) / spread))
