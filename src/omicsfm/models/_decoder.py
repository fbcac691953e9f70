"""From latent state to features, with how far off the prediction may be: arrays only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse, stats
from scipy.special import softmax

from omicsfm import hub
from omicsfm.models._landmarks import squared_distance

FAR_GROWTH = 0.35  # power of the distance; at 0.5 no common cell type's coverage on PBMC moves by more than 0.012
SHRINK_CELLS = 20.0  # cells' worth of evidence that a state's spread equals the overall spread


class DecoderStats:
    """Sums for the regression of features on a latent posterior: ``update``, ``merge``, ``finish``.

    The regression is the M-step of factor analysis: it counts the posterior covariance of z, so a cell whose state is
    uncertain pulls less. Entries that are NaN are left out feature by feature.
    """

    def __init__(self, n_vars: int, n_latent: int) -> None:
        self.n_g = np.zeros(n_vars)
        self.zz: np.ndarray = np.zeros((n_latent + 1, n_latent + 1))
        self.xz_gk = np.zeros((n_vars, n_latent + 1))
        self.xx_g = np.zeros(n_vars)

    def update(self, x_ng: Any, z_nk: np.ndarray, covariance_kk: np.ndarray) -> None:
        """Take a block: features (n, g), posterior means (n, k) and the covariance that these cells share."""
        n, k = z_nk.shape
        z1 = np.hstack([z_nk, np.ones((n, 1))])
        spread = np.pad(covariance_kk, (0, 1))
        if sparse.issparse(x_ng):
            self._add(np.full(x_ng.shape[1], float(n)), n * spread + z1.T @ z1, np.asarray(x_ng.T @ z1))
            self.xx_g += np.asarray(x_ng.multiply(x_ng).sum(axis=0)).ravel()
            return
        seen = ~np.isnan(x_ng)
        value = x_ng if seen.all() else np.where(seen, x_ng, 0.0)
        n_g = seen.sum(axis=0).astype(float)
        if seen.all():
            zz = n * spread + z1.T @ z1
        else:
            outer = (z1[:, :, None] * z1[:, None, :]).reshape(n, -1)
            zz = (seen.T.astype(float) @ outer).reshape(-1, k + 1, k + 1) + n_g[:, None, None] * spread
        self._add(n_g, zz, value.T @ z1)
        self.xx_g += (value**2).sum(axis=0)

    def _add(self, n_g: np.ndarray, zz: np.ndarray, xz_gk: np.ndarray) -> None:
        self.n_g += n_g
        self.xz_gk += xz_gk
        if zz.ndim > self.zz.ndim:
            self.zz = np.broadcast_to(self.zz, zz.shape).copy()
        self.zz = self.zz + zz

    def finish(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Solve. Returns mean (g,), loading (g, k) and residual variance given the true state (g,)."""
        eye = np.eye(self.zz.shape[-1]) * 1e-6
        eye[-1, -1] = 0.0
        scale = np.maximum(self.n_g, 1.0)
        if self.zz.ndim == 2:
            coefficient = np.linalg.solve(self.zz + eye * scale.max(), self.xz_gk.T).T
        else:
            gram = self.zz + eye * scale[:, None, None]
            gram[:, -1, -1] = scale
            coefficient = np.linalg.solve(gram, self.xz_gk[:, :, None])[:, :, 0]
        residual = (self.xx_g - (coefficient * self.xz_gk).sum(axis=1)) / scale
        mean, loading = coefficient[:, -1], coefficient[:, :-1]
        noise = np.maximum(residual, 1e-8 + 1e-6 * self.xx_g / scale)
        never = self.n_g < 2
        if never.any() and not never.all():
            # Nothing was seen of it (a panel that no training batch had): it is like any feature of the modality.
            mean[never] = mean[~never].mean()
            loading[never] = 0.0
            total = noise[~never] + (loading[~never] ** 2).sum(axis=1)
            noise[never] = mean[~never].var() + total.mean()
        return mean, loading, noise


@hub.state
@dataclass(frozen=True)
class Decoder:
    """Fitted prediction of one modality's features.

    Attributes
    ----------
    mean, loading, noise : (g,), (g, k), (g,).
    centre_ck, width : states in latent space within which the spread was measured.
    spread_cg : factor on the model's variance in each state, from held-out cells.
    quantile_g : conformal multiplier of the sd per feature.
    n_calibration : number of held-out cells behind `spread_cg` and `quantile_g` (0: the normal quantile).
    """

    mean: np.ndarray
    loading: np.ndarray
    noise: np.ndarray
    centre_ck: np.ndarray
    width: float
    spread_cg: np.ndarray
    quantile_g: np.ndarray
    n_calibration: int

    def predict(self, z_nk: np.ndarray, covariance_kk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give the predictive mean and sd, (n, g) each, for cells with one posterior covariance.

        Beyond the typical distance to a state the sd grows with the distance: little was calibrated out there.
        """
        variance_g = model_variance(self.loading, self.noise, covariance_kk)
        weight_nc = soft_states(z_nk, self.centre_ck, self.width)
        sd_ng = np.sqrt(weight_nc @ self.spread_cg * variance_g)
        far_n = np.sqrt(squared_distance(z_nk, self.centre_ck).min(axis=1) / self.width)
        return z_nk @ self.loading.T + self.mean, sd_ng * np.maximum(far_n, 1.0)[:, None] ** FAR_GROWTH


def model_variance(loading_gk: np.ndarray, noise_g: np.ndarray, covariance_kk: np.ndarray) -> np.ndarray:
    """Variance of a feature given the posterior of z: what z leaves open plus the feature's own noise."""
    return np.einsum("gk,kl,gl->g", loading_gk, covariance_kk, loading_gk) + noise_g


def soft_states(z_nk: np.ndarray, centre_ck: np.ndarray, width: float) -> np.ndarray:
    """Soft assignment (n, c) of cells to states."""
    return softmax(-squared_distance(z_nk, centre_ck) / width, axis=1)


def calibrate(ratio_ng: np.ndarray, weight_nc: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Turn held-out residuals into a spread per state and a conformal multiplier per feature.

    Parameters
    ----------
    ratio_ng
        Residual / model sd of held-out cells; NaN where not measured.
    weight_nc
        Their soft states.
    level
        Nominal coverage.

    Returns
    -------
    spread_cg, quantile_g

    References
    ----------
    Split-conformal prediction with a normalised score: Lei et al. (2018), JASA 113:1094, section 5.2.
    """
    seen = ~np.isnan(ratio_ng)
    square = np.where(seen, ratio_ng, 0.0) ** 2
    n_g = np.maximum(seen.sum(axis=0), 1)
    overall_g = np.maximum(square.sum(axis=0) / n_g, 1e-12)
    # A feature that no calibration cell has (the panel of an unpaired batch) is as uncertain as the others are.
    blank_g = ~seen.any(axis=0)
    overall_g[blank_g] = overall_g[~blank_g].mean() if not blank_g.all() else 1.0
    count_cg = weight_nc.T @ seen
    spread_cg = (weight_nc.T @ square + SHRINK_CELLS * overall_g) / (count_cg + SHRINK_CELLS)
    score = np.abs(ratio_ng) / np.sqrt(weight_nc @ spread_cg)
    quantile_g = np.empty(score.shape[1])
    for g in range(score.shape[1]):
        s = np.sort(score[seen[:, g], g])
        rank = int(np.ceil((len(s) + 1) * level))
        quantile_g[g] = s[min(rank, len(s)) - 1] if len(s) else np.nan
    quantile_g[blank_g] = np.median(quantile_g[~blank_g]) if not blank_g.all() else stats.norm.ppf((1 + level) / 2)
    return spread_cg, quantile_g
