"""scGen: its shifts, what it learns of another cell type, and what it refuses."""

import os
import random
import sys

import numpy as np
import pandas as pd
import pytest

from omicsfm import InputError, _compat, contract, hub, pp, testing
from omicsfm._optional import MissingDependency
from omicsfm.models.external.scgen import ScGen, _shifts

DESIGN = testing.toy_design().loc[["row0", "row1", "row2", "row5"]]  # what was tried somewhere, and a control


def make(**more):
    return ScGen(**{"max_epochs": 2, "width": 64, "n_latent": 10, "batch_size": 64} | more)


@pytest.fixture(scope="module")
def peer():
    with _compat.silent():
        return pytest.importorskip("pertpy", reason="pertpy is not installed, or not its pins", exc_type=ImportError)


@pytest.fixture(scope="module")
def fitted(peer):
    return make(max_epochs=60).fit(testing.toy_screen())


def test_shifts_compare_each_context_with_its_own_controls():
    """A context with controls alone, far off, and contexts of unlike size leave the shift as it is."""
    rows = [("control", "x", 0.0)] * 2 + [("A", "x", 1.0)] * 9 + [("control", "y", 10.0)] * 5 + [("A", "y", 13.0)]
    rows += [("control", "far", 100.0)] * 50 + [("B", "y", 6.0)] * 2
    what, where, z = (np.array(v) for v in zip(*rows, strict=True))
    design = pd.DataFrame({"perturbation": ["A", "A", "B"], "context": ["x", "y", "y"]})
    found = _shifts(np.stack([z, -2 * z], axis=1), what, where, design)
    assert found.loc["A"].tolist() == [2.0, -4.0] and found.loc["B"].tolist() == [-4.0, 8.0]


def test_it_carries_an_effect_to_the_other_cell_type(fitted):
    found = fitted.respond(pd.DataFrame({"perturbation": ["F", "C+D"], "context": ["B", "B"]})).mean.to_numpy()
    data = pp.response_data(testing.toy_screen())
    for row, name in zip(found, ("F", "C+D"), strict=True):
        there = data.effects[(data.design["perturbation"] == name).to_numpy()].to_numpy()[0]  # in T
        assert np.corrcoef(row, there)[0, 1] > 0.6


def test_answers_have_the_shape_of_the_design(fitted):
    found = fitted.respond(DESIGN)
    assert found.mean.index.equals(DESIGN.index) and found.mean.loc["row5"].eq(0).all()
    part = fitted.respond(DESIGN.iloc[[2, 0]]).mean
    assert part.equals(found.mean.iloc[[2, 0]]) and (found.upper > found.mean).iloc[:3].to_numpy().all()


def test_only_what_was_tried_somewhere(fitted):
    for row, why in ((("Z", "T"), "not tried"), (("A+D", "T"), "not tried"), (("A", "X"), "contexts with controls")):
        with pytest.raises(InputError, match=why):
            fitted.respond(pd.DataFrame([row], columns=["perturbation", "context"]))


def test_a_context_with_controls_alone_can_be_asked_about(peer):
    mdata = testing.toy_screen(8)
    kept = (mdata.obs["cell_type"] == "T") | (mdata.obs["condition"] == "ctrl")
    model = make().fit(contract.subset(mdata, kept.to_numpy()))
    assert model.contexts_ == ("B", "T")
    found = model.respond(pd.DataFrame({"perturbation": ["A", "A"], "context": ["B", "T"]})).mean
    assert found.abs().to_numpy().max(axis=1).min() > 0 and not np.allclose(found.iloc[0], found.iloc[1])


def test_same_seed_same_bits_and_nothing_left_behind(peer, tmp_path, monkeypatch, capfd):
    import scvi

    def state():
        env = {k: os.environ.get(k) for k in ("XLA_FLAGS", "PL_GLOBAL_SEED")}
        return env, random.getstate(), np.random.get_state()[1].tolist(), scvi.settings.seed

    monkeypatch.chdir(tmp_path)
    mdata = testing.toy_screen(8)
    before, marks = state(), contract.fingerprint(mdata)
    first, second, other = (make(seed=s).fit(mdata).respond(DESIGN).mean for s in (1, 1, 2))
    assert first.equals(second) and not first.equals(other)
    assert state() == before and os.listdir() == [] and capfd.readouterr() == ("", "")
    assert contract.fingerprint(mdata) == marks


def test_a_saved_model_answers_the_same(fitted, tmp_path):
    again = hub.load(hub.save(fitted, tmp_path / "model"))
    assert again.respond(DESIGN).upper.equals(fitted.respond(DESIGN).upper)


def test_several_doses_and_effects_alone_are_refused():
    mdata = testing.toy_screen(4)
    mdata.obs["dose"] = np.arange(mdata.n_obs) % 2 + 1.0
    keys = {"perturbation_key": "condition", "control": "ctrl", "context_key": "cell_type", "dose_key": "dose"}
    bare = _compat.make_mudata({"rna": mdata.mod["rna"]}, mdata.obs[["condition", "cell_type", "dose"]])
    contract.setup(bare, **keys)
    with pytest.raises(InputError, match="knows no doses"):
        make().fit(bare)
    with pytest.raises(InputError, match="learns from cells"):
        make().fit_effects(pd.DataFrame(np.eye(2)), pd.DataFrame({"perturbation": ["A", "B"]}))


def test_without_the_peer_one_error_tells_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pertpy", None)
    with pytest.raises(MissingDependency, match="pertpy.*statsmodels<0.15"):
        make().fit(testing.toy_screen(4))
