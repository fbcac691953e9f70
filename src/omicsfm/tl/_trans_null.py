"""How surprising the correlation of a peak with a gene is, beside peaks that cannot regulate it in cis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omicsfm._errors import InputError

_PER_BIN = 250  # background peaks by bin of accessibility
_BINS = 10
_MIN_BIN = 40  # peaks of a bin, at least
_MIN_NULL = 20  # peaks on other chromosomes that a gene is compared with, at least
_POOL = 2_000_000  # null values that are kept
_GENES = 512  # at once


@dataclass(frozen=True)
class Judged:
    """Correlations (n_pairs,) and their p-values; NaN where one of the two does not vary or was not measured."""

    correlation: np.ndarray
    p: np.ndarray


def judge(
    peak: Sequence[np.ndarray],
    gene: Sequence[np.ndarray],
    *,
    pairs: tuple[np.ndarray, np.ndarray],
    chroms: tuple[np.ndarray, np.ndarray],
    seed: int,
) -> Judged:
    """Correlate pairs over states, and compare each with the same gene and peaks of other chromosomes.

    Parameters
    ----------
    peak, gene
        By grouping of the cells, (n_states, n_peaks) and (n_states, n_genes); correlations are averaged over groupings.
        A feature with a NaN is left out.
    pairs
        Positions of peaks and of genes, (n_pairs,) each.
    chroms
        Chromosome of each peak and of each gene.
    seed
        Of the sample of background peaks.

    Raises
    ------
    InputError
        If a gene has fewer than 20 peaks on other chromosomes.

    Notes
    -----
    Correlations are Fisher-transformed; mean and sd come from peaks on other chromosomes with like accessibility (a
    tenth of the peaks), gene by gene, so that states in which everything is open count for nothing. p is the share of
    background pairs, of all genes, that lie as far from the mean of the others as the pair does; both are studentised
    (Cook & Weisberg 1982, Residuals and Influence in Regression, section 2.2.1), so that they compare.
    """
    rng = np.random.default_rng(seed)
    peak_z, peak_ok = _standard(peak)
    gene_z, gene_ok = _standard(gene)
    bin_p = _bins(np.nan_to_num(np.mean([x.mean(axis=0) for x in peak], axis=0)), peak_ok)
    sample = np.concatenate(
        [rng.permutation(np.flatnonzero(peak_ok & (bin_p == b)))[:_PER_BIN] for b in range(bin_p.max() + 1)]
    )
    peak_i, gene_i = pairs
    usable = peak_ok[peak_i] & gene_ok[gene_i]
    correlation, distance, p = (np.full(len(peak_i), np.nan) for _ in range(3))
    null: list[np.ndarray] = []
    asked = np.unique(gene_i[usable])
    keep = min(1.0, _POOL / max(1, len(asked) * len(sample)))
    order = np.argsort(gene_i, kind="stable")
    for start in range(0, len(asked), _GENES):
        some = asked[start : start + _GENES]
        trans = chroms[0][sample][None] != chroms[1][some][:, None]
        if trans.sum(axis=1).min() < _MIN_NULL:
            short = int(some[np.argmin(trans.sum(axis=1))])
            raise InputError(
                f"peak_to_gene: {_MIN_NULL} varying peaks or more on other chromosomes than a gene's are needed "
                f"to judge its links, found {int(trans.sum(axis=1).min())} for a gene on {chroms[1][short]}. "
                "Fix: give all peaks, of all chromosomes."
            )
        far = np.where(trans, _fisher(gene_z[:, some].T @ peak_z[:, sample]), np.nan)
        groups = [_background(far, bin_p[sample] == b) for b in range(bin_p.max() + 1)]
        mean, sd, n = (np.column_stack(parts) for parts in zip(*groups, strict=True))
        at = bin_p[sample]
        away = _left_out(far - mean[:, at], sd[:, at], n[:, at])[trans]
        null.append(away if keep == 1 else away[rng.random(len(away)) < keep])
        lo, hi = np.searchsorted(gene_i[order], [some[0], some[-1] + 1])
        mine = order[lo:hi]
        mine = mine[usable[mine]]
        row = np.searchsorted(some, gene_i[mine])
        correlation[mine] = (peak_z[:, peak_i[mine]] * gene_z[:, gene_i[mine]]).sum(axis=0)
        where = row, bin_p[peak_i[mine]]
        distance[mine] = np.abs(_fisher(correlation[mine]) - mean[where]) / (sd[where] * np.sqrt(1 + 1 / n[where]))
    pool = np.sort(np.concatenate(null)) if null else np.zeros(0)
    p[usable] = (1 + len(pool) - np.searchsorted(pool, distance[usable], side="left")) / (1 + len(pool))
    return Judged(np.clip(correlation, -1, 1), p)


def _standard(groupings: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Centre columns and scale them, so that the product of two is their mean correlation; tell which can be used."""
    parts, fine = [], np.ones(groupings[0].shape[1], dtype=bool)
    for x_sg in groupings:
        centred = x_sg - x_sg.mean(axis=0)
        length = np.sqrt((centred**2).sum(axis=0)) * len(groupings) ** 0.5
        fine &= np.isfinite(length) & (length > 1e-9)
        parts.append(np.divide(centred, length, out=np.zeros_like(centred), where=fine))
    return np.vstack(parts), fine


def _bins(level: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """Give each peak its bin of accessibility, of equal numbers of usable peaks."""
    n = max(1, min(_BINS, int(fine.sum()) // _MIN_BIN))
    edges = np.quantile(level[fine], np.linspace(0, 1, n + 1)[1:-1]) if fine.any() else np.zeros(0)
    return np.searchsorted(edges, level, side="right")


def _background(far: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, sd and number of a gene's background (n_genes,): peaks `inside`, or all of them where those are few."""
    some = np.where(inside, far, np.nan)
    few = (~np.isnan(some)).sum(axis=1) < _MIN_NULL
    some[few] = far[few]
    return np.nanmean(some, axis=1), np.nanstd(some, axis=1, ddof=1), (~np.isnan(some)).sum(axis=1)


def _left_out(away: np.ndarray, sd: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Distance of a background value from the mean of the others, in their sd: what a new value is measured by."""
    rest = np.maximum((n - 1) * sd**2 - away**2 * n / (n - 1), 1e-12) / (n - 2)
    return np.abs(away) / np.sqrt(rest * (1 - 1 / n))


def _fisher(r: np.ndarray) -> np.ndarray:
    return np.arctanh(np.clip(r, -0.999999, 0.999999))
