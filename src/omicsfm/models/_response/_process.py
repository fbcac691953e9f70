"""A Gaussian process over rows with a sum of kernels, its weights chosen by what it says of rows left out.

References
----------
Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, eq. 2.25, 2.26 and 5.12 (leaving one out); blocks
left out: the same with the inverse of a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from omicsfm import hub
from omicsfm.models._response._kinds import Rehearsal

if TYPE_CHECKING:
    import torch

MAX_ITER = 30
_ROWS_FOR_BANDS = 100
BANDS = (4, 16)  # where bands of components end
SMALLEST = 1e-3  # a kernel that explains less than this share of the noise has weight 0


def choose_weights(kernels: np.ndarray, y: np.ndarray, left_out: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Choose the weight of each kernel by the squared error on what is left out.

    Parameters
    ----------
    kernels
        (m, n, n), each of mean diagonal 1 or less.
    y
        (n, n_components).
    left_out
        Ways of leaving out, each a list of groups of rows; their relative errors are added.

    Returns
    -------
    (m,) weights in units of the noise, 0 where a kernel is of no use.
    """
    import torch  # heavy: loaded when something is fitted

    k, t = torch.tensor(kernels), torch.tensor(y)
    e = torch.eye(len(t), dtype=torch.float64)
    total = float((t**2).sum()) or 1.0
    ways = [batches(groups) for groups in left_out]
    log_w = torch.full((len(k),), -2.0, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_w], max_iter=MAX_ITER, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        inverse = torch.linalg.inv(torch.einsum("m,mij->ij", log_w.clamp(-12, 8).exp(), k) + e)
        alpha = inverse @ t
        value = sum(_squared(inverse, alpha, way) for way in ways) / total
        # A touch of shrinkage keeps weights that nothing depends on from drifting.
        value = value + 1e-5 * (log_w + 2).square().mean()
        value.backward()
        return value

    optimiser.step(loss)
    weights = log_w.detach().clamp(-12, 8).exp().numpy()
    return np.where(weights < SMALLEST, 0.0, weights)


def batches(groups: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Stack groups of one size, so that they are solved together."""
    sizes = sorted({len(g) for g in groups})
    return [np.stack([g for g in groups if len(g) == size]) for size in sizes]


def _squared(inverse: torch.Tensor, alpha: torch.Tensor, way: list[np.ndarray]) -> torch.Tensor:
    return sum((_errors(inverse, alpha, rows) ** 2).sum() for rows in way)  # type: ignore[return-value]


def _errors(inverse: torch.Tensor, alpha: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
    """Give y minus its prediction for groups of rows (n_groups, size) left out, (n_groups, size, n_components)."""
    import torch

    index = torch.as_tensor(rows)
    if rows.shape[1] == 1:
        return alpha[index] / torch.diagonal(inverse)[index][..., None]
    block = inverse[index[:, :, None], index[:, None, :]]
    return torch.linalg.solve(block, alpha[index])


@hub.state
@dataclass(frozen=True)
class Process:
    """A process conditioned on rows.

    Attributes
    ----------
    weights : kernel -> weight.
    noise : (n,) variance of the noise of each row.
    inverse : (n, n) of the covariance with noise.
    alpha : (n, n_components) its product with the effects.
    """

    weights: dict[str, float]
    noise: np.ndarray
    inverse: np.ndarray
    alpha: np.ndarray

    def predict(self, cross: dict[str, np.ndarray], own: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Give mean (m, n_components) and variance before noise (m,) of rows.

        Parameters
        ----------
        cross, own
            Kernels between the rows and those learnt from, (m, n), and among the rows, (m, m).
        """
        k = weighted(self.weights, cross)
        variance = np.diag(weighted(self.weights, own)) - np.einsum("ij,jk,ik->i", k, self.inverse, k, optimize=True)
        return k @ self.alpha, np.maximum(variance, 0)

    def left_out(self, y: np.ndarray, way: Rehearsal) -> tuple[np.ndarray, np.ndarray]:
        """Predict rows from all rows outside of their block; NaN where a row was not asked."""
        import torch

        inverse, alpha = torch.tensor(self.inverse), torch.tensor(self.alpha)
        mean, variance = np.full(y.shape, np.nan), np.full(len(y), np.nan)
        pairs = list(zip(way.blocks, way.asked, strict=True))
        for size in sorted({len(block) for block in way.blocks}):
            chosen = [pair for pair in pairs if len(pair[0]) == size]
            rows = np.stack([block for block, _ in chosen])
            error = _errors(inverse, alpha, rows).numpy()
            index = torch.as_tensor(rows)
            spread = torch.linalg.inv(inverse[index[:, :, None], index[:, None, :]])
            own = torch.diagonal(spread, dim1=1, dim2=2).numpy() - self.noise[rows]
            for (block, asked), e, v in zip(chosen, error, own, strict=True):
                wanted = np.isin(block, asked)
                mean[block[wanted]] = y[block[wanted]] - e[wanted]
                variance[block[wanted]] = v[wanted]
        return mean, np.maximum(variance, 0)


@hub.state
@dataclass(frozen=True)
class Bands:
    """One process for each band of components: what is signal in the first ones is noise in the last.

    Attributes
    ----------
    parts : of each band.
    shares : (n_bands,) of the effects' squared size, by which variances are averaged.
    """

    parts: tuple[Process, ...]
    shares: np.ndarray

    @property
    def weights(self) -> dict[str, float]:
        """Mean weight of each kernel, bands counted by their share."""
        names = self.parts[0].weights
        return {n: float(sum(s * p.weights[n] for s, p in zip(self.shares, self.parts, strict=True))) for n in names}

    def predict(self, cross: dict[str, np.ndarray], own: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """As of one process; the variance is in units of the noise."""
        return self._joined([part.predict(cross, own) for part in self.parts])

    def weight_on(self, here: np.ndarray, cross: dict[str, np.ndarray]) -> np.ndarray:
        """Give the total weight of each prediction on groups of the rows learnt from, (m, n_groups).

        Parameters
        ----------
        here
            (n, n_groups), 1 where a row is of the group.
        cross
            Kernels between the rows and those learnt from, (m, n).
        """
        found = [weighted(part.weights, cross) @ (part.inverse @ here) for part in self.parts]
        return np.average(np.stack(found), axis=0, weights=self.shares)

    def left_out(self, y: np.ndarray, way: Rehearsal) -> tuple[np.ndarray, np.ndarray]:
        """As of one process."""
        ends = np.cumsum([part.alpha.shape[1] for part in self.parts])[:-1]
        bands = np.split(y, ends, axis=1)
        return self._joined([part.left_out(band, way) for part, band in zip(self.parts, bands, strict=True)])

    def _joined(self, found: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        mean = np.hstack([m for m, _ in found])
        return mean, np.average(np.stack([v for _, v in found]), axis=0, weights=self.shares)


def bands_of(y: np.ndarray) -> list[np.ndarray]:
    """Cut components, largest first, into bands of like size: the first few, some more, the rest; one for few rows."""
    if len(y) < _ROWS_FOR_BANDS:
        return [y]
    return [band for band in np.split(y, [e for e in BANDS if e < y.shape[1]], axis=1) if band.shape[1]]


def weighted(weights: dict[str, float], kernels: dict[str, np.ndarray]) -> np.ndarray:
    """Sum kernels with their weights."""
    out = np.zeros_like(next(iter(kernels.values())))
    for name, weight in weights.items():
        if weight:
            out += weight * kernels[name]
    return out


def condition(weights: dict[str, float], kernels: dict[str, np.ndarray], noise: np.ndarray, y: np.ndarray) -> Process:
    """Learn from the effects `y` (n, n_components) of rows with these kernels (n, n) and noise (n,)."""
    inverse = np.linalg.inv(weighted(weights, kernels) + np.diag(noise))
    return Process(weights, noise, inverse, inverse @ y)
