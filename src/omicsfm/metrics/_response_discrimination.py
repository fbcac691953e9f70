"""Whether a predicted effect is nearer to the effect of its own perturbation than to those of others."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from scipy.spatial.distance import cdist

from omicsfm._errors import InputError
from omicsfm.metrics._response_pair import Delta, deltas, mask

Distance = Literal["cosine", "euclidean", "manhattan"]


def discrimination(
    pred: Any,
    obs: Any,
    *,
    reference: Any = None,
    pred_reference: Any = None,
    distance: Distance = "cosine",
    exclude: Any = None,
) -> np.ndarray:
    """Rank of a perturbation's own observed effect among all observed effects, by distance from the predicted one.

    It asks whether the predictions differ as the perturbations do, says nothing of their size (wholly so with cosine),
    and depends on which perturbations were measured: compare within one panel and context. A distance that knows size
    ("manhattan") rewards inflated predictions.

    Parameters
    ----------
    pred, obs, reference, pred_reference
        As in :func:`pearson_delta`; one context. Cosine needs a reference or effects.
    distance
        "cosine" (a zero effect is at distance 1 from all), "euclidean" or "manhattan".
    exclude
        (n_genes,) true for genes to leave out: the targets of all perturbations of the panel. The direct effect on the
        target names a perturbation without any prediction.

    Returns
    -------
    (n_perturbations,) 1 - rank / (n_perturbations - 1): 1 where its own is nearest, 0 where it is farthest; ties take
    the middle rank. A prediction of no change has 0.5 (cosine); the same prediction for all has a mean of 0.5. NaN for
    a single perturbation.

    Raises
    ------
    InputError
        As :func:`pearson_delta`, and if every gene is left out or the distance is unknown.

    Notes
    -----
    cell-eval2 0.20 `pds_cosine` (rank_denominator "n-1", tie_policy "midrank", exclusion_scope "panel"); the same as
    1 - transposed rank of Wu et al. 2024, arXiv:2408.10609.
    """
    pred_d, obs_d = deltas("discrimination", pred, obs, reference, pred_reference)
    if exclude is not None:
        kept = ~mask("discrimination", "exclude", exclude, pred_d.values.shape[1:])
        if not kept.any():
            raise InputError("discrimination: `exclude` leaves no gene. Fix: exclude the targets only.")
        pred_d, obs_d = (Delta(d.values[:, kept], d.rounding) for d in (pred_d, obs_d))
    nearer, tied = _others(pred_d, obs_d, distance)
    return 1 - (nearer + tied / 2) / (len(nearer) - 1) if len(nearer) > 1 else np.full(1, np.nan)


def centroid_accuracy(pred: Any, obs: Any, *, reference: Any = None, pred_reference: Any = None) -> np.ndarray:
    """Share of other perturbations whose observed mean is farther from the prediction than its own.

    Euclidean distance; a tie counts against the prediction. Parameters and errors as in :func:`pearson_delta`; with
    one reference for both sides it cancels.

    Returns
    -------
    (n_perturbations,) values 0 to 1; NaN for a single perturbation.

    Notes
    -----
    Vinas Torne et al. 2025 (Systema), doi:10.1038/s41587-025-02777-8.
    """
    nearer, tied = _others(*deltas("centroid_accuracy", pred, obs, reference, pred_reference), "euclidean")
    return 1 - (nearer + tied) / (len(nearer) - 1) if len(nearer) > 1 else np.full(1, np.nan)


def _others(pred_d: Delta, obs_d: Delta, distance: str) -> tuple[np.ndarray, np.ndarray]:
    """Count the other perturbations (n,) nearer to the prediction than its own, and as near but for rounding."""
    x, y = pred_d.values, obs_d.values
    # `size`: of the numbers that were subtracted in each row, whose rounding error is a tie.
    if distance == "cosine":
        d = 1 - _unit(pred_d) @ _unit(obs_d).T
        size = np.ones((len(x), 1))
    elif distance == "euclidean":
        # Without the norm of x, which is the same for all in a row.
        norm = np.square(y).sum(axis=1)
        d = norm - 2 * x @ y.T
        size = np.square(x).sum(axis=1, keepdims=True) + norm.max()
    elif distance == "manhattan":
        d = cdist(x, y, "cityblock")
        size = d.max(axis=1, keepdims=True)
    else:
        raise InputError(
            f"discrimination: `distance` must be 'cosine', 'euclidean' or 'manhattan', found {distance!r}. "
            "Fix: pass one of these."
        )
    beyond = d - np.diag(d)[:, None]
    rounding = 64 * np.finfo(np.float64).eps * size
    return (beyond < -rounding).sum(axis=1), (np.abs(beyond) <= rounding).sum(axis=1) - 1


def _unit(delta: Delta) -> np.ndarray:
    """Give rows of length 1; a row that is nothing but rounding error becomes 0."""
    norm = np.linalg.norm(delta.values, axis=1, keepdims=True)
    nothing = norm <= np.sqrt(delta.values.shape[1]) * delta.rounding
    return np.where(nothing, 0, delta.values / np.where(nothing, 1, norm))
