"""Decoders and their honest error: fitted on all cells, calibrated on cells held out of every step after the tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse, stats
from sklearn.cluster import KMeans

from omicsfm.models._cells import blocks
from omicsfm.models._decoder import Decoder, DecoderStats, calibrate, model_variance, soft_states
from omicsfm.models._factor import FactorModel, fit_factors
from omicsfm.models._latent import Latent
from omicsfm.pp import Tokens

MAX_CALIBRATION = 10_000
MAX_VALUES = 20_000_000  # calibration cells x features held in memory: fewer cells serve where features are many
N_FOLDS = 5
CELLS_PER_STATE = 40
MAX_STATES = 15
SLOPE_SPREAD = 0.3  # how far the slopes of single features may stray from the common one
BLOCK_ROWS = 2048  # features are dense here

Features = Callable[[np.ndarray], Any]  # positions in obs -> rows on the recipe's scale


def fit_decoder(
    latent: Latent, tokens: Tokens, mod: str, features: Features, *, ridge: float, level: float, seed: int
) -> Decoder:
    """Fit the decoder of one modality on every cell that has it, and calibrate it by cross-fitting.

    Parameters
    ----------
    features
        Gives the features of cells of `mod` on the recipe's scale, (n, n_vars), by position in obs.
    """
    has = np.zeros(tokens.n_obs, dtype=bool)
    has[tokens.rows[mod]] = True
    mean, loading, noise = _regress(latent, tokens, mod, features, np.flatnonzero(has), latent.factors).finish()
    other = np.zeros(tokens.n_obs, dtype=bool)
    for m in tokens.values:
        if m != mod:
            other[tokens.rows[m]] = True
    rng = np.random.default_rng(seed)
    n_calibration = min(MAX_CALIBRATION, max(500, MAX_VALUES // len(mean)))
    paired = np.sort(rng.permutation(np.flatnonzero(has & other))[:n_calibration])
    k = latent.factors.n_latent
    if len(paired) < 2 * N_FOLDS:
        normal = np.full(len(mean), stats.norm.ppf((1 + level) / 2))
        return Decoder(mean, loading, noise, np.zeros((1, k)), 1.0, np.ones((1, len(mean))), normal, 0)
    z_nk, order = _states_of(latent, tokens, mod, paired)
    n_states = int(np.clip(len(paired) // CELLS_PER_STATE, 1, MAX_STATES))
    found = KMeans(n_states, n_init=3, random_state=seed).fit(z_nk)
    width = float(found.inertia_ / len(z_nk)) or 1.0
    by_batch = (
        len(np.unique(tokens.batch[paired])) > 1
        and not _only_in_one_batch(tokens, features, paired)
        and _links_remain(tokens, paired)
    )
    folds = list(_folds(tokens.batch[paired] if by_batch else None, len(paired), rng))
    held_out = _held_out(latent, tokens, mod, features, paired, has, folds, ridge=ridge, rng=rng)
    slope_g = held_out.slope()
    weight = soft_states(z_nk, found.cluster_centers_, width)
    spread, quantile = calibrate(held_out.ratio(slope_g)[order], weight, level)
    if not by_batch:
        # No held-out batch in the calibration: what a new batch may shift is added from the batches that have `mod`.
        spread = spread * (1 + _batch_shift(latent, tokens, features, np.flatnonzero(has), (mean, loading, noise)))
    loading = loading * slope_g[:, None]
    return Decoder(mean, loading, noise, found.cluster_centers_, width, spread, quantile, len(paired))


@dataclass(frozen=True)
class _HeldOut:
    """What cells of every fold were, and what was predicted for them without them; rows as the calibration cells.

    `deviation_ng` and `predicted_ng` are differences from the mean of the other folds (NaN: not measured); of each
    block of cells, `explained_bg` is the variance that their posterior of z leaves open, `noise_bg` that beyond z.
    """

    deviation_ng: np.ndarray
    predicted_ng: np.ndarray
    explained_bg: np.ndarray
    noise_bg: np.ndarray
    block_n: np.ndarray

    def slope(self) -> np.ndarray:
        """Share (g,), 0 to 1, of the predicted differences between cells that held-out cells bear out.

        The slope of truth on prediction, one for all features, from which a feature departs as far as its own cells
        say (a normal prior on slopes). In small data it keeps the model from promising more than it can hold.
        """
        seen = ~np.isnan(self.deviation_ng)
        predicted = np.where(seen, self.predicted_ng, 0.0) / np.sqrt(self.noise_bg[self.block_n])
        truth = np.where(seen, self.deviation_ng, 0.0) / np.sqrt(self.noise_bg[self.block_n])
        product_g, square_g = (predicted * truth).sum(axis=0), (predicted**2).sum(axis=0)
        overall = np.clip(product_g.sum() / max(square_g.sum(), 1e-12), 0, 1)
        prior = 1 / SLOPE_SPREAD**2
        return np.clip((product_g + prior * overall) / (square_g + prior), 0, 1)

    def ratio(self, slope_g: np.ndarray) -> np.ndarray:
        """Residual / model sd with the predictions scaled by `slope_g`."""
        sd_bg = np.sqrt(slope_g**2 * self.explained_bg + self.noise_bg)
        return (self.deviation_ng - slope_g * self.predicted_ng) / sd_bg[self.block_n]


def _regress(
    latent: Latent, tokens: Tokens, mod: str, features: Features, obs: np.ndarray, factors: FactorModel
) -> DecoderStats:
    out: DecoderStats | None = None
    for block in blocks(tokens, obs=obs, n_rows=BLOCK_ROWS):
        x_ng = features(block.obs)
        out = out or DecoderStats(x_ng.shape[1], factors.n_latent)
        out.update(x_ng, *latent.posterior(tokens, block, factors=factors))
    if out is None:
        raise ValueError("no cells to regress on")
    return out


def _batch_shift(
    latent: Latent,
    tokens: Tokens,
    features: Features,
    obs: np.ndarray,
    fitted: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> float:
    """Variance between batches of a feature's mean residual, as a share of its noise, averaged over features.

    One-way random effects by moments; the mean over features steadies what two or three batches say of one feature.
    A new batch differs from the fitted mean by its own shift and by the error of that mean, hence the last factor.
    """
    mean, loading, noise = fitted
    names, code = np.unique(tokens.batch, return_inverse=True)
    total, count = np.zeros((len(names), len(mean))), np.zeros((len(names), len(mean)))
    for block in blocks(tokens, obs=obs, n_rows=BLOCK_ROWS):
        x_ng = features(block.obs)
        x_ng = x_ng.toarray() if sparse.issparse(x_ng) else x_ng
        residual = x_ng - latent.posterior(tokens, block)[0] @ loading.T - mean
        for b in np.unique(code[block.obs]):
            part = residual[code[block.obs] == b]
            total[b] += np.nansum(part, axis=0)
            count[b] += (~np.isnan(part)).sum(axis=0)
    several = (count > 1).sum(axis=0) > 1
    if not several.any():
        return 0.0
    total, count = total[:, several], count[:, several]
    seen = count > 1
    n_batches = seen.sum(axis=0)
    value = np.where(seen, total / np.maximum(count, 1), np.nan)
    between = (
        np.nanvar(value, axis=0, ddof=1)
        - noise[several] * np.where(seen, 1 / np.maximum(count, 1), 0).sum(axis=0) / n_batches
    )
    share = np.maximum(between / noise[several], 0)
    return float(np.mean(share * (1 + 1 / n_batches)))


def _states_of(latent: Latent, tokens: Tokens, mod: str, obs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Latent means without `mod`, and where each row stands in `obs`."""
    parts, order = [], []
    for block in blocks(tokens, obs=obs):
        parts.append(latent.posterior(tokens, block, pattern=block.without(mod))[0])
        order.append(np.searchsorted(obs, block.obs))
    return np.vstack(parts), np.concatenate(order)


def _held_out(
    latent: Latent,
    tokens: Tokens,
    mod: str,
    features: Features,
    paired: np.ndarray,
    has: np.ndarray,
    folds: list[np.ndarray],
    *,
    ridge: float,
    rng: np.random.Generator,
) -> _HeldOut:
    """Predict every paired cell without it and without its `mod`."""
    # What a fold is held out from: the calibration cells and as many of the rest, so that cost stays bounded.
    rest = np.setdiff1d(np.arange(tokens.n_obs), paired, assume_unique=True)
    rest = np.sort(rng.permutation(rest)[: 2 * MAX_CALIBRATION])
    everything = latent.moments(tokens, np.union1d(paired, rest))
    rows: list[np.ndarray] = []
    truth: list[np.ndarray] = []
    predicted: list[np.ndarray] = []
    explained: list[np.ndarray] = []
    noises: list[np.ndarray] = []
    block_of: list[np.ndarray] = []
    for held in folds:
        held_obs = paired[held]
        left = everything.merge(latent.moments(tokens, held_obs), sign=-1)
        factors = fit_factors(left, n_latent=0, ridge=ridge, max_iter=5, start=latent.factors)
        train = np.setdiff1d(np.union1d(paired, rest), held_obs, assume_unique=True)
        mean, loading, noise = _regress(latent, tokens, mod, features, train[has[train]], factors).finish()
        for block in blocks(tokens, obs=held_obs, n_rows=BLOCK_ROWS):
            z, covariance = latent.posterior(tokens, block, pattern=block.without(mod), factors=factors)
            x_ng = features(block.obs)
            rows.append(np.searchsorted(paired, block.obs))
            truth.append((x_ng.toarray() if sparse.issparse(x_ng) else x_ng) - mean)
            predicted.append(z @ loading.T)
            block_of.append(np.full(len(block.obs), len(noises)))
            explained.append(model_variance(loading, np.zeros_like(noise), covariance))
            noises.append(noise)
    order = np.argsort(np.concatenate(rows))
    return _HeldOut(
        np.vstack(truth)[order],
        np.vstack(predicted)[order],
        np.array(explained),
        np.array(noises),
        np.concatenate(block_of)[order],
    )


def _folds(batch: np.ndarray | None, n: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Hold out whole batches where given (their shift is part of the error), else random fifths."""
    if batch is not None:
        group = np.searchsorted(np.unique(batch), batch) % N_FOLDS
    else:
        group = rng.permutation(n) % N_FOLDS
    for i in np.unique(group):
        yield np.flatnonzero(group == i)


def _only_in_one_batch(tokens: Tokens, features: Features, obs: np.ndarray) -> bool:
    """Tell whether some feature was measured in one batch alone: holding that out would leave nothing to learn from."""
    seen = []
    for name in np.unique(tokens.batch[obs]):
        x_ng = features(obs[tokens.batch[obs] == name])
        seen.append(np.ones(x_ng.shape[1], bool) if sparse.issparse(x_ng) else ~np.isnan(x_ng).all(axis=0))
    return bool((np.sum(seen, axis=0) == 1).any())


def _links_remain(tokens: Tokens, obs: np.ndarray) -> bool:
    """Tell whether, without the batches of each fold, every modality and every pair that cells link is still there."""
    measured = np.zeros((tokens.n_obs, len(tokens.rows)))
    for j, rows in enumerate(tokens.rows.values()):
        measured[rows, j] = 1
    linked = measured.T @ measured
    for held in _folds(tokens.batch[obs], len(obs), np.random.default_rng(0)):
        left = linked - measured[obs[held]].T @ measured[obs[held]]
        if (left < np.minimum(linked, 2 * N_FOLDS)).any():
            return False
    return True
