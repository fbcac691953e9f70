"""MOFA against mofapy2 itself, and what the adapter keeps from its user."""

import sys
import warnings

import mofapy2.run.entry_point as mofapy2
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from omicsfm import InputError, contract
from omicsfm.models.external import MOFA, mofa
from omicsfm.pp import dense_nan, vstack


def features(tokenizer, mdata, mod):
    """Dense features on the recipe's scale, in the order of ``mdata.obs_names``."""
    scaled = dense_nan(vstack([block for _, block in tokenizer.scaled(mdata, mod)]), None)
    return scaled[np.argsort(contract.rows(mdata, mod))]


def test_mofa_places_cells_where_mofapy2_does(pbmc, monkeypatch, capsys):
    nodes = {}
    train = mofa._train

    def spy(*args):
        nodes.update(train(*args))
        return nodes

    monkeypatch.setattr(mofa, "_train", spy)
    mdata = contract.subset(pbmc, np.arange(0, pbmc.n_obs, 4))
    filters, state = list(warnings.filters), np.random.get_state()[1].copy()
    model = MOFA(8, max_iter=400).fit(mdata)
    assert warnings.filters == filters and (np.random.get_state()[1] == state).all()
    assert capsys.readouterr() == ("", "")
    expected = nodes["Z"].getExpectation()
    found = model.embed(mdata)
    assert found.shape == (400, 8) and contract.modality_mask(mdata).to_numpy().all(axis=1).mean() < 0.6
    used = expected.std(axis=0) > 0.1
    assert used.sum() > 3
    assert np.abs(found - expected).max() < 0.05 * expected[:, used].std()
    y = mdata.obs["celltype"].astype(str).to_numpy()
    new = contract.subset(pbmc, np.arange(1, pbmc.n_obs, 4))
    truth = new.obs["celltype"].astype(str).to_numpy()
    assert KNeighborsClassifier(5).fit(found, y).score(model.embed(new), truth) > 0.8


def test_mofa_says_what_mofapy2_would_have_ended_the_process_with(pbmc, monkeypatch):
    def fails(self):
        raise TypeError("inside mofapy2")

    monkeypatch.setattr(mofapy2.entry_point, "build", mofapy2.keyboardinterrupt_saver(fails))
    mdata = contract.subset(pbmc, np.arange(0, pbmc.n_obs, 16))
    with pytest.raises(TypeError, match="inside mofapy2"):
        MOFA(3).fit(mdata)


def test_mofa_holds_no_more_features_than_asked(make_mosaic):
    model = MOFA(3, max_features=10, max_iter=20).fit(make_mosaic(60))
    x = features(model.tokenizer_, make_mosaic(60), "rna")
    assert {m: len(f) for m, f in model.features_.items()} == {"rna": 10, "protein": 10}
    assert set(model.features_["rna"]) == set(np.argsort(-x.var(axis=0))[:10])
    with pytest.raises(InputError, match="more cells than factors"):
        MOFA(60).fit(make_mosaic(60))


def test_a_model_says_which_dependency_it_lacks(pbmc, monkeypatch):
    monkeypatch.setitem(sys.modules, "mofapy2.run.entry_point", None)
    with pytest.raises(InputError, match=r"mofapy2.*peers"):
        MOFA().fit(pbmc)
