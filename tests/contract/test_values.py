"""Every kind of sparse matrix that anndata may hold is looked at alike."""

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

from omicsfm import _compat, contract

X = np.array([[0, 2, 0], [0, 0, 0], [5, 0, 1]], dtype=np.float32)


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csr_array, sp.csc_matrix, sp.csc_array, np.asarray])
def test_counts_and_empty_cells(kind):
    report = contract.check(_compat.make_mudata({"rna": ad.AnnData(kind(X))}))
    assert report.ok
    assert any("1 " in note and "zero" in note for note in report.notes), report.notes
    bad = contract.check(_compat.make_mudata({"rna": ad.AnnData(kind(X - 1))}))
    assert not bad.ok
