"""Losses of the training, each against its definition."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import sparse
from torch.distributions import Normal, kl_divergence

from omicsfm.models import Mosaic
from omicsfm.models._correction import CountSource
from omicsfm.models._correction import _count_source as sources
from omicsfm.models._correction._counts import CountHead
from omicsfm.models._correction._inputs import Frame


@pytest.fixture(autouse=True)
def _no_gradient() -> Iterator[None]:
    """But in training, where Lightning asks for it."""
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def batch(tools: SimpleNamespace) -> SimpleNamespace:
    """The training module of a first fold and its first batch, with heads that are not zero."""
    from omicsfm.models._correction import _trainer

    held = []
    with pytest.MonkeyPatch.context() as patch:

        def catch(self, data, index):
            held.append((self, data))
            return step(self, data, index)

        step = _trainer.Training.training_step
        patch.setattr(_trainer.Training, "training_step", catch)
        n = np.arange(300)
        with torch.enable_grad():
            Mosaic(**tools.net, max_epochs=1).fit(tools.crossed(300, has={"protein": n % 5 > 0}))
    module, data = held[0]
    module.eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in module.net.named_parameters():
            if name.startswith("to_"):
                parameter.normal_(0, 0.2, generator=generator)
    return SimpleNamespace(module=module, data=data)


def read(batch: SimpleNamespace, code: torch.Tensor) -> tuple:
    from omicsfm.models._correction._batch import network_input

    x, z, present = network_input({**batch.data, "covariance": batch.module.covariance}, slice(None), code)
    return z, batch.module.net(x, z, present, batch.data["batch"]), code


def test_state_loss_is_the_cross_entropy_of_the_posteriors(batch: SimpleNamespace) -> None:
    """Divergence from the posterior given all, as independent normals, plus that posterior's own entropy."""
    module, data = batch.module, batch.data
    whole, shown = data["code"], data["shown"]
    assert ((shown & ~whole) == 0).all() and (shown != whole).all() and (shown > 0).all()
    target = read(batch, whole)[0]
    values = []
    for code in (shown, whole & ~shown):
        z, out, _ = read(batch, code)
        var = torch.diagonal(module.covariance[code], dim1=1, dim2=2)
        left = torch.diagonal(module.covariance[whole], dim1=1, dim2=2)
        told = Normal(z + out["state"], var.sqrt() * torch.exp(out["log_sd"]))
        truth = Normal(target, left.sqrt())
        values.append((kl_divergence(truth, told) + truth.entropy()).mean())
    found = module.losses(data)["state"]
    assert float(found) == pytest.approx(float(sum(values) / 2), rel=1e-4)


def test_token_loss_is_of_hidden_tokens_alone(batch: SimpleNamespace) -> None:
    module, data = batch.module, batch.data
    whole, shown = data["code"], data["shown"]
    errors = []
    for code in (shown, whole & ~shown):
        z, out, _ = read(batch, code)
        for i in range(len(code)):
            for j, m in enumerate(module.mods):
                if int(whole[i] & ~code[i]) >> j & 1:
                    mean, loading = getattr(module, f"mean_{j}"), getattr(module, f"loading_{j}")
                    predicted = mean + loading @ z[i] + out["tokens"][m][i]
                    errors.append(float((data["x"][m][i] - predicted).square().mean()))
    assert len(errors) == 2 * len(whole)
    assert float(module.losses(data)["token"]) == pytest.approx(np.mean(errors), rel=1e-4)


def test_contrast_falls_as_halves_come_together(batch: SimpleNamespace) -> None:
    """It is the loss of the scaled, corrected states, weighted as asked."""
    from dataclasses import replace

    from omicsfm.models._correction._training import TEMPERATURE
    from omicsfm.nn import info_nce

    module, data = batch.module, batch.data
    states = []
    for code in (data["shown"], data["code"] & ~data["shown"]):
        z, out, _ = read(batch, code)
        states.append((z + out["state"]) * module.scale[code])
    expected = float(info_nce(*states, temperature=TEMPERATURE))
    assert float(module.losses(data)["contrast"]) == pytest.approx(expected, rel=1e-4)
    closer = float(info_nce(states[0], 0.1 * states[1] + 0.9 * states[0], temperature=TEMPERATURE))
    assert closer < expected
    kept = module.options
    try:
        module.options = replace(kept, contrast=0.0)
        assert "contrast" not in module.losses(data)
        module.options = replace(kept, contrast=2.0)
        assert float(module.losses(data)["contrast"]) == pytest.approx(2 * expected, rel=1e-4)
    finally:
        module.options = kept


def test_the_batch_is_told_half_of_the_time(batch: SimpleNamespace) -> None:
    told = (batch.data["batch"] > 0).float().mean()
    assert 0.3 < float(told) < 0.7
    assert (batch.data["origin"] == 1).all()
    (held,) = list(batch.module.val_dataloader())
    assert not held["batch"].any()


# ---- counts


@pytest.mark.parametrize("kind", sources.LIKELIHOODS)
def test_every_likelihood_is_trained(tools: SimpleNamespace, kind: str, monkeypatch) -> None:
    """Its loss is finite, falls, and is that of hidden modalities only."""
    from omicsfm.models._correction import _trainer

    seen = []
    step = _trainer.Training.training_step

    def spy(self, data, index):
        seen.append(float(self.losses(data)["protein counts"].detach()))
        return step(self, data, index)

    monkeypatch.setattr(_trainer.Training, "training_step", spy)
    mdata = tools.crossed(120, depth=0.05 if kind == "bernoulli" else 1)  # open or not: not all may be open
    model = Mosaic(**{**tools.net, "lr": 0.02}, max_epochs=6, likelihood={"protein": kind}).fit(mdata)
    assert np.isfinite(seen).all()
    assert np.mean(seen[4:6]) < np.mean(seen[:2])
    assert np.isfinite(model.impute(mdata, "protein").mean.to_numpy()).all()


def source(n: int, n_features: int, kind: str = "poisson") -> tuple[CountSource, Frame]:
    rng = np.random.default_rng(0)
    x = sparse.csr_array(rng.poisson(0.3, (n, n_features)).astype(np.float32))
    components = rng.normal(size=(4, n_features)) / n_features**0.5
    frame = Frame(["m"], ["a"], {"m": np.zeros(4)}, {"m": 2.0}, {"m": np.zeros(4)}, {"m": np.zeros((4, 3))})
    return CountSource(x, np.where(np.arange(n) == 1, -1, np.arange(n)), components, kind), frame


def test_counts_of_a_batch_of_cells(monkeypatch) -> None:
    """The cells asked for, those without counts not used; beyond so many features others in every step."""
    found, _ = source(6, 30)
    part = found.take(np.array([5, 1, 3, 0]), np.array([0, 1, 2]), np.random.default_rng(0))
    dense = sparse.csr_array((part["data"], part["indices"], part["indptr"]), shape=(3, 30)).toarray()
    np.testing.assert_array_equal(dense[[0, 2]], found.x_ng.toarray()[[5, 3]])
    np.testing.assert_array_equal(part["usable"], [True, False, True])
    np.testing.assert_allclose(part["library"][[0, 2]], dense[[0, 2]].sum(axis=1))
    np.testing.assert_array_equal(part["features"], np.arange(30))
    monkeypatch.setattr(sources, "MAX_FEATURES", 10)
    drawn = [found.take(np.arange(6), np.arange(6), np.random.default_rng(s))["features"] for s in (0, 0, 1)]
    assert len(set(drawn[0].tolist())) == 10
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert set(drawn[0].tolist()) != set(drawn[2].tolist())


def test_the_subset_of_features_is_unbiased(monkeypatch) -> None:
    found, frame = source(20, 60)
    head = CountHead(found, frame, "m")
    tokens = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    use = torch.ones(20, dtype=torch.bool)

    def loss(seed: int) -> float:
        part = found.take(np.arange(20), np.arange(20), np.random.default_rng(seed))
        return float(head(tokens, {k: torch.from_numpy(v) for k, v in part.items()}, use).detach())

    whole = loss(0)
    monkeypatch.setattr(sources, "MAX_FEATURES", 15)
    some = [loss(seed) for seed in range(200)]
    assert np.std(some) > 0
    assert np.mean(some) == pytest.approx(whole, abs=4 * np.std(some) / 200**0.5)


def test_loadings_start_at_those_of_the_tokens() -> None:
    found, frame = source(8, 12)
    head = CountHead(found, frame, "m")
    tokens = torch.randn(1, 4, generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose(
        (tokens @ head.w_gd.T).detach(), (tokens.numpy() * 2.0) @ found.components_dg, rtol=1e-5, atol=1e-6
    )
    share = torch.softmax(head.bias_g, 0).detach()
    np.testing.assert_allclose(share, (found.x_ng.sum(axis=0) + 0.5) / (found.x_ng.sum() + 6), rtol=1e-5)
    assert set(dict(head.named_parameters())) == {"w_gd", "bias_g", "log_r_g"}


def test_no_cell_to_use_is_no_loss() -> None:
    found, frame = source(4, 12)
    head = CountHead(found, frame, "m")
    part = {k: torch.from_numpy(v) for k, v in found.take(np.arange(4), np.arange(4), np.random.default_rng(0)).items()}
    tokens = torch.ones(4, 4, requires_grad=True)
    only_without_counts = torch.tensor([False, True, False, False])
    with torch.enable_grad():
        value = head(tokens, part, only_without_counts)
        value.backward()
    assert float(value.detach()) == 0.0
    assert not tokens.grad.any()
