"""biolord: how perturbations are told in numbers, its network against our copy, what it learns and what it refuses."""

import os
import random
import sys

import numpy as np
import pandas as pd
import pytest

from omicsfm import InputError, _compat, contract, hub, pp, testing
from omicsfm._optional import MissingDependency
from omicsfm.models.external import _response_peers
from omicsfm.models.external.biolord import Biolord

DESIGN = testing.toy_design().drop(index="row4")  # without the target that nothing is known of


def make(**more):
    return Biolord(**{"max_epochs": 150, "width": 64, "lr": 5e-3, "n_latent": 8, "batch_size": 64} | more)


@pytest.fixture(scope="module")
def peer():
    with _compat.silent():
        return pytest.importorskip("biolord", reason="biolord is not installed", exc_type=ImportError)


@pytest.fixture(scope="module")
def fitted(peer):
    """The model, and the network it was taken from."""
    kept = []
    with pytest.MonkeyPatch.context() as patch:
        train = peer.Biolord.train
        patch.setattr(peer.Biolord, "train", lambda self, **kw: (kept.append(self), train(self, **kw))[1])
        return make().fit(testing.toy_screen()), kept[0]


def told(design, *, targets=("A", "B"), most=1.0, features=None):
    model = Biolord()
    features = pd.DataFrame(index=[]) if features is None else features
    model.targets_, model.most_ = pd.Index(targets), most
    model.known_, model.features_ = pd.Index(features.index, dtype=object), features.to_numpy(dtype=float)
    return model._attribute(pd.DataFrame(design, columns=["perturbation", "dose"]))


def test_members_are_entries_and_features_add_up():
    features = pd.DataFrame([[1.0, 2.0], [10.0, 20.0]], index=["B", "Z"])
    found = told([("A", np.nan), ("A+B", np.nan), ("B+Z", np.nan), ("control", np.nan)], features=features)
    assert found.tolist() == [[1, 0, 0, 0], [1, 1, 1, 2], [0, 1, 11, 22], [0, 0, 0, 0]]


def test_a_dose_is_a_share_of_the_largest_logarithm():
    found = told([("A", 99.0), ("A", 9.0), ("A+B", 0.0)], most=np.log(100))
    np.testing.assert_allclose(found, [[1, 0], [0.5, 0], [0, 0]])


def test_the_copy_of_a_network_computes_what_the_network_does():
    import torch

    torch.manual_seed(0)
    parts = (
        torch.nn.Linear(4, 6, bias=False),
        torch.nn.BatchNorm1d(6, eps=0.001),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.5),
    )
    network = torch.nn.Sequential(*parts, torch.nn.Linear(6, 3))
    for _ in range(3):
        network(torch.randn(20, 4) + 2)  # the running mean and variance move
    x = torch.randn(5, 4)
    with torch.no_grad():
        expected = network.eval()(x).numpy()
    found = _response_peers.run(_response_peers.layers_of(network), x.numpy().astype(float))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_effects_are_control_cells_decoded_with_and_without(fitted, peer):
    model, theirs = fitted
    import torch

    mdata = testing.toy_screen()
    who = contract.perturbations(mdata)
    cells = np.flatnonzero((who["is_control"] & (who["context"] == "B")).to_numpy())
    tensors = theirs.get_dataset(theirs.adata, indices=cells)
    with torch.no_grad():
        without = theirs.module.get_expression(tensors)[0].mean(dim=0)
        asked = pd.DataFrame({"perturbation": ["C", "D"], "dose": np.nan})
        both = torch.tensor(model._attribute(asked).sum(axis=0), dtype=torch.float32)
        tensors["what"] = both.repeat(len(cells), 1)
        expected = (theirs.module.get_expression(tensors)[0].mean(dim=0) - without).numpy()
    found = model.respond(pd.DataFrame({"perturbation": ["C+D"], "context": ["B"]})).mean.to_numpy()[0]
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_it_learns_an_effect_in_the_other_cell_type(fitted):
    model, _ = fitted
    found = model.respond(pd.DataFrame({"perturbation": ["F", "C+D"], "context": ["B", "B"]})).mean.to_numpy()
    data = pp.response_data(testing.toy_screen())
    for row, name in zip(found, ("F", "C+D"), strict=True):
        here = data.effects[(data.design["perturbation"] == name).to_numpy()].to_numpy()[0]  # in T
        assert np.corrcoef(row, here)[0, 1] > 0.7


def test_all_cells_are_trained_on(fitted):
    _, theirs = fitted
    assert len(theirs.train_indices) == theirs.adata.n_obs and theirs.adata.n_obs == testing.toy_screen().n_obs


def test_answers_have_the_shape_of_the_design(fitted):
    model, _ = fitted
    found = model.respond(DESIGN)
    assert found.mean.index.equals(DESIGN.index) and found.mean.loc["row5"].eq(0).all()
    assert (found.upper > found.mean).to_numpy()[:-1].all() and (found.reliability[:-1] == 0).all()


def test_only_known_targets_and_contexts(fitted):
    model, _ = fitted
    for row, why in ((("Z", "T"), "have no prior"), (("A+Z", "T"), "have no prior"), (("A", "X"), "contexts")):
        with pytest.raises(InputError, match=why):
            model.respond(pd.DataFrame([row], columns=["perturbation", "context"]))


def test_an_unseen_target_is_predicted_from_its_prior(peer):
    mdata = testing.toy_screen()
    seen = contract.subset(mdata, ~mdata.obs["condition"].isin(["B", "A+B"]).to_numpy())
    model = make(max_epochs=2).fit(seen)
    asked = pd.DataFrame({"perturbation": ["B", "E"], "context": ["T", "T"]})
    assert "B" not in model.targets_ and model.respond(asked).mean.iloc[0].abs().max() > 0
    del seen.mod["guide"].varm["prior_toy"]
    with pytest.raises(InputError, match="B cannot be predicted"):
        make(max_epochs=2).fit(seen).respond(asked)


def test_same_seed_same_bits(peer):
    first, second, other = (
        make(max_epochs=2, seed=s).fit(testing.toy_screen()).respond(DESIGN).mean for s in (1, 1, 2)
    )
    assert first.equals(second) and not first.equals(other)


def test_nothing_is_left_behind(peer, tmp_path, monkeypatch, capfd):
    import scvi
    import torch

    def state():
        env = {k: os.environ.get(k) for k in ("XLA_FLAGS", "PL_GLOBAL_SEED")}
        numbers = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        return env, numbers, scvi.settings.seed, torch.get_num_threads(), torch.backends.cudnn.deterministic

    monkeypatch.chdir(tmp_path)
    mdata = testing.toy_screen()
    before, marks = state(), contract.fingerprint(mdata)
    make(max_epochs=2).fit(mdata).respond(DESIGN)
    assert state() == before and os.listdir() == [] and capfd.readouterr() == ("", "")
    assert contract.fingerprint(mdata) == marks


def test_a_saved_model_answers_the_same(fitted, tmp_path):
    model, _ = fitted
    again = hub.load(hub.save(model, tmp_path / "model"))
    assert again.respond(DESIGN).upper.equals(model.respond(DESIGN).upper)


def test_effects_alone_are_refused():
    with pytest.raises(InputError, match="learns from cells"):
        make().fit_effects(pd.DataFrame(np.eye(2)), pd.DataFrame({"perturbation": ["A", "B"]}))
    with pytest.raises(InputError, match="learns from cells"):
        make().fit(pp.response_data(testing.toy_screen()))


def test_without_the_peer_one_error_tells_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "biolord", None)
    with pytest.raises(MissingDependency, match="pip install.*biolord"):
        make().fit(testing.toy_screen())


def test_cells_without_perturbation_or_controls_are_left_out():
    mdata = testing.toy_screen(5)
    mdata.obs["condition"] = mdata.obs["condition"].astype(object)
    mdata.obs.iloc[0, mdata.obs.columns.get_loc("condition")] = None
    mdata.obs["cell_type"] = mdata.obs["cell_type"].astype(object)
    lost = (mdata.obs["cell_type"] == "B") & (mdata.obs["condition"] == "ctrl")
    kept = contract.subset(mdata, ~lost.to_numpy())
    data = _response_peers.CellData.of(kept, "rna")
    assert set(data.cells["context"]) == {"T"} and len(data.x) == len(data.cells) == 45 - 1
    for name in ("control", "A"):
        mean = data.x[(data.cells["perturbation"] == name).to_numpy()].mean(axis=0)
        effect = mean - data.controls.to_numpy()[0]
        wanted = (
            data.effects[(data.design["perturbation"] == name).to_numpy()].to_numpy() if name == "A" else [[0.0] * 30]
        )
        np.testing.assert_allclose(effect, wanted[0], atol=1e-5)
