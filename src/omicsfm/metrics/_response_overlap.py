"""Whether the genes predicted to respond are those that do."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from omicsfm.metrics._check import real
from omicsfm.metrics._response_pair import deltas, mask


def overlap_at_n(
    pred: Any,
    obs: Any,
    *,
    pred_significant: Any,
    obs_significant: Any,
    reference: Any = None,
    pred_reference: Any = None,
) -> np.ndarray:
    """Share of the n significant genes found among the n largest predicted effects, for every perturbation.

    Parameters
    ----------
    pred, obs, reference, pred_reference
        As in :func:`pearson_delta`; the reference is the control.
    pred_significant, obs_significant
        (n_perturbations, n_genes) true where the predicted and the observed effect are significant. Only predicted
        effects that are significant can be among the n.

    Returns
    -------
    (n_perturbations,) values 0 to 1. Genes tied for the last places share them, so that equal predictions have what
    chance gives. NaN where neither side has a significant gene, 0 where only one has.

    Raises
    ------
    InputError
        As :func:`pearson_delta`.

    Notes
    -----
    cell-eval 0.8 `overlap_at_N`, where two empty sets score 0.
    """
    pred_d, obs_d = deltas("overlap_at_n", pred, obs, reference, pred_reference)
    shape = obs_d.values.shape
    called = mask("overlap_at_n", "pred_significant", pred_significant, shape)
    truth = mask("overlap_at_n", "obs_significant", obs_significant, shape)
    out = np.where(called.any(axis=1) | truth.any(axis=1), 0.0, np.nan)
    for p in np.flatnonzero(called.any(axis=1) & truth.any(axis=1)):
        n = truth[p].sum()
        out[p] = (_chance_of_top(np.abs(pred_d.values[p, called[p]]), n) * truth[p, called[p]]).sum() / n
    return out


def jaccard(pred_significant: Any, obs_significant: Any) -> np.ndarray:
    """Genes significant in both over genes significant in either, for every perturbation.

    Parameters
    ----------
    pred_significant, obs_significant
        (n_perturbations, n_genes) true where the predicted and the observed effect are significant.

    Returns
    -------
    (n_perturbations,) values 0 to 1; NaN where neither side has a significant gene.

    Raises
    ------
    InputError
        If shapes differ, or a value is neither true nor false.

    Notes
    -----
    cell-eval2 0.20 `de_sig_jaccard`, where two empty sets score 1.
    """
    shape = real("jaccard", "obs_significant", obs_significant).shape
    called = mask("jaccard", "pred_significant", pred_significant, shape)
    truth = mask("jaccard", "obs_significant", obs_significant, shape)
    either = (called | truth).sum(axis=1)
    return np.where(either > 0, (called & truth).sum(axis=1) / np.maximum(either, 1), np.nan)


def auprc_lift(scores: Any, labels: Any) -> np.ndarray:
    """Average precision of a score for the significant genes over its chance level, for every perturbation.

    The chance level is the share of significant genes, by which the average precision of two perturbations differs
    though both predictions are as good.

    Parameters
    ----------
    scores
        (n_perturbations, n_genes) the higher, the more likely to respond: -log10 p, or the absolute predicted effect.
    labels
        (n_perturbations, n_genes) true where the observed effect is significant.

    Returns
    -------
    (n_perturbations,) values from 0; 1 for a constant score, 1 / share of significant genes for a perfect one. NaN
    where no gene is significant, or all are.

    Raises
    ------
    InputError
        If shapes differ, or a value is NaN or infinite.
    """
    score_pg = real("auprc_lift", "scores", scores)
    label_pg = mask("auprc_lift", "labels", labels, score_pg.shape)
    share = label_pg.mean(axis=1)
    out = np.full(len(share), np.nan)
    for p in np.flatnonzero((share > 0) & (share < 1)):
        out[p] = average_precision_score(label_pg[p], score_pg[p]) / share[p]
    return out


def _chance_of_top(size: np.ndarray, n: int) -> np.ndarray:
    """Chance of each to be among the n largest where ties are broken at random."""
    if n >= len(size):
        return np.ones(len(size))
    last = np.partition(size, -n)[-n]
    above, tied = size > last, size == last
    return above + tied * (n - above.sum()) / tied.sum()
