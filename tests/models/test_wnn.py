"""WNN against a cell-by-cell implementation of the paper."""

import numpy as np
import pytest
from sklearn.preprocessing import normalize

from omicsfm import InputError, contract
from omicsfm.models import baselines
from omicsfm.models.baselines import (
    WNN,
)
from omicsfm.models.baselines._views import block_of


def wnn_weights_by_loop(x, k):
    """Hao et al. (2021), cell by cell."""
    x = {m: normalize(v) for m, v in x.items()}
    n = len(next(iter(x.values())))
    near, nearest, width = {}, {}, {}
    for m, v in x.items():
        distance = [[np.linalg.norm(v[i] - v[j]) for j in range(n)] for i in range(n)]
        near[m] = [
            sorted((j for j in range(n) if j != i), key=lambda j, i=i, d=distance: d[i][j])[:k] for i in range(n)
        ]
        nearest[m] = [distance[i][near[m][i][0]] for i in range(n)]
        width[m] = []
        for i in range(n):
            shared = [(len(set(near[m][i]) & set(near[m][j])), -distance[i][j]) for j in range(n) if j != i]
            far = sorted((s / (2 * k - s), d) for s, d in shared if s > 0)[:k]
            width[m].append(np.mean([-d for _, d in far]) - nearest[m][i])
    weights = np.zeros((n, len(x)))
    for i in range(n):
        ratio = []
        for m, v in x.items():
            theta = {}
            for other in x:
                predicted = np.mean([v[j] for j in near[other][i]], axis=0)
                gap = max(np.linalg.norm(v[i] - predicted) - nearest[m][i], 0)
                theta[other] = np.exp(-gap / width[m][i])
            ratio.append(min(theta[m] / (max(t for o, t in theta.items() if o != m) + 1e-4), 200))
        weights[i] = np.exp(ratio) / np.exp(ratio).sum()
    return weights


def test_wnn_weights_are_those_of_the_paper(paired):
    mdata = contract.subset(paired, slice(0, 120))
    model = WNN(5, n_neighbors=10, n_candidates=30).fit(mdata)
    tokens = model.tokenizer_.transform(mdata)
    x = {m: (tokens.values[m] - model.views_.mean[m])[np.argsort(tokens.rows[m])] for m in sorted(tokens.values)}
    found = baselines._wnn.weighted_neighbors(model.reference_, {m: normalize(v) for m, v in x.items()}, 30)
    expected = wnn_weights_by_loop(x, 10)
    assert np.allclose(found[2], expected, atol=1e-4)
    assert 0.05 < expected[:, 0].std() or np.ptp(expected[:, 0]) > 0.1  # weights that do differ
    assert not (found[0] == np.arange(120)[:, None]).any()  # never its own neighbour
    assert all(len(set(row)) == 10 for row in found[0].tolist())
    assert (np.diff(found[1], axis=1) <= 0).all()


def test_wnn_of_one_modality_weighs_it_fully(paired):
    model = WNN().fit(paired)
    x = normalize(model.views_.one(model.tokenizer_.transform(paired), *_block(model, paired, "rna")))
    assert (baselines._wnn.weighted_neighbors(model.reference_, {"rna": x}, 200)[2] == 1).all()


def _block(model, mdata, mod):
    return block_of(model.tokenizer_.transform(mdata), np.arange(mdata.n_obs), (mod,)), mod


def test_wnn_states_are_diffusion_components(paired):
    """One step of the walk from a training cell gives its own eigenvector again, shrunk by the eigenvalue."""
    model = WNN(3).fit(paired)
    z = model.embed(paired)
    complete = model.states_
    for i in range(3):
        assert np.corrcoef(z[:, i], complete[:, i])[0, 1] > 0.97


def test_wnn_needs_complete_cells(make_mosaic):
    i = np.arange(90)
    has = {"rna": i % 3 != 0, "protein": i % 3 != 1, "atac": i % 3 != 2}
    mdata = make_mosaic(90, has=has, n_vars={"rna": 60, "protein": 30, "atac": 80})
    with pytest.raises(InputError, match="at least 10 cells with all of atac, protein, rna are needed, found 0"):
        WNN().fit(mdata)
