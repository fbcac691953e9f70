"""Mosaic: the closed form where nothing is earned, better where something is, and nothing touched on the way."""

from __future__ import annotations

import os
import random
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import clone

from omicsfm import InputError, OmicsfmWarning, metrics, testing
from omicsfm.models import LinearMosaic, Mosaic
from omicsfm.models._cells import blocks


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name], err_msg=name)


@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
def test_contract(check) -> None:
    check(lambda: Mosaic(max_epochs=3, d_model=8, n_layers=1))


# ---- what is earned


def test_it_earns_where_the_closed_form_cannot_follow(world: SimpleNamespace, tools: SimpleNamespace) -> None:
    assert world.mosaic.gate_["rna->protein"] > 0.5
    assert world.mosaic.gate_["protein->rna"] > 0.5
    error, found = {}, {}
    for name, model in (("linear", world.linear), ("mosaic", world.mosaic)):
        for mod in ("protein", "rna"):
            imputed = model.impute(world.new, mod)
            truth = imputed.transform(world.new.mod[mod].X)
            error[name, mod] = ((imputed.mean.to_numpy() - truth) ** 2).mean()
            # Intervals keep their promise after the correction.
            inside = (imputed.lower.to_numpy() <= truth) & (truth <= imputed.upper.to_numpy())
            assert 0.87 < inside.mean() < 0.93, (name, mod)
        a, b = (model.embed(tools.alone(world.new, mod)) for mod in ("rna", "protein"))
        found[name] = metrics.foscttm(a, b).mean()
    assert error["mosaic", "protein"] < 0.7 * error["linear", "protein"]
    assert error["mosaic", "rna"] < 0.92 * error["linear", "rna"]
    assert found["mosaic"] < 0.95 * found["linear"]


def test_earned_says_what_held_out_cells_said(world: SimpleNamespace) -> None:
    table = world.mosaic.earned_.set_index(["what", "source", "target"])
    assert list(table.index) == [
        ("tokens", "rna", "protein"),
        ("tokens", "protein", "rna"),
        ("match", "protein", "rna"),
    ]
    assert (abs(table["n"] - 500) <= 3).all()  # every cell was held out once; half of them stopped the training
    assert (table["lower"] > 0).all()
    np.testing.assert_allclose(table["closed_form"] - table["corrected"], table["gain"], rtol=1e-6)
    gates = [world.mosaic.gate_[k] for k in ("rna->protein", "protein->rna", "state")]
    np.testing.assert_array_equal(table["weight"], gates)


@pytest.mark.parametrize("kind", ["linear", "noise"])
def test_it_does_not_earn_where_there_is_nothing(tools: SimpleNamespace, kind: str) -> None:
    """Then every answer is that of the closed form to the bit."""
    rng = np.random.default_rng(3)
    rate = {"rna": np.full((200, 40), 1.0), "protein": np.full((200, 12), 3.0)}
    if kind == "linear":  # one Gaussian factor model for both
        z = rng.normal(size=(200, 4))
        rate = {m: x + z @ rng.normal(0, 0.2, (4, x.shape[1])) for m, x in rate.items()}
    mdata = tools.make_cells({m: rng.poisson(np.exp(x)) for m, x in rate.items()})
    model = Mosaic(**tools.net, max_epochs=3).fit(mdata)
    assert set(model.gate_.values()) == {0.0}
    assert model.correction_ is None
    assert len(model.earned_) and not model.earned_["weight"].any()
    same(tools.answers(model, mdata), tools.answers(LinearMosaic(**tools.linear).fit(mdata), mdata))


def test_state_is_the_closed_form_and_the_weighted_correction(world: SimpleNamespace, tools: SimpleNamespace) -> None:
    """Of a state of comparable spread whatever was measured; its sd changes by what the network says of it."""
    query = tools.alone(world.new, "rna")
    model = world.mosaic
    tokens = model.tokenizer_.transform(query)
    (block,) = blocks(tokens)
    shift, log_sd, _ = model.correction_(model.latent_, tokens, block, ("rna",))
    scale = model.state_.axis_k / np.sqrt(model.latent_.factors.reliability(("rna",)))
    k, weight = model.n_shared_, model.gate_["state"]
    assert weight > 0 and np.abs(log_sd).max() > 0.05
    (mean, sd), (mean0, sd0) = (m.embed(query, return_sd=True) for m in (model, world.linear))
    np.testing.assert_allclose(mean[:, :k], mean0[:, :k] + weight * shift * scale, atol=1e-6)
    np.testing.assert_allclose(sd[:, :k], sd0[:, :k] * np.exp(weight * log_sd), rtol=1e-5)
    np.testing.assert_array_equal(mean[:, k:], mean0[:, k:])


def test_gates_of_zero_are_the_closed_form(world: SimpleNamespace, tools: SimpleNamespace, copy_of) -> None:
    """A correction that is there, with its weights set to nothing; decoders and labels are those of the closed form."""
    model = copy_of(world.mosaic)
    model.gate_ = dict.fromkeys(model.gate_, 0.0)
    model.decoders_, model.labels_ = world.linear.decoders_, world.linear.labels_
    same(tools.answers(model, world.new), tools.answers(world.linear, world.new))


def test_one_modality_is_the_closed_form(tools: SimpleNamespace) -> None:
    mdata = tools.alone(tools.crossed(100), "rna")
    with pytest.warns(OmicsfmWarning, match="one modality only"):
        model = Mosaic(**tools.net, max_epochs=2).fit(mdata)
    with pytest.warns(OmicsfmWarning, match="one modality only"):
        linear = LinearMosaic(**tools.linear).fit(mdata)
    assert model.gate_ == {} and model.earned_.empty
    np.testing.assert_array_equal(model.embed(mdata), linear.embed(mdata))


def test_few_pairs_are_the_closed_form(tools: SimpleNamespace) -> None:
    mdata = tools.crossed(300, has={"protein": np.arange(300) < 59})
    assert Mosaic(**tools.net, max_epochs=2).fit(mdata).gate_ == {}


def test_imputation_does_not_look_at_the_target(tools: SimpleNamespace) -> None:
    """A cell's own protein, the truth, has no say in its predicted protein; batches are aligned by what is shown."""
    batch = np.random.default_rng(5).choice(["a", "b"], 400)
    mdata = tools.crossed(400, batch=batch, shift=batch == "b")
    model = Mosaic(**tools.net, max_epochs=4, batch_penalty="none").fit(mdata)
    assert model.gate_["rna->protein"] > 0
    assert np.abs(model.latent_.aligner.offset["rna"]).max() > 0.05  # else there is nothing to look with
    both, blind = model.impute(mdata, "protein"), model.impute(tools.alone(mdata, "rna"), "protein")
    np.testing.assert_allclose(both.mean, blind.mean, atol=1e-5)


# ---- bits and traces


def test_two_fits_and_a_saved_one_are_the_same_bits(world: SimpleNamespace, tools: SimpleNamespace, copy_of) -> None:
    mdata = tools.crossed(200)
    first = Mosaic(**tools.net, max_epochs=2).fit(mdata)
    expected = tools.answers(first, mdata)
    same(tools.answers(clone(first).fit(mdata), mdata), expected)
    other = clone(first).set_params(seed=1).fit(mdata)
    assert np.abs(other.embed(mdata) - expected["mean"]).max() > 1e-6
    loaded = copy_of(world.mosaic)
    same(tools.answers(loaded, world.new), tools.answers(world.mosaic, world.new))
    assert loaded.gate_ == world.mosaic.gate_
    assert loaded.earned_.equals(world.mosaic.earned_)


def test_it_leaves_no_trace(tools: SimpleNamespace, tmp_path, monkeypatch, capfd) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    mdata = tools.crossed(150, batch=np.repeat(["a", "b"], 75))
    torch.set_num_threads(2)
    before = np.random.get_state()[1].copy(), random.getstate(), torch.get_rng_state(), dict(os.environ)
    Mosaic(**tools.net, max_epochs=2).fit(mdata).embed(mdata)
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])
    assert random.getstate() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert dict(os.environ) == before[3]
    assert torch.get_num_threads() == 2
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


# ---- refusals


@pytest.mark.parametrize(
    "wrong",
    [
        {"mixer": "convolution"},
        {"batch_penalty": "hope"},
        {"likelihood": {"rna": "gaussian"}},
        {"likelihood": {"atac": "nb"}},
        {"dropout": 1.0},
        {"d_model": 0},
        {"n_layers": -1},
        {"batch_size": 0},
        {"max_epochs": -1},
        {"lr": 0.0},
        {"contrast": -1.0},
        {"label_weight": -1.0},
        {"accelerator": "abacus"},
        {"precision": "64-half"},
        {"strategy": "luck"},
        {"devices": 0},
    ],
    ids=str,
)
def test_wrong_values(tools: SimpleNamespace, wrong: dict) -> None:
    name = next(iter(wrong))
    with pytest.raises(InputError, match=name):
        Mosaic(**{**tools.net, "max_epochs": 1, **wrong}).fit(tools.crossed(90))


def test_no_epochs_are_the_closed_form(tools: SimpleNamespace) -> None:
    mdata = tools.crossed(90)
    model = Mosaic(**tools.net, max_epochs=0).fit(mdata)
    assert not any(model.gate_.values())
