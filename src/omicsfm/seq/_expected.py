"""Contacts over what their distance lets expect."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from omicsfm.seq._contact_map import Band

_GROWTH = 1.12  # of the width of distance groups: some twenty a decade, so that far ones hold enough pairs


def distance_groups(width: int) -> np.ndarray:
    """Give the group of each distance, int64 (width + 1,): one bin wide at first, then ever wider."""
    group, start, number = np.empty(width + 1, dtype=np.int64), 0, 0
    while start <= width:
        end = max(start + 1, int(start * _GROWTH))
        group[start:end] = number
        start, number = end, number + 1
    return group


def observed_over_expected(bands: Sequence[Band], width: int, *, pooled: bool) -> list[np.ndarray]:
    """Divide contacts by their mean over all pairs of valid bins of one distance group, those without any included.

    Parameters
    ----------
    bands
        Contacts by region, at most `width` bins apart.
    width
        Largest distance, in bins.
    pooled
        One expectation for all regions; else each has its own.

    Returns
    -------
    By region, float64 (n,) in the order of its contacts.

    References
    ----------
    Lieberman-Aiden et al. (2009), Science 326:289, normalisation by genomic distance.
    """
    group = distance_groups(width)
    sums = [_sums(band, group) for band in bands]
    if pooled and sums:
        sums = [(np.sum([s for s, _ in sums], axis=0), np.sum([n for _, n in sums], axis=0))] * len(bands)
    out = []
    for band, (total, pairs) in zip(bands, sums, strict=True):
        expected = total / np.maximum(pairs, 1)
        out.append(band.value / expected[group[band.high - band.low]])
    return out


def _sums(band: Band, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Contacts and pairs of valid bins of one region, by distance group."""
    n_bins = len(band.valid)
    pairs = np.zeros(len(group))
    for distance in range(min(len(group), n_bins)):
        pairs[distance] = np.count_nonzero(band.valid[: n_bins - distance] & band.valid[distance:])
    n_groups = int(group[-1]) + 1
    observed = np.bincount(group[band.high - band.low], band.value, n_groups)
    return observed, np.bincount(group, pairs, n_groups)
