"""Errors of predicted effects, per perturbation: mean absolute, mean squared, Euclidean, and relative to a baseline."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm._errors import InputError
from omicsfm.metrics._response_pair import deltas, per_gene, same_genes


def mae_delta(pred: Any, obs: Any, *, reference: Any = None, pred_reference: Any = None) -> np.ndarray:
    """Mean absolute error over genes of predicted effects, for every perturbation.

    Most genes do not respond, so that a prediction of "no change" is hard to beat: read it as a share of a baseline's.
    With one reference for both sides it cancels.

    Parameters
    ----------
    pred, obs, reference, pred_reference
        As in :func:`pearson_delta`.

    Returns
    -------
    (n_perturbations,) values from 0, on the scale of the data given.

    Raises
    ------
    InputError
        As :func:`pearson_delta`.
    """
    return np.abs(_error("mae_delta", pred, obs, reference, pred_reference)).mean(axis=1)


def mse_delta(pred: Any, obs: Any, *, reference: Any = None, pred_reference: Any = None) -> np.ndarray:
    """Mean squared error over genes of predicted effects, for every perturbation.

    Sampling noise of the observation is part of it: see :func:`noise_corrected_mse`. Parameters, errors and result as
    in :func:`mae_delta`, in squared units.
    """
    return np.square(_error("mse_delta", pred, obs, reference, pred_reference)).mean(axis=1)


def l2_delta(pred: Any, obs: Any, *, reference: Any = None, pred_reference: Any = None) -> np.ndarray:
    """Euclidean norm over genes of the error of predicted effects, for every perturbation.

    It grows with the number of genes; Ahlmann-Eltze et al. 2025, doi:10.1038/s41592-025-02772-6, take the 1,000 most
    expressed. Parameters, errors and result as in :func:`mae_delta`.
    """
    return np.linalg.norm(_error("l2_delta", pred, obs, reference, pred_reference), axis=1)


def nmse(pred: Any, obs: Any, *, baseline: Any, reference: Any = None, pred_reference: Any = None) -> np.ndarray:
    """Squared error as a share of that of a baseline, for every perturbation; below 1 is better than the baseline.

    Each squared error is divided by the mean squared error of the baseline over perturbations, so that the mean of the
    values is the ratio of the sums, and perturbations that the baseline knows well do not dominate.

    Parameters
    ----------
    pred, obs, reference, pred_reference
        As in :func:`pearson_delta`.
    baseline
        (n_genes,) or (n_perturbations, n_genes), on the scale of `pred` and less the same reference: the mean over the
        training perturbations.

    Returns
    -------
    (n_perturbations,) values from 0.

    Raises
    ------
    InputError
        As :func:`pearson_delta`, and if the baseline is the observation, which leaves nothing to improve.
    """
    pred_d, obs_d = deltas("nmse", pred, obs, reference, pred_reference)
    same_genes("nmse", "baseline", pred, baseline)
    base = np.broadcast_to(per_gene("nmse", "baseline", baseline, pred_d.values.shape), pred_d.values.shape)
    base_d, _ = deltas("nmse", base, obs, reference, pred_reference)
    of_baseline = np.square(base_d.values - obs_d.values).sum(axis=1).mean()
    if of_baseline == 0:
        raise InputError(
            "nmse: `baseline` must differ from `obs`, found the same values. Fix: take it from training perturbations."
        )
    return np.square(pred_d.values - obs_d.values).sum(axis=1) / of_baseline


def _error(function: str, pred: Any, obs: Any, reference: Any, pred_reference: Any) -> np.ndarray:
    pred_d, obs_d = deltas(function, pred, obs, reference, pred_reference)
    return pred_d.values - obs_d.values
