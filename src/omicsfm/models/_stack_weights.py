"""How much each member counts: non-negative weights from held-out evidence. Arrays only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.optimize import minimize, nnls
from scipy.special import log_softmax

N_FOLDS = 5
N_ERRORS = 2.0  # held-out cells resemble one another more than new batches resemble them: one error is too few
MIN_WEIGHT = 0.02  # less than that is not worth the cost of a member
MAX_SLOPE = 1e3
HEAVY = 1e3  # of the row by which NNLS makes weights add up to 1


class Evidence(Protocol):
    """What held-out units say of some members, by position.

    Attributes
    ----------
    n : number of units (cells).
    """

    @property
    def n(self) -> int:
        """Number of units."""

    def fit(self, members: Sequence[int], units: np.ndarray) -> np.ndarray:
        """Give the best weights (n_members,), not negative, on some units."""

    def score(self, members: Sequence[int], weights: np.ndarray, units: np.ndarray) -> np.ndarray:
        """Give a score per unit; higher is better."""


@dataclass(frozen=True)
class Matching:
    """Whether halves of cells find each other: a conditional logit with coefficients that are not negative.

    Attributes
    ----------
    distance : one array (n_members, n, n) per choice set: squared distances of first to second halves, partners on the
        diagonal. Units are the cells of all choice sets, one after the other.

    References
    ----------
    McFadden (1974), in Frontiers in Econometrics, p. 105 (the likelihood is concave in the coefficients).
    """

    distance: list[np.ndarray]

    @property
    def n(self) -> int:
        """Number of cells."""
        return sum(d.shape[1] for d in self.distance)

    def fit(self, members: Sequence[int], units: np.ndarray) -> np.ndarray:
        """Give coefficients of the distances; their sum is the inverse temperature."""
        use = np.zeros(self.n, dtype=bool)
        use[units] = True
        sets, start = [], 0
        for d in self.distance:
            own = use[start : start + d.shape[1]].astype(np.float64)
            start += d.shape[1]
            if own.any():
                sets.append((d[list(members)], own))

        def loss(slope: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = 0.0, np.zeros(len(slope))
            for d, own in sets:
                utility = -np.tensordot(slope, d, 1)
                for axis in (0, 1):
                    log_p = log_softmax(utility, axis=axis)
                    weight = own[None, :] if axis == 0 else own[:, None]
                    value -= float(own @ np.diag(log_p)) / 2
                    gradient += (np.einsum("mii,i->m", d, own) - np.einsum("mij,ij->m", d, np.exp(log_p) * weight)) / 2
            return value / len(units), gradient / len(units)

        start_at = np.full(len(members), 1.0)
        return minimize(loss, start_at, jac=True, method="L-BFGS-B", bounds=[(0, MAX_SLOPE)] * len(members)).x

    def score(self, members: Sequence[int], weights: np.ndarray, units: np.ndarray) -> np.ndarray:
        """Mean log-likelihood of the partner, looked for from either half."""
        out = []
        for d in self.distance:
            utility = -np.tensordot(weights, d[list(members)], 1)
            out.append((np.diag(log_softmax(utility, axis=0)) + np.diag(log_softmax(utility, axis=1))) / 2)
        return np.concatenate(out)[units]


@dataclass(frozen=True)
class Regression:
    """Squared error of weighted mean predictions, from its moments per cell.

    Attributes
    ----------
    truth_n, cross_nm, gram_nmm : per cell and per measured feature, of standardised truth and predictions.

    References
    ----------
    Breiman (1996), Mach. Learn. 24:49 (stacked regressions); Lawson & Hanson (1974), ch. 23 (NNLS).
    """

    truth_n: np.ndarray
    cross_nm: np.ndarray
    gram_nmm: np.ndarray

    @classmethod
    def of(cls, truth_ng: np.ndarray, predicted_mng: np.ndarray) -> Regression:
        """Take truth (NaN: not measured) and predictions on one scale; a feature that is constant does not count."""
        seen = ~np.isnan(truth_ng)
        sd = np.nanstd(np.where(seen.any(axis=0), truth_ng, 0.0), axis=0)
        inverse = np.where(sd > 1e-9, 1 / np.maximum(sd, 1e-9), 0.0)
        y = np.where(seen, truth_ng, 0.0) * inverse
        p = np.where(seen, predicted_mng, 0.0) * inverse
        count = np.maximum((seen & (inverse > 0)).sum(axis=1), 1)
        cross = np.einsum("ng,mng->nm", y, p) / count[:, None]
        gram = np.einsum("mng,lng->nml", p, p, optimize=True) / count[:, None, None]
        return cls((y**2).sum(axis=1) / count, cross, gram)

    @property
    def n(self) -> int:
        """Number of cells."""
        return len(self.truth_n)

    def fit(self, members: Sequence[int], units: np.ndarray) -> np.ndarray:
        """Give weights that add up to 1."""
        use = list(members)
        if len(use) == 1:
            return np.ones(1)
        value, vector = np.linalg.eigh(self.gram_nmm[units].mean(axis=0)[np.ix_(use, use)])
        root = np.sqrt(np.maximum(value, 1e-9 * max(value.max(), 1e-12)))
        target = vector.T @ self.cross_nm[units].mean(axis=0)[use] / root
        left = np.vstack([root[:, None] * vector.T, np.full(len(use), HEAVY * root.max())])
        weight = nnls(left, np.append(target, HEAVY * root.max()))[0]
        return weight / weight.sum()

    def score(self, members: Sequence[int], weights: np.ndarray, units: np.ndarray) -> np.ndarray:
        """Squared error, negative."""
        use = list(members)
        gram = self.gram_nmm[units][:, use][:, :, use]
        error = np.einsum("m,nml,l->n", weights, gram, weights) - 2 * self.cross_nm[units][:, use] @ weights
        return -(self.truth_n[units] + error)


@dataclass(frozen=True)
class Mixture:
    """Log-loss of a weighted mean of probabilities.

    Attributes
    ----------
    probability_nm : what each member gave the true label of each cell.
    """

    probability_nm: np.ndarray

    @property
    def n(self) -> int:
        """Number of cells."""
        return len(self.probability_nm)

    def fit(self, members: Sequence[int], units: np.ndarray) -> np.ndarray:
        """Give weights that add up to 1, by EM for mixing proportions."""
        p = np.maximum(self.probability_nm[units][:, list(members)], 1e-6)
        weight = np.full(p.shape[1], 1 / p.shape[1])
        for _ in range(200):
            share = p * weight
            weight = (share / share.sum(axis=1, keepdims=True)).mean(axis=0)
        return weight

    def score(self, members: Sequence[int], weights: np.ndarray, units: np.ndarray) -> np.ndarray:
        """Log-probability of the true label."""
        return np.log(np.maximum(self.probability_nm[units][:, list(members)], 1e-6) @ weights)


def weigh(evidence: Evidence, n_members: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose members and weights: the first alone, unless others improve the held-out score beyond its noise.

    Members enter one at a time, the most useful first, each time if the cross-fitted score improves on average by more
    than 2 standard errors of the paired difference per cell.

    Returns
    -------
    Weights (n_members,), not negative, that add up to 1; and the mean cross-fitted score of each member alone.
    """
    fold = np.random.default_rng(seed).permutation(evidence.n) % N_FOLDS
    alone = np.array([_cross_fitted(evidence, [m], fold) for m in range(n_members)])
    members, best = [0], alone[0]
    while len(members) < n_members:
        gains = {m: _cross_fitted(evidence, [*members, m], fold) - best for m in range(n_members) if m not in members}
        m = max(gains, key=lambda i: float(gains[i].mean()))
        gain = gains[m]
        if not gain.mean() > N_ERRORS * gain.std(ddof=1) / np.sqrt(len(gain)):
            break
        members, best = [*members, m], best + gain
    weight = np.zeros(n_members)
    if len(members) > 1:
        weight[members] = evidence.fit(members, np.arange(evidence.n))
        weight[weight < MIN_WEIGHT * weight.sum()] = 0.0
    if not weight.any():
        weight[0] = 1.0
    return weight / weight.sum(), alone.mean(axis=1)


def _cross_fitted(evidence: Evidence, members: list[int], fold: np.ndarray) -> np.ndarray:
    """Score of every cell under weights fitted on the other folds."""
    out = np.empty(len(fold))
    for i in range(N_FOLDS):
        test = np.flatnonzero(fold == i)
        out[test] = evidence.score(members, evidence.fit(members, np.flatnonzero(fold != i)), test)
    return out
