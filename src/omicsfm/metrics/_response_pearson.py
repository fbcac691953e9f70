"""Pearson correlation of predicted with observed effects, per perturbation."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm.metrics._response_pair import Delta, deltas


def pearson_delta(pred: Any, obs: Any, *, reference: Any = None, pred_reference: Any = None) -> np.ndarray:
    """Pearson correlation over genes of predicted with observed effects, for every perturbation.

    Each reference has its trap. Against the control, whose noise is in the reference of both sides, null effects
    correlate: give one half of the control cells as `reference` and the other as `pred_reference`. Against the mean of
    the perturbations, a prediction of "no change" is right about every perturbation without effect. Read both.

    Parameters
    ----------
    pred, obs
        (n_perturbations, n_genes) predicted and observed means, or effects; array or DataFrame, on one scale.
    reference
        (n_genes,) or (n_perturbations, n_genes), subtracted from `obs`: the mean of the controls, or of the (training)
        perturbations. None: `pred` and `obs` are effects.
    pred_reference
        The same for `pred`; None: `reference`.

    Returns
    -------
    (n_perturbations,) values -1 to 1. A constant prediction scores 0, so that leaving out does not pay; NaN where the
    observed effect is constant.

    Raises
    ------
    InputError
        If shapes or gene names disagree, or a value is NaN or infinite.

    Notes
    -----
    The two references: Vinas Torne et al. 2025 (Systema), doi:10.1038/s41587-025-02777-8.
    """
    pred_d, obs_d = deltas("pearson_delta", pred, obs, reference, pred_reference)
    pred_c, pred_norm, pred_flat = _centred(pred_d)
    obs_c, obs_norm, obs_flat = _centred(obs_d)
    scale = np.where(pred_flat | obs_flat, 1, pred_norm * obs_norm)
    r = np.clip(np.einsum("pg,pg->p", pred_c, obs_c) / scale, -1, 1)
    r[pred_flat] = 0
    r[obs_flat] = np.nan
    return r


def _centred(delta: Delta) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give effects less their mean over genes, their norm, and which rows are constant but for rounding."""
    centred = delta.values - delta.values.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1)
    return centred, norm, norm <= np.sqrt(centred.shape[1]) * delta.rounding[:, 0]
