"""Contact strength of places on chromosomes that training did not see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from omicsfm import metrics
from omicsfm._errors import InputError
from omicsfm.seq._intervals import read_intervals
from omicsfm.tasks._task import Finding, Scores, Split


@dataclass(frozen=True)
class ContactPairs:
    """Pairs of bins that hold features.

    Attributes
    ----------
    low, high : int64 (n,), positions in `bins`.
    value : float64 (n,), square root of observed over expected (0: no contact); empty where it is asked for.
    bins : DataFrame by bin of the map: `chrom`, `n_features`.
    features : CSR (n_bins, n_vars) of 1 / `n_features`: times any ``varm``, it gives the mean over a bin.
    """

    low: np.ndarray
    high: np.ndarray
    value: np.ndarray
    bins: pd.DataFrame
    features: Any


@dataclass(frozen=True)
class ContactPrediction:
    """How strongly do two places touch, beyond what their distance lets expect? One chromosome is held out at a time.

    Features of one bin share what the map says of it, so bins are the places; all pairs of bins count, those without a
    contact as 0. Scored by blocks of a chromosome, which are the units of an interval.

    Parameters
    ----------
    contacts
        Key of ``varp``, as :func:`omicsfm.seq.add_contacts` wrote it.
    max_bins
        Pairs farther apart are left out; the contacts must reach so far.
    block
        Bins of the map per block.
    """

    contacts: str = "contacts"
    max_bins: int = 25
    block: int = 125

    name = "contacts"
    split_unit = "chromosome"
    primary = ("spearman_by_block",)

    def pairs(self, adata: ad.AnnData) -> ContactPairs:
        """Give all pairs of measured bins of one chromosome, at most `max_bins` apart."""
        key, where = self.contacts, f"{self.contacts}_bin"
        if key not in adata.varp or where not in adata.var:
            raise InputError(
                f"tasks.ContactPrediction: varp has no contacts {key!r}. "
                f"Fix: ofm.seq.add_contacts(adata, ..., key_added={key!r})."
            )
        of_feature = adata.var[where].to_numpy()
        rows = np.flatnonzero(of_feature >= 0)
        number, first, at = np.unique(of_feature[rows], return_index=True, return_inverse=True)
        chrom = read_intervals("tasks.ContactPrediction", adata.var)["chrom"].to_numpy(dtype=object)[rows[first]]
        count = np.bincount(at, minlength=len(number))
        low, high = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        last = np.searchsorted(number, number + self.max_bins, side="right")
        for row, end in enumerate(last):
            other = np.arange(row + 1, end)
            other = other[chrom[other] == chrom[row]]
            low.append(np.full(len(other), row))
            high.append(other)
        i, j = np.concatenate(low), np.concatenate(high)
        if not len(i):
            raise InputError(
                f"tasks.ContactPrediction: no two measured bins are within {self.max_bins} bins. "
                "Fix: a larger max_bins, or a map of larger bins."
            )
        # Any feature of a bin has the contacts of the bin.
        table = sparse.csr_matrix(adata.varp[key])[rows[first]][:, rows[first]]
        over = np.asarray(table[i, j], dtype=np.float64).ravel()
        mean = sparse.csr_matrix((1 / count[at], (at, rows)), shape=(len(number), adata.n_vars))
        bins = pd.DataFrame({"chrom": chrom, "n_features": count}, index=pd.Index(number, name="bin"))
        return ContactPairs(i, j, np.sqrt(over), bins, mean)

    def splits(self, adata: ad.AnnData) -> Iterator[Split]:
        """Give one split per chromosome."""
        found = self.pairs(adata)
        chrom = found.bins["chrom"].to_numpy(dtype=object)[found.low]
        block = found.bins.index.to_numpy()[found.low] // self.block
        for name in pd.unique(chrom):
            held = chrom == name
            if held.all():
                raise InputError("tasks.ContactPrediction: two chromosomes or more are needed. Fix: give all features.")
            yield Split(
                str(name),
                _part(found, ~held, told=True),
                _part(found, held, told=False),
                {"value": found.value[held], "block": np.array([f"{name}:{b}" for b in block[held]], dtype=object)},
            )

    def score(self, prediction: np.ndarray, split: Split) -> Scores:
        """Compare with the truth: one value per block."""
        found = metrics.spearman_by_block(split.truth["value"], prediction, split.truth["block"])
        return {"spearman_by_block": found}

    def audit(self, split: Split) -> list[Finding]:
        """Look for bins of the held-out chromosome in training."""
        held = np.union1d(split.query.low, split.query.high)
        both = np.intersect1d(held, np.union1d(split.train.low, split.train.high))
        return [Finding("bins of the question in training", f"{len(both)} of {len(held)}", not len(both))]


def _part(found: ContactPairs, rows: np.ndarray, *, told: bool) -> ContactPairs:
    value = found.value[rows] if told else np.zeros(0)
    return ContactPairs(found.low[rows], found.high[rows], value, found.bins, found.features)
