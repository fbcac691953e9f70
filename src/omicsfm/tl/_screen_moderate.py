"""Variances of many genes from few replicates: each drawn toward what genes have in common, as far as these agree."""

from __future__ import annotations

import numpy as np
from scipy.special import polygamma, psi

_MIN_GENES = 20


def squeeze(ratio: np.ndarray, df: int, *, common: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw variances toward their common value.

    Parameters
    ----------
    ratio
        (n_genes,) variances, each with `df` degrees of freedom; NaN where there is none, which gets the common value.
    common
        (n_genes,) bool, from which genes to learn what they have in common: those that are seen often enough for a
        variance to behave like one.

    Returns
    -------
    Moderated variances (n_genes,), and their degrees of freedom (n_genes,), infinite where genes agree entirely.

    References
    ----------
    Smyth (2004), Stat. Appl. Genet. Mol. Biol. 3:3, section 6.2: a scaled F distribution, by moments of the logarithm.
    """
    used = np.isfinite(ratio) & (ratio > 0)
    if used.sum() < 3:
        return np.where(np.isfinite(ratio), ratio, 1.0), np.full(len(ratio), float(df))
    if (used & common).sum() >= _MIN_GENES:
        used &= common
    # A gene whose replicates agree by chance to the last digit would rule the mean of logarithms.
    log = np.log(np.maximum(ratio[used], 1e-5 * np.median(ratio[used]))) - psi(df / 2) + np.log(df / 2)
    excess = log.var(ddof=1) - float(polygamma(1, df / 2))
    if excess <= 0:
        return np.full(len(ratio), float(ratio[used].mean())), np.full(len(ratio), np.inf)
    prior = 2 * _trigamma_inverse(excess)
    shared = float(np.exp(log.mean() + psi(prior / 2) - np.log(prior / 2)))
    out = (prior * shared + df * ratio) / (prior + df)
    return np.where(np.isfinite(ratio), out, shared), np.full(len(ratio), prior + df)


def _trigamma_inverse(value: float) -> float:
    """Solve trigamma(y) = value by Newton on 1 / trigamma, which is nearly straight."""
    y = 0.5 + 1 / value
    for _ in range(50):
        tri = float(polygamma(1, y))
        step = tri * (1 - tri / value) / float(polygamma(2, y))
        y += step
        if -step / y < 1e-8:
            break
    return y
