"""Errors of predicted effects, weighted to the genes that respond."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm._errors import InputError
from omicsfm.metrics._check import real, same_shape
from omicsfm.metrics._response_pair import deltas


def response_weights(scores: Any) -> np.ndarray:
    """Weights of genes from how strongly each responds to each perturbation.

    Scores and observation must come from different cells (one half each): weights from the same cells favour the genes
    in which noise looks like an effect, and any prediction made of those cells.

    Parameters
    ----------
    scores
        (n_perturbations, n_genes) t-scores of a perturbation against the other perturbations; the sign is ignored.

    Returns
    -------
    (n_perturbations, n_genes): absolute score, stretched to 0 to 1 within each perturbation, squared, and divided by
    the sum. Equal scores give equal weights.

    Raises
    ------
    InputError
        If a score is NaN or infinite: 0 for a gene that cannot be tested.

    Notes
    -----
    Mejia et al. 2025, arXiv:2506.22641.
    """
    size = np.abs(real("response_weights", "scores", scores))
    low, high = size.min(axis=1, keepdims=True), size.max(axis=1, keepdims=True)
    weight = np.where(high > low, (size - low) / np.where(high > low, high - low, 1), 1) ** 2
    return weight / weight.sum(axis=1, keepdims=True)


def weighted_mse(pred: Any, obs: Any, *, weights: Any, reference: Any = None, pred_reference: Any = None) -> np.ndarray:
    """Weighted mean squared error over genes of predicted effects, for every perturbation.

    Parameters
    ----------
    pred, obs, reference, pred_reference
        As in :func:`pearson_delta`.
    weights
        (n_perturbations, n_genes), not negative, such as :func:`response_weights` of a held-out half.

    Returns
    -------
    (n_perturbations,) values from 0, in squared units of the data given.

    Raises
    ------
    InputError
        As :func:`pearson_delta`, and if weights are negative or sum to 0.
    """
    error, _, share = _weighted("weighted_mse", pred, obs, weights, reference, pred_reference)
    return np.einsum("pg,pg->p", share, np.square(error))


def weighted_r2(pred: Any, obs: Any, *, weights: Any, reference: Any = None, pred_reference: Any = None) -> np.ndarray:
    """Weighted coefficient of determination over genes of predicted effects, for every perturbation.

    A prediction that ignores the perturbation has no more than 0, and a wrong size costs as much as a wrong gene.

    Parameters
    ----------
    pred, obs, weights, pred_reference
        As in :func:`weighted_mse`.
    reference
        As there; the mean of the perturbations. Means without a reference mostly say which genes are expressed.

    Returns
    -------
    (n_perturbations,) values up to 1, without lower bound; NaN where the observed effect is constant.

    Raises
    ------
    InputError
        As :func:`weighted_mse`.

    Notes
    -----
    Mejia et al. 2025, arXiv:2506.22641.
    """
    error, effect, share = _weighted("weighted_r2", pred, obs, weights, reference, pred_reference)
    centred = effect - np.einsum("pg,pg->p", share, effect)[:, None]
    total = np.einsum("pg,pg->p", share, np.square(centred))
    missed = np.einsum("pg,pg->p", share, np.square(error))
    return np.where(total > 0, 1 - missed / np.where(total > 0, total, 1), np.nan)


def _weighted(
    function: str, pred: Any, obs: Any, weights: Any, reference: Any, pred_reference: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the error, the observed effect, and the weights as shares."""
    pred_d, obs_d = deltas(function, pred, obs, reference, pred_reference)
    weight = real(function, "weights", weights)
    same_shape(function, pred=pred_d.values, weights=weight)
    total = weight.sum(axis=1, keepdims=True)
    if (weight < 0).any() or (total == 0).any():
        raise InputError(
            f"{function}: `weights` must not be negative and not all 0 in a row. Fix: pass response_weights(scores)."
        )
    return pred_d.values - obs_d.values, obs_d.values, weight / total
