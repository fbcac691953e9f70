"""Which features make the tokens: the most variable ones, judged inside each batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse


class BatchMoments:
    """Mean and variance of every feature in every batch: ``update(block, batch)``, then ``select``."""

    def __init__(self) -> None:
        self._sums: dict[str, list[np.ndarray]] = {}

    def update(self, x_ng: Any, batch_n: np.ndarray) -> None:
        """Take one block of cells on the recipe's scale; NaN entries are left out."""
        for batch in np.unique(batch_n):
            part = x_ng[np.flatnonzero(batch_n == batch)]
            if sparse.issparse(part):
                n_g = np.full(part.shape[1], float(part.shape[0]))
                moments = [
                    n_g,
                    np.asarray(part.sum(axis=0)).ravel(),
                    np.asarray(part.multiply(part).sum(axis=0)).ravel(),
                ]
            else:
                seen = ~np.isnan(part)
                value = np.where(seen, part, 0.0)
                moments = [seen.sum(axis=0).astype(float), value.sum(axis=0), (value**2).sum(axis=0)]
            old = self._sums.get(str(batch))
            self._sums[str(batch)] = moments if old is None else [a + b for a, b in zip(old, moments, strict=True)]

    def n_seen(self) -> np.ndarray:
        """Give the number of cells in which each feature was measured."""
        return np.sum([sums[0] for sums in self._sums.values()], axis=0)

    def select(self, max_features: int | None) -> np.ndarray:
        """Choose features: variable beyond the trend of variance on mean, in as many batches as possible.

        A feature that a batch did not measure is used only if no more than `max_features` remain otherwise.

        Returns
        -------
        int64 array, ascending positions of the chosen features.

        References
        ----------
        The trend and the ranking over batches follow the idea of Stuart et al. (2019), Cell 177:1888, on the
        recipe's scale: variance is compared with a quadratic in the mean, both in logs.
        """
        everywhere = np.all([s[0] > 0 for s in self._sums.values()], axis=0)
        informative = np.any([self._variance(s) > 0 for s in self._sums.values()], axis=0)
        if max_features is None or informative.sum() <= max_features:
            return np.flatnonzero(informative)
        candidate = np.flatnonzero(informative & everywhere)
        if len(candidate) <= max_features:
            return candidate if len(candidate) >= 50 else np.flatnonzero(informative)
        ranks = []
        for sums in self._sums.values():
            excess_g = self._excess(sums)[candidate]
            rank_g = np.empty(len(candidate))
            rank_g[np.argsort(-excess_g, kind="stable")] = np.arange(len(candidate))
            ranks.append(rank_g)
        rank_bg = np.array(ranks)
        n_batches_g = (rank_bg < max_features).sum(axis=0)
        order = np.lexsort((np.median(rank_bg, axis=0), -n_batches_g))
        return np.sort(candidate[order[:max_features]])

    @staticmethod
    def _variance(sums: list[np.ndarray]) -> np.ndarray:
        n_g = np.maximum(sums[0], 1)
        variance_g = sums[2] / n_g - (sums[1] / n_g) ** 2
        # Below this, the difference of two sums is rounding.
        return np.where(variance_g > 1e-10 * np.maximum(sums[2] / n_g, 1e-30), variance_g, 0.0)

    def _excess(self, sums: list[np.ndarray]) -> np.ndarray:
        variance_g = self._variance(sums)
        mean_g = np.abs(sums[1] / np.maximum(sums[0], 1))
        fit = (variance_g > 0) & (mean_g > 0)
        out = np.full(len(mean_g), -np.inf)
        if fit.sum() > 10:
            x, y = np.log(mean_g[fit]), np.log(variance_g[fit])
            out[fit] = y - np.polynomial.Polynomial.fit(x, y, 2)(x)
        else:
            out[fit] = variance_g[fit]
        return out
