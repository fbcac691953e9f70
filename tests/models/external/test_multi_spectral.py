"""MultiSpectral against SnapATAC2 itself, and what the adapter adds to it."""

import logging
import sys

import anndata as ad
import numpy as np
import pytest
from scipy import sparse
from sklearn.neighbors import KNeighborsClassifier

from omicsfm import InputError, contract, testing
from omicsfm.models import Saves
from omicsfm.models.external.multi_spectral import MultiSpectral

snapatac2 = pytest.importorskip("snapatac2", reason="SnapATAC2 is not installed", exc_type=ImportError)


@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
def test_contract(check):
    check(lambda: MultiSpectral(6))


def whole(mdata):
    """Cells of every modality that are not empty in any."""
    full = contract.modality_mask(mdata).to_numpy().all(axis=1)
    for adata in mdata.mod.values():
        full &= ~np.isin(mdata.obs_names, adata.obs_names[np.asarray(adata.X.sum(axis=1)).ravel() == 0])
    return contract.subset(mdata, full)


def test_training_cells_and_equal_new_cells_get_the_state_that_snapatac2_gives():
    mdata = testing.toy_mosaic(150)
    model = MultiSpectral(5).fit(mdata)
    cells = whole(mdata)
    views = []
    for mod in ("protein", "rna"):
        x = np.asarray(cells.mod[mod][cells.obs_names].X, dtype=np.float64)[:, model.features_[mod]]
        x = np.log1p(x if mod == "protein" else 1e4 * x / x.sum(axis=1, keepdims=True))
        views.append(ad.AnnData(sparse.csr_matrix(x)))
    state = np.random.get_state()
    _, expected = snapatac2.tl.multi_spectral(views, n_comps=5, features=None, random_state=0)
    np.random.set_state(state)
    found = model.embed(cells)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


def test_a_cell_that_lacks_a_modality_lands_among_its_kind():
    mdata = testing.toy_mosaic(180)
    model = MultiSpectral(5).fit(mdata)
    new = testing.toy_mosaic(90, prefix="new", seed=5)
    kind = np.arange(180) % 3
    judge = KNeighborsClassifier(5).fit(model.embed(mdata), kind)
    for mod in mdata.mod:
        half = contract.subset(new, np.isin(new.obs_names, new.mod[mod].obs_names))
        other = next(m for m in mdata.mod if m != mod)
        alone = contract.subset(half, ~np.isin(half.obs_names, half.mod[other].obs_names))
        truth = np.array([int(name[3:]) % 3 for name in alone.obs_names])
        assert len(truth) > 10 and judge.score(model.embed(alone), truth) > 0.9


def test_weights_move_the_mixing_and_must_name_modalities():
    mdata = testing.toy_mosaic(120)
    plain, heavy = MultiSpectral(4).fit(mdata), MultiSpectral(4, weights={"rna": 10.0}).fit(mdata)
    assert heavy.mixing_["rna"] > plain.mixing_["rna"] + 0.2
    for bad in ({"atac": 1.0}, {"rna": 0.0}):
        with pytest.raises(InputError, match="weights above 0"):
            MultiSpectral(4, weights=bad).fit(mdata)


def test_quiet(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    handlers = list(logging.root.handlers)
    model = MultiSpectral(4).fit(testing.toy_mosaic(60))
    model.embed(testing.toy_mosaic(30, prefix="new"))
    assert capsys.readouterr() == ("", "") and not list(tmp_path.iterdir())
    assert logging.root.handlers == handlers
    assert not isinstance(model, Saves)


def test_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "snapatac2", None)
    with pytest.raises(InputError, match=r"snapatac2.*peers"):
        MultiSpectral().fit(testing.toy_mosaic(60))
