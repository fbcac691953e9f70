"""Squared errors and effects less what sampling noise adds to them."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm._errors import InputError
from omicsfm.metrics._check import real
from omicsfm.metrics._response_pair import deltas, per_gene, same_genes


def effect_energy(effects: Any, variance: Any) -> np.ndarray:
    """Squared size of the true effect, for every perturbation: that of the estimate, less its sampling variance.

    Parameters
    ----------
    effects
        (n_perturbations, n_genes) estimated effects.
    variance
        (n_perturbations, n_genes) or (n_genes,) squared standard errors of them.

    Returns
    -------
    (n_perturbations,) unbiased estimates, negative by chance where the effect is smaller than its noise.

    Raises
    ------
    InputError
        If shapes disagree, a value is NaN or infinite, or a variance is negative.
    """
    effect_pg = real("effect_energy", "effects", effects)
    return np.square(effect_pg).sum(axis=1) - _noise("effect_energy", "variance", variance, effect_pg.shape)


def noise_corrected_mse(
    pred: Any,
    obs: Any,
    *,
    obs_variance: Any,
    control: Any,
    control_variance: Any,
    pred_variance: Any = 0,
) -> np.ndarray:
    r"""Squared error less sampling noise, as a share of the squared effect less sampling noise.

    Each value is ``N_p = |x_p - o_p|^2 - rho min(Vx_p, Vo_p) - Vo_p`` over the mean over perturbations of
    ``|o_p - c|^2 - Vo_p - Vc``, where ``V`` is a sum over genes of squared standard errors. The mean of the
    values is the ratio of the sums: 0 for a perfect prediction, 1 for one of the true control. The noise of a measured
    control that is given as a prediction, or as part of one, counts as error; effects avoid that.

    A prediction is not credited with more noise than the observation has, nor, over all perturbations, with more than
    it differs between them (the factor ``rho``): noise declared and not there would be a better score for nothing.

    Parameters
    ----------
    pred, obs
        (n_perturbations, n_genes) predicted and observed means, array or DataFrame, on one scale.
    obs_variance
        Squared standard errors of `obs`, from cells or from a jackknife; this and those below (n_perturbations,
        n_genes), (n_genes,) or one number.
    control, control_variance
        Mean of the controls and its squared standard errors. For effects both are 0, and `obs_variance` holds the
        noise of the controls too; the prediction must then not come from the same control cells.
    pred_variance
        Squared standard errors of `pred` where it is a mean of cells, such as a technical duplicate; 0 for a model.

    Returns
    -------
    (n_perturbations,) values, negative by chance; NaN if the effects hold no more than noise.

    Raises
    ------
    InputError
        If shapes or gene names disagree, a value is NaN or infinite, or a variance is negative.

    Notes
    -----
    cell-eval2 0.20, `expr_mse_unbiased_capped_norm`.
    """
    name = "noise_corrected_mse"
    pred_d, obs_d = deltas(name, pred, obs)
    x, o = pred_d.values, obs_d.values
    same_genes(name, "control", obs, control)
    c = _filled(name, "control", control, o.shape)
    of_obs = _noise(name, "obs_variance", obs_variance, o.shape)
    of_control = _noise(name, "control_variance", control_variance, o.shape)
    of_pred = np.minimum(_noise(name, "pred_variance", pred_variance, o.shape), of_obs)
    differs = np.square(x - x.mean(axis=0)).sum()
    claimed = of_pred.sum()
    rho = min(1.0, differs / claimed) if claimed else 0.0
    error = np.square(x - o).sum(axis=1) - rho * of_pred - of_obs
    effect = (np.square(o - c).sum(axis=1) - of_obs - of_control).mean()
    return error / effect if effect > 0 else np.full(len(o), np.nan)


def _noise(function: str, name: str, variance: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Give the sum over genes (n_perturbations,) of squared standard errors."""
    out = _filled(function, name, variance, shape)
    if (out < 0).any():
        raise InputError(f"{function}: `{name}` must not be negative. Fix: pass squared standard errors.")
    return out.sum(axis=1)


def _filled(function: str, name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Give values of every perturbation and gene."""
    given = np.full(shape[1:], values) if np.isscalar(values) else values
    return np.broadcast_to(per_gene(function, name, given, shape), shape)
