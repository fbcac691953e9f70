from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from omicsfm import InputError, _compat
from omicsfm.tasks import ContactPrediction


@pytest.fixture
def promoters() -> ad.AnnData:
    """Features in bins 0, 0, 1, 4 of chr1 (one not measured) and 10, 11 of chr2, with contacts by bin."""
    bins = np.array([0, 4, 0, -1, 1, 11, 10], dtype=np.int32)
    chrom = np.where(bins >= 10, "chr2", "chr1")
    var = pd.DataFrame({"chrom": chrom, "start": 10, "end": 20, "c_bin": bins}, index=[f"p{i}" for i in range(7)])
    over = np.zeros((12, 12))
    over[0, 1] = over[1, 0] = 4.0
    over[10, 11] = over[11, 10] = 9.0
    table = np.where((bins[:, None] >= 0) & (bins >= 0) & (bins[:, None] != bins), over[np.ix_(bins, bins)], 0)
    with _compat.quiet():
        adata = ad.AnnData(sparse.csr_matrix((1, 7), dtype=np.float32), var=var)
    adata.varp["c"] = sparse.csr_matrix(table)
    adata.varm["x"] = np.arange(7.0)[:, None]
    return adata


def test_all_pairs_of_measured_bins_count_and_no_contact_is_zero(promoters):
    found = ContactPrediction("c").pairs(promoters)
    number = found.bins.index.to_numpy()
    pairs = {(number[i], number[j]): v for i, j, v in zip(found.low, found.high, found.value, strict=True)}
    assert pairs == {(0, 1): 2.0, (0, 4): 0.0, (1, 4): 0.0, (10, 11): 3.0}  # roots of observed over expected
    assert found.bins["n_features"].tolist() == [2, 1, 1, 1, 1]
    np.testing.assert_allclose((found.features @ promoters.varm["x"]).ravel(), [1.0, 4.0, 1.0, 6.0, 5.0])


def test_far_pairs_are_left_out(promoters):
    found = ContactPrediction("c", max_bins=3).pairs(promoters)
    assert sorted(found.bins.index[found.high] - found.bins.index[found.low]) == [1, 1, 3]


def test_a_chromosome_is_held_out_with_all_its_bins(promoters):
    task = ContactPrediction("c", block=2)
    splits = {split.unit: split for split in task.splits(promoters)}
    assert set(splits) == {"chr1", "chr2"}
    split = splits["chr1"]
    assert split.train.value.tolist() == [3.0] and not len(split.query.value)
    assert sorted(split.truth["value"]) == [0.0, 0.0, 2.0]
    assert set(split.truth["block"]) == {"chr1:0"}
    assert all(finding.ok for split in splits.values() for finding in task.audit(split))
    assert not task.audit(type(split)("chr1", split.query, split.query, split.truth))[0].ok
    assert task.score(np.array([3.0, 1.0, 1.0]), split)["spearman_by_block"] == pytest.approx([1.0])


def test_what_is_missing_is_told(promoters):
    with pytest.raises(InputError, match="add_contacts"):
        ContactPrediction("contacts:wt").pairs(promoters)
    with pytest.raises(InputError, match="two chromosomes or more"):
        list(ContactPrediction("c").splits(promoters[:, promoters.var["chrom"] == "chr1"].copy()))
    with pytest.raises(InputError, match="no two measured bins"):
        ContactPrediction("c").pairs(promoters[:, :1].copy())
