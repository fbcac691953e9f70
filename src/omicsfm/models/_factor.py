"""Probabilistic multi-view factor analysis with missing views, fitted on moments by EM: arrays only.

For view m of a cell:  x_m = mu_m + W_m z + e_m,  z ~ N(0, I),  e_m ~ N(0, Psi_m) with a full Psi_m, so that what is
private to a view does not enter z. With two views and no missing one the maximum is canonical correlation analysis
(Bach & Jordan 2005, TR 688, UC Berkeley). Cells that lack views enter with the views they have. A ridge on Psi_m
(inverse-Wishart prior) keeps small samples from finding correlations that are not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import linalg

from omicsfm import hub

Pattern = tuple[str, ...]


class Moments:
    """Count, sum and second moment of the stacked views of each pattern: ``update``, ``merge``; cost O(n d^2)."""

    def __init__(self, width: Mapping[str, int]) -> None:
        self.width = dict(width)
        self.by_pattern: dict[Pattern, tuple[int, np.ndarray, np.ndarray]] = {}

    def spans(self, pattern: Pattern) -> dict[str, slice]:
        """Where each view of a pattern lies in the stacked vector."""
        edge = np.cumsum([0, *(self.width[m] for m in pattern)])
        return {m: slice(int(edge[i]), int(edge[i + 1])) for i, m in enumerate(pattern)}

    def update(self, pattern: Pattern, x_nd: np.ndarray) -> None:
        """Take a block of cells measured in exactly `pattern`, views side by side in that order."""
        self._add(pattern, len(x_nd), x_nd.sum(axis=0), x_nd.T @ x_nd)

    def merge(self, other: Moments, *, sign: int = 1) -> Moments:
        """Give the moments of both together (``sign=-1``: of what is left without the other)."""
        out = Moments(self.width)
        out.by_pattern = dict(self.by_pattern)
        for pattern, (n, s_d, s_dd) in other.by_pattern.items():
            out._add(pattern, sign * n, sign * s_d, sign * s_dd)
        out.by_pattern = {p: m for p, m in out.by_pattern.items() if m[0] > 0}
        return out

    def _add(self, pattern: Pattern, n: int, s_d: np.ndarray, s_dd: np.ndarray) -> None:
        if pattern in self.by_pattern:
            n0, s0_d, s0_dd = self.by_pattern[pattern]
            n, s_d, s_dd = n0 + n, s0_d + s_d, s0_dd + s_dd
        self.by_pattern[pattern] = (n, s_d, s_dd)


@hub.state
@dataclass(frozen=True)
class FactorModel:
    """Fitted parameters.

    Attributes
    ----------
    mean, loading, noise : per view, mu (d,), W (d, k) and Psi (d, d).
    log_likelihood : penalised log-likelihood per cell after each iteration.
    """

    mean: dict[str, np.ndarray]
    loading: dict[str, np.ndarray]
    noise: dict[str, np.ndarray]
    log_likelihood: list[float]

    @property
    def n_latent(self) -> int:
        """Size of z."""
        return next(iter(self.loading.values())).shape[1]

    def posterior(self, pattern: Pattern) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Give what turns the stacked views of a pattern into z.

        Returns
        -------
        gain (d, k), offset (k,), covariance (k, k): the posterior mean is ``x @ gain + offset``.
        """
        k = self.n_latent
        if not pattern:
            return np.zeros((0, k)), np.zeros(k), np.eye(k)
        weighted = [linalg.solve(self.noise[m], self.loading[m], assume_a="pos") for m in pattern]
        precision = np.eye(k) + sum(self.loading[m].T @ g for m, g in zip(pattern, weighted, strict=True))
        covariance = np.linalg.inv(precision)
        covariance = (covariance + covariance.T) / 2
        gain = np.vstack(weighted) @ covariance
        return gain, -np.concatenate([self.mean[m] for m in pattern]) @ gain, covariance

    def only(self, views: Pattern) -> FactorModel:
        """Give the model of some of the views."""
        mean, loading, noise = (
            {m: v for m, v in part.items() if m in views} for part in (self.mean, self.loading, self.noise)
        )
        return FactorModel(mean, loading, noise, self.log_likelihood)

    def reliability(self, pattern: Pattern) -> np.ndarray:
        """Share of each factor's variance (k,) that the views of a pattern determine: 1 - posterior variance."""
        return 1 - np.diag(self.posterior(pattern)[2])


def pooled(moments: Moments) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[tuple[str, str], np.ndarray]]:
    """Mean and covariance of each view over all its cells, and cross-covariances over the cells that have both."""
    n: dict[str, int] = {}
    first: dict[str, np.ndarray] = {}
    second: dict[str, np.ndarray] = {}
    pair: dict[tuple[str, str], list[np.ndarray]] = {}
    for pattern, (count, s_d, s_dd) in moments.by_pattern.items():
        span = moments.spans(pattern)
        for a in pattern:
            n[a] = n.get(a, 0) + count
            first[a] = first.get(a, 0) + s_d[span[a]]
            second[a] = second.get(a, 0) + s_dd[span[a], span[a]]
        for a, b in combinations(pattern, 2):
            new = [np.array(count), s_d[span[a]], s_d[span[b]], s_dd[span[a], span[b]]]
            pair[a, b] = [x + y for x, y in zip(pair[a, b], new, strict=True)] if (a, b) in pair else new
    mean = {a: first[a] / n[a] for a in n}
    covariance = {a: second[a] / n[a] - np.outer(mean[a], mean[a]) for a in n}
    cross = {key: s_ab / k - np.outer(s_a / k, s_b / k) for key, (k, s_a, s_b, s_ab) in pair.items()}
    return mean, covariance, cross


def fit_factors(
    moments: Moments,
    *,
    n_latent: int,
    ridge: float,
    max_iter: int = 50,
    tol: float = 1e-4,
    start: FactorModel | None = None,
) -> FactorModel:
    """Maximise the penalised likelihood by EM (each iteration costs O(d^3), whatever the number of cells).

    Parameters
    ----------
    moments
        Moments of all cells by pattern.
    n_latent
        Size of z at the start; directions that carry nothing are dropped by :func:`prune`.
    ridge
        Prior noise, as a share of each view's mean variance.
    tol
        Stop when the penalised log-likelihood per cell rises by less than this.
    start
        Where to start from (else regularised canonical correlation of the pooled covariances).
    """
    mean, covariance, cross = pooled(moments)
    prior = {m: ridge * np.trace(c) / len(c) for m, c in covariance.items()}
    model = start or _canonical_start(mean, covariance, cross, prior, n_latent)
    history: list[float] = []
    for _ in range(max_iter):
        model, value = _em_step(model, moments, prior)
        history.append(value)
        if len(history) > 1 and history[-1] - history[-2] < tol:
            break
    return FactorModel(model.mean, model.loading, model.noise, history)


def prune(model: FactorModel, min_reliability: float) -> FactorModel:
    """Rotate z to principal axes of the information of all views together and drop the axes below a reliability.

    The reliability of an axis is one minus its posterior variance given every view: 0 where data say nothing.
    """
    _, _, covariance = model.posterior(tuple(model.loading))
    variance, axes = np.linalg.eigh(covariance)
    keep = (1 - variance) >= min_reliability
    keep[0] = True
    axes = axes[:, keep]
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1, 1)
    dropped = {m: w - (w @ axes) @ axes.T for m, w in model.loading.items()}
    # What the dropped axes explained becomes noise of its view, so that the marginal covariances stay.
    noise = {m: p + dropped[m] @ dropped[m].T for m, p in model.noise.items()}
    return FactorModel(model.mean, {m: w @ axes for m, w in model.loading.items()}, noise, model.log_likelihood)


def with_view(
    model: FactorModel,
    name: str,
    parts: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
    *,
    ridge: float,
) -> FactorModel:
    """Add a view to a fitted model and change nothing else: one M-step for it, z being given by the other views.

    Parameters
    ----------
    name
        Of the new view.
    parts
        Blocks of cells: the new view (n, d), posterior means of z without it (n, k), and their covariance (k, k).
    ridge
        As in :func:`fit_factors`.
    """
    k = model.n_latent
    zz, n = np.zeros((k + 1, k + 1)), 0
    xz: np.ndarray | None = None
    xx: np.ndarray | None = None
    for x_nd, z_nk, covariance_kk in parts:
        z1 = np.hstack([z_nk, np.ones((len(z_nk), 1))])
        zz += len(x_nd) * np.pad(covariance_kk, (0, 1)) + z1.T @ z1
        xz = x_nd.T @ z1 if xz is None else xz + x_nd.T @ z1
        xx = x_nd.T @ x_nd if xx is None else xx + x_nd.T @ x_nd
        n += len(x_nd)
    if xz is None or xx is None:
        raise ValueError("no cells to learn the view from")
    coefficient = linalg.solve(zz + 1e-9 * n * np.eye(k + 1), xz.T, assume_a="pos").T
    mean = xz[:, k] / n
    total = float(np.trace(xx / n - np.outer(mean, mean))) / len(mean)
    residual = (xx - coefficient @ xz.T) / n
    noise = _positive(residual, 0.0) + max(ridge * total, 1e-10) * np.eye(len(mean))
    return FactorModel(
        {**model.mean, name: coefficient[:, k]},
        {**model.loading, name: coefficient[:, :k]},
        {**model.noise, name: noise},
        model.log_likelihood,
    )


def _canonical_start(
    mean: dict[str, np.ndarray],
    covariance: dict[str, np.ndarray],
    cross: dict[tuple[str, str], np.ndarray],
    prior: dict[str, float],
    n_latent: int,
) -> FactorModel:
    views = list(covariance)
    edge = np.cumsum([0, *(len(covariance[m]) for m in views)])
    root = {m: np.linalg.cholesky(covariance[m] + (prior[m] + 1e-10) * np.eye(len(covariance[m]))) for m in views}
    correlation = np.eye(edge[-1])
    for i, j in combinations(range(len(views)), 2):
        a, b = views[i], views[j]
        block = cross.get((a, b), cross[b, a].T if (b, a) in cross else None)
        if block is not None:
            half = linalg.solve_triangular(root[a], block, lower=True)
            block = linalg.solve_triangular(root[b], half.T, lower=True).T
            correlation[edge[i] : edge[i + 1], edge[j] : edge[j + 1]] = block
            correlation[edge[j] : edge[j + 1], edge[i] : edge[i + 1]] = block.T
    value, vector = linalg.eigh(correlation, subset_by_index=[max(0, int(edge[-1]) - n_latent), int(edge[-1]) - 1])
    value, vector = value[::-1], vector[:, ::-1]
    n_views = len(views)
    rho = np.clip((value - 1) / max(n_views - 1, 1), 1e-3, 0.99) if n_views > 1 else np.full(len(value), 0.9)
    loading, noise = {}, {}
    for i, m in enumerate(views):
        loading[m] = root[m] @ (vector[edge[i] : edge[i + 1]] * np.sqrt(rho * n_views))
        full = root[m] @ root[m].T
        noise[m] = _positive(full - loading[m] @ loading[m].T, max(prior[m], 1e-6 * np.trace(full) / len(full)))
    return FactorModel(mean, loading, noise, [])


def _positive(a_dd: np.ndarray, floor: float) -> np.ndarray:
    value, vector = np.linalg.eigh((a_dd + a_dd.T) / 2)
    return (vector * np.maximum(value, floor)) @ vector.T


def _em_step(model: FactorModel, moments: Moments, prior: dict[str, float]) -> tuple[FactorModel, float]:
    """One parameter-expanded EM step (Liu, Rubin & Wu 1998), and the objective of the model it started from."""
    k = model.n_latent
    views = list(model.loading)
    total_n, z_sum, z_square, objective = 0, np.zeros(k), np.zeros((k, k)), 0.0
    count = dict.fromkeys(views, 0)
    zz_of = {m: np.zeros((k + 1, k + 1)) for m in views}
    xz_of = {m: np.zeros((len(model.mean[m]), k + 1)) for m in views}
    xx_of = {m: np.zeros_like(model.noise[m]) for m in views}
    for pattern, (n, s_d, s_dd) in moments.by_pattern.items():
        gain, _, covariance = model.posterior(pattern)
        mu = np.concatenate([model.mean[m] for m in pattern])
        centred_d = s_d - n * mu
        centred_dd = s_dd - np.outer(s_d, mu) - np.outer(mu, s_d) + n * np.outer(mu, mu)
        objective += _log_likelihood(model, pattern, n, centred_dd)
        z_d = centred_d @ gain
        xz = centred_dd @ gain
        zz = n * covariance + gain.T @ xz
        augmented = np.block([[zz, z_d[:, None]], [z_d[None], np.array([[float(n)]])]])
        total_n, z_sum, z_square = total_n + n, z_sum + z_d, z_square + zz
        for m, span in moments.spans(pattern).items():
            count[m] += n
            zz_of[m] += augmented
            xz_of[m] += np.hstack([xz[span], centred_d[span, None]])
            xx_of[m] += centred_dd[span, span]
    z_mean = z_sum / total_n
    root = np.linalg.cholesky(z_square / total_n - np.outer(z_mean, z_mean) + 1e-9 * np.eye(k))
    mean, loading, noise = {}, {}, {}
    for m in views:
        coefficient = linalg.solve(zz_of[m] + 1e-9 * np.eye(k + 1), xz_of[m].T, assume_a="pos").T
        residual = (xx_of[m] - coefficient @ xz_of[m].T) / count[m]
        noise[m] = (residual + residual.T) / 2 + (prior[m] + 1e-10) * np.eye(len(residual))
        mean[m] = model.mean[m] + coefficient[:, k] + coefficient[:, :k] @ z_mean
        loading[m] = coefficient[:, :k] @ root
        objective -= 0.5 * count[m] * prior[m] * np.trace(linalg.inv(model.noise[m]))
    return FactorModel(mean, loading, noise, []), objective / total_n


def _log_likelihood(model: FactorModel, pattern: Pattern, n: int, centred_dd: np.ndarray) -> float:
    loading = np.vstack([model.loading[m] for m in pattern])
    sigma = linalg.block_diag(*(model.noise[m] for m in pattern)) + loading @ loading.T
    factor = linalg.cho_factor(sigma, lower=True)
    log_det = 2 * np.log(np.diag(factor[0])).sum()
    quadratic = np.trace(linalg.cho_solve(factor, centred_dd))
    return -0.5 * (n * (log_det + len(sigma) * np.log(2 * np.pi)) + quadratic)
