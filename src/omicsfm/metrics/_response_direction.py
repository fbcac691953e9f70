"""Sign, order and size of predicted effects on the genes that respond."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import rankdata

from omicsfm.metrics._response_pair import deltas, mask

# With fewer genes an order or a ratio of sums says nothing.
MIN_GENES = 10


def direction_fidelity(
    pred: Any, obs: Any, significant: Any, *, reference: Any = None, pred_reference: Any = None
) -> np.ndarray:
    """Share of the significant genes whose predicted effect has the observed sign, for every perturbation.

    Where most of them move one way, a prediction of that way for all scores as high: compare with the baseline.

    Parameters
    ----------
    pred, obs, reference, pred_reference
        As in :func:`pearson_delta`; the reference is the control.
    significant
        (n_perturbations, n_genes) true where the observed effect is significant, at best in a half of the cells that
        `obs` is not from.

    Returns
    -------
    (n_perturbations,) values 0 to 1; no predicted change is a wrong sign. NaN where no gene is significant.

    Raises
    ------
    InputError
        As :func:`pearson_delta`.
    """
    pred_d, obs_d = deltas("direction_fidelity", pred, obs, reference, pred_reference)
    # No observed change has no sign to be right about.
    judged = mask("direction_fidelity", "significant", significant, obs_d.values.shape) & (obs_d.values != 0)
    up = np.where(np.abs(pred_d.values) <= pred_d.rounding, 0, np.sign(pred_d.values))
    right = (judged & (up == np.sign(obs_d.values))).sum(axis=1)
    return _share(right, judged.sum(axis=1), least=1)


def lfc_nmae(pred: Any, obs: Any, significant: Any, *, reference: Any = None, pred_reference: Any = None) -> np.ndarray:
    """Absolute error as a share of the absolute effect over the significant genes, for every perturbation.

    Parameters
    ----------
    pred, obs, significant, reference, pred_reference
        As in :func:`direction_fidelity`; effects are log fold changes.

    Returns
    -------
    (n_perturbations,) values from 0; a prediction of no change has 1. NaN where fewer than 10 genes are significant.

    Raises
    ------
    InputError
        As :func:`pearson_delta`.

    Notes
    -----
    cell-eval2 0.20, `de_lfc_nmae`.
    """
    pred_d, obs_d = deltas("lfc_nmae", pred, obs, reference, pred_reference)
    judged = mask("lfc_nmae", "significant", significant, obs_d.values.shape)
    error = np.where(judged, np.abs(pred_d.values - obs_d.values), 0).sum(axis=1)
    effect = np.where(judged, np.abs(obs_d.values), 0).sum(axis=1)
    share = _share(error, effect, least=np.finfo(np.float64).tiny)
    return np.where(judged.sum(axis=1) >= MIN_GENES, share, np.nan)


def logfc_spearman_positive(
    pred: Any, obs: Any, significant: Any, *, reference: Any = None, pred_reference: Any = None
) -> np.ndarray:
    """Spearman correlation over the significant genes that go up, for every perturbation.

    Genes that go up and those that go down are never taken together: two signs alone make a high correlation.

    Parameters
    ----------
    pred, obs, significant, reference, pred_reference
        As in :func:`direction_fidelity`.

    Returns
    -------
    (n_perturbations,) values -1 to 1; 0 for a constant prediction, NaN with fewer than 10 such genes, or all equal.

    Raises
    ------
    InputError
        As :func:`pearson_delta`.
    """
    return _spearman("logfc_spearman_positive", pred, obs, significant, reference, pred_reference, sign=1)


def logfc_spearman_negative(
    pred: Any, obs: Any, significant: Any, *, reference: Any = None, pred_reference: Any = None
) -> np.ndarray:
    """Spearman correlation over the significant genes that go down, for every perturbation.

    Parameters, errors and result as in :func:`logfc_spearman_positive`.
    """
    return _spearman("logfc_spearman_negative", pred, obs, significant, reference, pred_reference, sign=-1)


def _spearman(
    function: str, pred: Any, obs: Any, significant: Any, reference: Any, pred_reference: Any, *, sign: int
) -> np.ndarray:
    pred_d, obs_d = deltas(function, pred, obs, reference, pred_reference)
    judged = mask(function, "significant", significant, obs_d.values.shape) & (sign * obs_d.values > 0)
    out = np.full(len(judged), np.nan)
    for p in np.flatnonzero(judged.sum(axis=1) >= MIN_GENES):
        x, y = pred_d.values[p, judged[p]], rankdata(obs_d.values[p, judged[p]])
        if y.min() < y.max():
            flat = np.ptp(x) <= 2 * pred_d.rounding[p, 0]
            out[p] = 0.0 if flat else np.corrcoef(rankdata(x), y)[0, 1]
    return out


def _share(part: np.ndarray, whole: np.ndarray, *, least: float) -> np.ndarray:
    """Part over whole, NaN where the whole is below `least`."""
    return np.where(whole >= least, part / np.maximum(whole, least), np.nan)
