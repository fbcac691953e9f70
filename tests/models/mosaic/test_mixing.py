"""Mixing of batches: what they share is moved together, how they are composed is not, and nothing without a gain."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from omicsfm import metrics
from omicsfm.models import Mosaic
from omicsfm.models._cells import positions
from omicsfm.models._correction import Mixing, Options, View, fit_mixing
from omicsfm.models._correction import _mixing as mixing
from omicsfm.models._correction._mixing import _balance


def options(**more) -> Options:
    params = Mosaic(accelerator="cpu", **more).get_params()
    return Options(**{name: params[name] for name in Options.__dataclass_fields__})


def two_batches(n: int = 400, *, shift: float = 1.0, share: tuple[float, float] = (0.5, 0.5), seed: int = 0) -> View:
    """Cells of two types far apart; the second batch lies beside the first, and has another share of the first type."""
    rng = np.random.default_rng(seed)
    batch = rng.integers(0, 2, n)
    kind = (rng.random(n) > np.array(share)[batch]).astype(int)
    state = rng.normal(0, 0.5, (n, 4))
    state[:, 0] += 6 * kind
    state[:, 1] += shift * batch * np.where(kind == 1, 1.0, -1.0)  # no common shift: not undone by centring
    return View(("rna",), np.arange(n), state, np.array(["a", "b"])[batch], np.eye(2)[kind])


def ilisi(state: np.ndarray, batch: np.ndarray) -> float:
    return float(metrics.ilisi(metrics.neighbors(state, 30), batch).mean())


@pytest.fixture
def steps(monkeypatch) -> None:
    from omicsfm.models._correction import _mixing_net

    monkeypatch.setattr(_mixing_net, "N_STEPS", 80)
    monkeypatch.setattr(_mixing_net, "BATCH", 128)


@pytest.mark.parametrize(("penalty", "gain"), [("mmd", 0.15), ("adversary", 0.04)])
@pytest.mark.usefixtures("steps")
def test_batches_are_mixed_and_types_stay(penalty: str, gain: float) -> None:
    view = two_batches()
    found, row = fit_mixing([view], options=options(batch_penalty=penalty))
    assert (row.what, row.weight > 0) == ("batches", True)
    assert row.corrected > row.closed_form + gain
    new = two_batches(seed=1)
    moved = new.state_nk + row.weight * found(new.state_nk, new.batch_n)
    before, after = ilisi(new.state_nk, new.batch_n), ilisi(moved, new.batch_n)
    assert after > before + gain
    kind = new.weight_nc.argmax(axis=1)
    nearest = metrics.neighbors(moved, 5).indices
    assert (kind[nearest] == kind[:, None]).mean() > 0.99


@pytest.mark.usefixtures("steps")
def test_composition_is_not_mixed_away() -> None:
    """Eight in ten cells of one batch are what two in ten of the other are."""
    found, row = fit_mixing([two_batches(shift=0.0, share=(0.8, 0.2))], options=options())
    assert found is None
    assert row.weight == 0  # batches do not differ otherwise
    shifted = two_batches(shift=1.0, share=(0.8, 0.2))
    found, row = fit_mixing([shifted], options=options())
    assert found is not None
    moved = shifted.state_nk + row.weight * found(shifted.state_nk, shifted.batch_n)
    kind = shifted.weight_nc.argmax(axis=1)
    nearest = metrics.neighbors(moved, 15).indices
    assert (kind[nearest] == kind[:, None]).mean() > 0.99
    for k in (0, 1):  # types are where they were, not drawn towards each other
        far = np.linalg.norm(moved[kind == k].mean(axis=0) - shifted.state_nk[kind == k].mean(axis=0))
        assert far < 1.0


def test_nothing_is_moved_without_a_gain() -> None:
    for seed in range(3):
        found, row = fit_mixing([two_batches(200, shift=0.0, seed=seed)], options=options())
        assert found is None
        assert row.weight == 0


def test_a_mixing_that_costs_is_refused() -> None:
    """Costs in neighbours of the same state, or in how far apart the halves of a cell lie."""
    rng = np.random.default_rng(0)
    before = np.vstack([rng.normal(1.2, 0.1, 500), np.ones(500)])
    better, none = before + np.array([[0.3], [0.0]]), np.zeros(0)
    row = mixing._weigh(before, better, none, 0.5)
    assert row.weight == 0.5
    assert (row.closed_form, row.corrected) == pytest.approx((before[0].mean(), better[0].mean()))
    assert mixing._weigh(before, before + np.array([[0.3], [-0.02]]), none, 0.5).weight == 0.0
    noisy = before + np.vstack([rng.normal(0, 1.0, 500), np.zeros(500)])
    assert mixing._weigh(before, noisy, none, 0.5).weight == 0.0
    assert mixing._weigh(before, better, rng.normal(-0.05, 0.01, 200), 0.5).weight == 0.5
    assert mixing._weigh(before, better, rng.normal(0.05, 0.01, 200), 0.5).weight == 0.0


def test_too_few_cells_are_not_tried() -> None:
    view = two_batches(200)
    few = view.part(np.flatnonzero((view.batch_n == "a") | (np.cumsum(view.batch_n == "b") < 60)))
    assert fit_mixing([few], options=options()) == (None, None)
    one = view.part(np.flatnonzero(view.batch_n == "a"))
    assert fit_mixing([one], options=options()) == (None, None)


def test_balance_gives_batches_the_same_composition() -> None:
    rng = np.random.default_rng(0)
    code = np.repeat([0, 1, 2], [300, 100, 60])
    share = np.array([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.3, 0.4, 0.3]])
    kind = np.array([rng.choice(3, p=share[b]) for b in code])
    weight = _balance(np.eye(3)[kind], code)
    parts = np.array([[weight[(code == b) & (kind == k)].sum() for k in range(3)] for b in range(3)])
    parts /= parts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(parts, np.repeat(parts[:1], 3, axis=0), atol=1e-6)
    # A type that a batch hardly has does not speak through a few cells.
    rare = np.eye(2)[np.r_[np.zeros(999, int), 1, np.ones(1000, int)]]
    assert _balance(rare, np.repeat([0, 1], 1000)).max() <= 5.0


def test_cells_are_judged_by_networks_that_did_not_see_them(monkeypatch) -> None:
    """Every cell once, and all its views together."""
    trained, asked = [], []
    train, look = mixing._train, mixing._look

    def spy_train(views, *rest):
        trained.append(set().union(*(v.cell.tolist() for v in views)))
        asked.append(set())
        return train(views, *rest)

    def spy_look(view, state):
        asked[-1].update(view.cell.tolist())
        return look(view, state)

    monkeypatch.setattr(mixing, "_train", spy_train)
    monkeypatch.setattr(mixing, "_look", spy_look)
    one = two_batches(300)
    fit_mixing([one, one.part(np.arange(0, 300, 2))], options=options())
    for seen, looked in zip(trained[: mixing.N_PARTS], asked, strict=False):
        assert not seen & looked
        assert seen | looked == set(range(300))
    assert sum(map(len, asked)) == 300


def test_cells_of_unknown_batches_stay() -> None:
    from omicsfm.models._correction._mixing_net import MixingNet

    net = MixingNet(3, 2)
    weights = {k: v.numpy() for k, v in net.state_dict().items()}
    rng = np.random.default_rng(0)
    weights["leave.weight"] = rng.normal(size=weights["leave.weight"].shape).astype(np.float32)
    moved = Mixing(["a", "b"], np.zeros(3), 1.0, weights)
    state = np.ones((4, 3))
    shift = moved(state, np.array(["a", "", "b", "elsewhere"]))
    assert not shift[[1, 3]].any()
    assert shift[[0, 2]].any(axis=1).all() and np.abs(shift[0] - shift[2]).max() > 0.01
    np.testing.assert_array_equal(positions(["a", "b"], np.array(["b", "x", "a"])), [1, -1, 0])


@pytest.mark.usefixtures("steps")
def test_in_the_model(tools: SimpleNamespace, monkeypatch, copy_of) -> None:
    """States are moved by the weight; a gate of 0, an unknown batch or no batch at all is the model without mixing."""
    batch = np.random.default_rng(5).choice(["a", "b"], 240)
    mdata = tools.crossed(240, batch=batch, shift=batch == "b")
    monkeypatch.setattr(mixing, "_weigh", lambda b, a, c, w: mixing.Earned("batches", "", "", 1, 0, 0, w, 0, 1, w))
    params = {**tools.net, "max_epochs": 1}
    model, plain = Mosaic(**params).fit(mdata), Mosaic(**params, batch_penalty="none").fit(mdata)
    assert model.gate_["batches"] == 1.0
    moved, still = model.embed(mdata), plain.embed(mdata)
    assert np.abs(moved - still).max() > 1e-3
    shift = model.mixing_(still, batch)
    np.testing.assert_allclose(moved, still + shift, atol=1e-6)
    np.testing.assert_array_equal(copy_of(model).embed(mdata), moved)
    for name in ("", "elsewhere"):
        mdata.obs["batch"] = name
        np.testing.assert_array_equal(model.embed(mdata), plain.embed(mdata))
