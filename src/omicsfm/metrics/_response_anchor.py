"""What a score is held against: baseline and replicate, a duplicate as good as the data allow, a wrong target."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm._errors import InputError
from omicsfm.metrics._check import real
from omicsfm.metrics._response_pair import per_gene


def rescale(value: Any, *, baseline: Any, anchor: Any, higher_is_better: bool) -> Any:
    """Place a score between a baseline (0) and an anchor such as a replicate (1).

    Parameters
    ----------
    value, baseline, anchor
        Scores: numbers, or arrays that broadcast. Rescale the mean over perturbations rather than each: the ratio of
        a single perturbation is mostly noise.
    higher_is_better
        Direction of the metric.

    Returns
    -------
    (value - baseline) / (anchor - baseline), a float if all are numbers; below 0 and above 1 are possible. NaN where
    the anchor does not beat the baseline: the metric cannot tell a good prediction from a poor one there.
    """
    value, baseline, anchor = (np.asarray(a, dtype=np.float64) for a in (value, baseline, anchor))
    span = anchor - baseline
    beats = span > 0 if higher_is_better else span < 0
    out = np.where(beats, (value - baseline) / np.where(beats, span, 1), np.nan)
    return float(out) if out.ndim == 0 else out


def spearman_brown(r: Any) -> Any:
    """Correlation that two full measurements would have, from that of two halves: 2 r / (1 + r).

    Parameters
    ----------
    r
        Split-half correlation: a number or an array.

    Returns
    -------
    Values 0 to 1, NaN where `r` is NaN. A negative correlation of halves means nothing repeats: 0.

    Raises
    ------
    InputError
        If a value is above 1 or below -1.

    Notes
    -----
    Spearman 1910, doi:10.1111/j.2044-8295.1910.tb00206.x; Brown 1910, doi:10.1111/j.2044-8295.1910.tb00207.x.
    """
    half = np.asarray(r, dtype=np.float64)
    if (np.abs(half) > 1).any():
        raise InputError("spearman_brown: `r` must lie between -1 and 1. Fix: pass correlations.")
    half = np.maximum(half, 0)
    out = 2 * half / (1 + half)
    return float(out) if out.ndim == 0 else out


def interpolated_duplicate(duplicate: Any, mean: Any, weight: Any) -> np.ndarray:
    """Duplicate where an effect is sure, the mean of the perturbations elsewhere: a prediction hard to better.

    A duplicate alone carries the noise of half the cells in every gene, and loses to the mean on genes that do not
    respond.

    Parameters
    ----------
    duplicate
        (n_perturbations, n_genes) means of a half of the cells that the observation is not from.
    mean
        (n_genes,) or (n_perturbations, n_genes) mean of the (other) perturbations.
    weight
        (n_perturbations, n_genes) or (n_genes,) from 0 to 1: 1 - adjusted p of the duplicate against the other
        perturbations.

    Returns
    -------
    (n_perturbations, n_genes) weight * duplicate + (1 - weight) * mean.

    Raises
    ------
    InputError
        If shapes disagree, a value is NaN or infinite, or a weight is outside 0 to 1.

    Notes
    -----
    Miller et al. 2025, doi:10.1101/2025.10.20.683304.
    """
    name = "interpolated_duplicate"
    duplicate_pg = real(name, "duplicate", duplicate)
    mean_pg = per_gene(name, "mean", mean, duplicate_pg.shape)
    weight_pg = per_gene(name, "weight", weight, duplicate_pg.shape)
    if (weight_pg < 0).any() or (weight_pg > 1).any():
        raise InputError(f"{name}: `weight` must lie between 0 and 1. Fix: pass 1 - adjusted p.")
    return weight_pg * duplicate_pg + (1 - weight_pg) * mean_pg


def derangement(n: int, seed: int) -> np.ndarray:
    """Draw a permutation that leaves nothing in its place: predictions of wrong targets, as a control.

    Parameters
    ----------
    n
        Number of perturbations, at least 2. Where one has several rows (contexts), permute perturbations, not rows.
    seed
        The same seed gives the same permutation.

    Returns
    -------
    (n,) integers, each of the permutations without a fixed point equally likely.

    Raises
    ------
    InputError
        If `n` is below 2.
    """
    if n < 2:
        raise InputError(f"derangement: `n` must be at least 2, found {n}. Fix: pass two perturbations or more.")
    rng = np.random.default_rng(seed)
    while True:
        # One in e of all permutations has no fixed point.
        order = rng.permutation(n)
        if not (order == np.arange(n)).any():
            return order
