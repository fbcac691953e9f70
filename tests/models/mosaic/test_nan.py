"""No data make NaN, and a loss that is not finite stops the training with its name and the last good state."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from omicsfm import OmicsfmWarning
from omicsfm.models import Mosaic


def finite(model: Mosaic, tools: SimpleNamespace, mdata) -> None:
    for part in (mdata, *(tools.alone(mdata, m) for m in mdata.mod)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OmicsfmWarning)  # cells without another modality
            for name, value in tools.answers(model, part).items():
                assert np.isfinite(value).all(), name


def arrays(tools: SimpleNamespace, n: int = 120) -> dict[str, np.ndarray]:
    mdata = tools.crossed(n)
    return {m: np.asarray(mdata.mod[m].X.todense()) for m in mdata.mod}


@pytest.mark.parametrize("likelihood", [None, {"rna": "nb", "protein": "nb_mixture"}], ids=["tokens", "counts"])
@pytest.mark.parametrize("case", ["constant", "empty", "deep", "one type", "one-cell batches"])
def test_hard_data(tools: SimpleNamespace, case: str, likelihood) -> None:
    counts, batch, label = arrays(tools), None, None
    if case == "constant":
        counts["rna"][:, :10], counts["protein"][:, 0] = 0, 7
        counts["protein"][:, 1] = 0
    elif case == "empty":
        counts["rna"][:5], counts["protein"][3:9] = 0, 0
    elif case == "deep":
        counts["rna"][::7] *= 1e6
        counts["protein"][3::7] *= 1e6
    elif case == "one type":
        rng = np.random.default_rng(0)
        counts = {m: rng.poisson(3, x.shape) for m, x in counts.items()}
        label = np.full(120, "only")
    else:
        batch = np.array([f"b{i}" if i < 20 else "rest" for i in range(120)])
    mdata = tools.make_cells(counts, batch=batch, label=label)
    model = Mosaic(**{**tools.net, "max_epochs": 2}, likelihood=likelihood).fit(mdata)
    finite(model, tools, mdata)


def test_a_correction_that_is_applied_bears_any_cell(world: SimpleNamespace, tools: SimpleNamespace) -> None:
    """Queries far from all that was seen."""
    counts = arrays(tools, 40)
    counts["rna"][:10] = 0
    counts["protein"][5:15] = 0
    counts["rna"][20:25] *= 1e6
    counts["protein"][22:30] *= 1e6
    counts["rna"][30:] = np.random.default_rng(0).poisson(0.02, (10, 60))
    finite(world.mosaic, tools, tools.make_cells(counts))


def test_two_cells(tools: SimpleNamespace) -> None:
    with pytest.warns(OmicsfmWarning, match="only 2 cells"):
        model = Mosaic(max_epochs=2).fit(tools.crossed(2))
    finite(model, tools, tools.crossed(2))


# ---- what is not finite all the same


@pytest.mark.parametrize(("loss", "target"), [("state", "gaussian_nll"), ("contrast", "info_nce")])
def test_the_culprit_is_named(tools: SimpleNamespace, monkeypatch, loss: str, target: str) -> None:
    """Which loss, when, of which batches, in which part; and the state from before it serves."""
    from omicsfm.models._correction import _training

    mdata = tools.crossed(240, batch=np.repeat(["early", "late"], 120))
    params = {**tools.net, "max_epochs": 3, "batch_penalty": "none"}
    real, count = getattr(_training, target), [0]
    per_epoch = 2 * (160 // 64) if loss == "state" else 160 // 64

    def broken(*args, **more):
        count[0] += 1
        value = real(*args, **more)
        # In the second epoch of the first fold: after the check at the start, one epoch, and its held-out cells.
        return value * float("nan") if count[0] == (2 if loss == "state" else 1) * 2 + per_epoch + 1 else value

    monkeypatch.setattr(_training, target, broken)
    with pytest.warns(OmicsfmWarning) as caught:
        model = Mosaic(**params).fit(mdata)
    said = [str(w.message) for w in caught if "not finite" in str(w.message)]
    assert len(said) == 1
    assert f"the {loss} loss was not finite" in said[0]
    assert "fold 1" in said[0]
    assert "epoch 1, step 2" in said[0]
    assert "early, late" in said[0]
    assert "last good state is kept" in said[0]
    finite(model, tools, mdata)


def test_a_gradient_that_is_not_finite_is_not_followed(tools: SimpleNamespace, monkeypatch) -> None:
    """Weights stay finite in the part that no held-out cell watches, too."""
    import torch

    from omicsfm.models._correction import _run

    seen = []
    train = _run.train

    def spy(module, options, *, words, **more):
        if words == "all cells":
            module.net.kind.register_hook(lambda g: torch.full_like(g, torch.nan))
        seen.append((words, module.net.kind.detach().clone(), train(module, options, words=words, **more)))
        return seen[-1][2]

    monkeypatch.setattr(_run, "train", spy)
    mdata = tools.crossed(240)
    with pytest.warns(OmicsfmWarning, match=r"all cells stopped: the gradient of net.kind was not finite"):
        model = Mosaic(**tools.net, max_epochs=3).fit(mdata)
    words, before, trained = seen[-1]
    assert words == "all cells"
    np.testing.assert_array_equal(trained.weights["kind"], before)
    assert all(np.isfinite(w).all() for w in trained.weights.values())
    finite(model, tools, mdata)


def test_a_held_out_loss_that_is_not_finite_is_named(tools: SimpleNamespace, monkeypatch) -> None:
    from omicsfm.models._correction import _training

    losses = _training.Training.losses

    def broken(self, batch):
        terms = losses(self, batch)
        return terms if self.training else {**terms, "token": terms["token"] * float("inf")}

    monkeypatch.setattr(_training.Training, "losses", broken)
    mdata = tools.crossed(120)
    with pytest.warns(OmicsfmWarning, match="the token held-out loss was not finite"):
        model = Mosaic(**tools.net, max_epochs=3).fit(mdata)
    assert model.correction_ is None  # no epoch was better than the start
    finite(model, tools, mdata)


def test_mixing_that_is_not_finite_is_named(tools: SimpleNamespace, monkeypatch) -> None:
    from omicsfm.models._correction import _mixing_net

    real = _mixing_net.mmd
    monkeypatch.setattr(_mixing_net, "mmd", lambda *a, **k: real(*a, **k) * float("nan"))
    batch = np.random.default_rng(5).choice(["a", "b"], 200)
    mdata = tools.crossed(200, batch=batch)
    with pytest.warns(OmicsfmWarning) as caught:
        model = Mosaic(**tools.net, max_epochs=1).fit(mdata)
    said = [str(w.message) for w in caught]
    assert said and all("stopped: the batch penalty was not finite" in words for words in said)
    assert "training of mixing, part 1" in said[0]
    assert model.mixing_ is None
    finite(model, tools, mdata)
