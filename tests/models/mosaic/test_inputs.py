"""What the network reads: the closed form's posterior for every set of modalities, and nothing that is not shown."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from omicsfm.models import LinearMosaic, Mosaic
from omicsfm.models._cells import blocks
from omicsfm.models._correction import Correction
from omicsfm.models._correction._batch import as_tensors, network_input
from omicsfm.models._correction._inputs import Frame, Inputs, code_of, covariances, shown_code
from omicsfm.models._correction._net import CorrectionNet


def three(n: int = 240, *, names: tuple[str, str, str] = ("a", "b", "c")) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    kind = rng.integers(0, 3, n)
    return {m: rng.poisson(rng.gamma(1.0, 5.0, (3, p))[kind]) for m, p in zip(names, (40, 14, 12), strict=True)}


@pytest.fixture(scope="module")
def fitted(tools: SimpleNamespace) -> SimpleNamespace:
    """Three modalities, two batches with an effect of their own, and cells of every pattern."""
    n = np.arange(240)
    batch = np.where(n % 2, "x", "y")
    counts = three()
    counts["a"] = np.round(counts["a"] * np.where(n % 2, 1.0, 1.6)[:, None]).astype(int)
    has = {"a": n % 8 != 0, "b": n % 8 != 1, "c": n % 8 > 2}
    mdata = tools.make_cells(counts, has=has, batch=batch)
    model = LinearMosaic(**tools.linear).fit(mdata)
    tokens = model.tokenizer_.transform(mdata)
    latent = model.latent_
    frame = Frame.fit(latent, latent.factors, tokens, np.arange(240))
    return SimpleNamespace(model=model, tokens=tokens, latent=latent, frame=frame, has=has)


def prepared(fitted: SimpleNamespace, obs: np.ndarray, shown: tuple[str, ...] | None = None) -> dict:
    inputs = Inputs.of(fitted.frame, fitted.latent, fitted.latent.factors, fitted.tokens, obs, shown=shown)
    data = as_tensors(inputs)
    data["covariance"] = torch.from_numpy(covariances(fitted.frame, fitted.latent.factors))
    return data


@pytest.mark.parametrize("pattern", [("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c"), ("a", "b", "c")])
def test_z_is_the_posterior_of_the_closed_form(fitted: SimpleNamespace, pattern: tuple[str, ...]) -> None:
    for block in blocks(fitted.tokens):
        if not set(pattern) <= set(block.pattern):
            continue
        data = prepared(fitted, block.obs, pattern)
        code = torch.full((len(block.obs),), code_of(fitted.frame, pattern))
        x, z, present = network_input(data, slice(None), code)
        expected, _ = fitted.latent.posterior(fitted.tokens, block, pattern=pattern)
        np.testing.assert_allclose(z, expected, atol=2e-5)
        np.testing.assert_array_equal(present[0], [m in pattern for m in fitted.frame.mods])
        for m in pattern:  # tokens in units of their spread, and what this modality alone says
            aligned = fitted.latent.aligner(fitted.tokens, block.only(pattern))[m]
            width = aligned.shape[1]
            scaled = (aligned - fitted.frame.centre[m]) / fitted.frame.scale[m]
            np.testing.assert_allclose(x[m][:, :width], scaled, atol=1e-5)
            gain, offset, _ = fitted.latent.factors.posterior((m,))
            np.testing.assert_allclose(x[m][:, width:], fitted.latent.lift[m](aligned) @ gain + offset, atol=2e-5)


def test_frame_scales_and_predicts_tokens(fitted: SimpleNamespace) -> None:
    """Scaled tokens have unit variance, and are regressed on the factors as well as least squares can."""
    whole = list(blocks(fitted.tokens))
    for m in fitted.frame.mods:
        parts = [b for b in whole if m in b.pattern]
        x = np.vstack([fitted.latent.aligner(fitted.tokens, b)[m] for b in parts])
        scaled = (x - fitted.frame.centre[m]) / fitted.frame.scale[m]
        assert (scaled**2).mean() == pytest.approx(1, abs=1e-6)
        z = np.vstack([fitted.latent.posterior(fitted.tokens, b)[0] for b in parts])
        error = scaled - fitted.frame.mean[m] - z @ fitted.frame.loading[m].T
        assert (error**2).mean() < 0.8


def test_hidden_content_does_not_matter(fitted: SimpleNamespace) -> None:
    """Neither in what is read nor in how what is shown is aligned."""
    obs = np.arange(240)
    changed = {m: x.copy() for m, x in fitted.tokens.values.items()}
    changed["b"] = changed["b"][::-1] + 5
    other = SimpleNamespace(
        **{**vars(fitted), "tokens": type(fitted.tokens)(**{**vars(fitted.tokens), "values": changed})}
    )
    code = torch.full((240,), code_of(fitted.frame, ("a",)))
    one, two = (network_input(prepared(f, obs, ("a",)), slice(None), code) for f in (fitted, other))
    for m in fitted.frame.mods:
        assert torch.equal(one[0][m], two[0][m])
    assert torch.equal(one[1], two[1])
    assert not one[0]["b"].any()
    assert not one[0]["c"].any()


def test_code_of_what_cells_have(fitted: SimpleNamespace) -> None:
    inputs = Inputs.of(fitted.frame, fitted.latent, fitted.latent.factors, fitted.tokens, np.arange(240))
    expected = sum(fitted.has[m].astype(int) << i for i, m in enumerate(("a", "b", "c")))
    np.testing.assert_array_equal(shown_code(inputs.has), expected)
    np.testing.assert_array_equal(inputs.batch, np.where(np.arange(240) % 2, 1, 2))


def test_only_batches_that_were_trained_on_are_known(fitted: SimpleNamespace) -> None:
    """A batch of which training saw no cell has no embedding: its cells are read as those of an unknown one."""
    frame = Frame.fit(fitted.latent, fitted.latent.factors, fitted.tokens, np.arange(1, 240, 2))
    assert frame.batches == ["x"]
    inputs = Inputs.of(frame, fitted.latent, fitted.latent.factors, fitted.tokens, np.arange(240))
    np.testing.assert_array_equal(inputs.batch, np.arange(240) % 2)


def net_of(fitted: SimpleNamespace, **more) -> CorrectionNet:
    width = {m: len(c) for m, c in fitted.frame.centre.items()}
    k = fitted.latent.factors.n_latent
    return CorrectionNet(width, n_latent=k, n_batches=2, d_model=8, n_layers=1, **more).eval()


def test_an_untrained_net_corrects_nothing(fitted: SimpleNamespace) -> None:
    for mixer in ("attention", "mlp", "ssm"):
        data = prepared(fitted, np.arange(240))
        x, z, present = network_input(data, slice(None), torch.from_numpy(np.arange(240) % 8))
        out = net_of(fitted, mixer=mixer)(x, z, present, data["batch"])
        assert not out["state"].any() and not out["log_sd"].any()
        assert not any(t.any() for t in out["tokens"].values())


def correction_of(fitted: SimpleNamespace) -> Correction:
    """A correction whose heads are not zero."""
    net = net_of(fitted, seed=3)
    rng = np.random.default_rng(0)
    weights = {k: v.numpy().copy() for k, v in net.state_dict().items()}
    weights |= {k: rng.normal(0, 0.3, v.shape).astype(np.float32) for k, v in weights.items() if k.startswith("to_")}
    width = {m: len(c) for m, c in fitted.frame.centre.items()}
    sizes = {"width": width, "n_latent": fitted.latent.factors.n_latent, "n_batches": 2, "d_model": 8, "n_layers": 1}
    return Correction(fitted.frame, fitted.latent.factors, sizes, weights)


def test_rows_units_and_order_of_a_correction(fitted: SimpleNamespace) -> None:
    """A block's rows in any order; a new batch known or not is one that says nothing; tokens in their own units."""
    correction = correction_of(fitted)
    block = next(b for b in blocks(fitted.tokens) if b.pattern == ("a", "b", "c"))
    state, log_sd, tokens = correction(fitted.latent, fitted.tokens, block, ("a", "b"))
    turned = type(block)(block.pattern, block.obs[::-1], {m: r[::-1] for m, r in block.rows.items()})
    back = correction(fitted.latent, fitted.tokens, turned, ("a", "b"))
    np.testing.assert_allclose(back[0][::-1], state, atol=1e-6)
    np.testing.assert_allclose(back[2]["c"][::-1], tokens["c"], atol=1e-5)
    swapped = correction(fitted.latent, fitted.tokens, block, ("b", "a"))
    np.testing.assert_array_equal(swapped[0], state)
    assert np.abs(log_sd).max() <= 1 and np.abs(state).max() > 0.01
    inputs = Inputs.of(fitted.frame, fitted.latent, fitted.latent.factors, fitted.tokens, block.obs, shown=("a", "b"))
    raw = correction.read(inputs, np.full(len(block.obs), 3))["tokens"]["c"]
    np.testing.assert_allclose(tokens["c"], raw * fitted.frame.scale["c"], atol=1e-5)


def test_unknown_batches_are_one(fitted: SimpleNamespace) -> None:
    correction = correction_of(fitted)
    block = next(b for b in blocks(fitted.tokens) if b.pattern == ("a", "b", "c"))

    def of_batch(name: str, model: Correction) -> np.ndarray:
        tokens = type(fitted.tokens)(**{**vars(fitted.tokens), "batch": np.full(240, name)})
        return model(fitted.latent, tokens, block, ("a",))[0]

    np.testing.assert_array_equal(of_batch("", correction), of_batch("elsewhere", correction))
    assert np.abs(of_batch("x", correction) - of_batch("", correction)).max() > 1e-4
    wider = correction.with_batches(["x", "elsewhere"])
    assert wider.frame.batches == ["x", "y", "elsewhere"]
    np.testing.assert_array_equal(of_batch("y", wider), of_batch("y", correction))
    assert wider.weights["batch"].shape == (4, 8) and not wider.weights["batch"][3].any()


@pytest.mark.parametrize("names", [("r.n a", "p->q"), ("a+b", "state"), ("x->rna", "rna")])
def test_names_of_modalities_may_hold_anything(tools: SimpleNamespace, names, copy_of) -> None:
    mdata = tools.crossed(300, names=names)
    model = Mosaic(**tools.net, max_epochs=3).fit(mdata)
    assert model.gate_[f"{names[0]}->{names[1]}"] > 0
    plain = Mosaic(**tools.net, max_epochs=3).fit(
        tools.crossed(300, names=("b", "a") if names[1] < names[0] else ("a", "b"))
    )
    assert sorted(model.gate_.values()) == pytest.approx(sorted(plain.gate_.values()), abs=1e-3)
    expected = model.impute(mdata, names[1]).mean
    np.testing.assert_array_equal(copy_of(model).impute(mdata, names[1]).mean, expected)


def test_three_modalities_each_from_the_others(tools: SimpleNamespace) -> None:
    """Weights are measured for each source alone, and for the sets of others that cells have."""
    n = np.arange(240)
    mdata = tools.make_cells(three(), has={"a": n < 160, "c": n >= 80})
    model = Mosaic(**tools.net, max_epochs=2).fit(mdata)
    found = set(zip(model.earned_["source"], model.earned_["target"], strict=True))
    tokens = {(s, t) for s, t in found if f"{s}->{t}" in model.gate_}
    assert {("a", "b"), ("c", "b"), ("a+c", "b"), ("b", "a"), ("b+c", "a"), ("c", "a")} <= tokens
