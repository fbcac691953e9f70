from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse, stats
from torch import Tensor

from omicsfm import InputError
from omicsfm.nn import Counts, LowRank, bernoulli_nll, nb_mixture_nll, nb_nll, poisson_nll


class Case(NamedTuple):
    """Counts, and the tensors that may be learnt: tokens, loadings, biases of five kinds and the mixing loadings."""

    x: Tensor
    counts: Counts
    library: Tensor
    learnt: dict[str, Tensor]


def csr(x: Tensor) -> Counts:
    matrix = sparse.csr_array(x.numpy())
    return Counts(*(torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data)))


def case(b: int = 4, g: int = 7, *, seed: int = 0, depth: float = 30.0, dtype: torch.dtype = torch.float64) -> Case:
    """Make cells of which the first has no counts and a library size of zero, and features of all dispersions."""
    rng = np.random.default_rng(seed)
    x = rng.poisson(depth / g * rng.gamma(0.3, 3, (b, g)))
    x[0] = 0
    x[-1, -1] = depth
    shapes = {"t": (b, 3), "w": (g, 3), "v": (g, 3), "bias": g, "log_r": g, "background": g, "mixing": g}
    drawn = {name: torch.from_numpy(rng.normal(size=shape)).to(dtype) for name, shape in shapes.items()}
    drawn["bias"] -= 4
    drawn["background"] -= 5
    drawn["log_r"] *= 3
    x = torch.from_numpy(x).to(dtype)
    return Case(x, csr(x), x.sum(1), {name: value.requires_grad_() for name, value in drawn.items()})


def nll(name: str, c: Case, features: Tensor | None = None) -> Tensor:
    p = c.learnt
    rates = LowRank(p["t"], p["w"], p["bias"], c.library)
    if name == "nb":
        return nb_nll(c.counts, rates, log_r_g=p["log_r"], features=features)
    if name == "nb_mixture":
        more = {"log_background_g": p["background"], "mixing_w_gd": p["v"], "mixing_bias_g": p["mixing"]}
        return nb_mixture_nll(c.counts, rates, log_r_g=p["log_r"], features=features, **more)
    return {"poisson": poisson_nll, "bernoulli": bernoulli_nll}[name](c.counts, rates, features=features)


def nb(log_mean: Tensor, log_r: Tensor) -> torch.distributions.Distribution:
    return torch.distributions.NegativeBinomial(log_r.exp(), logits=log_mean - log_r, validate_args=False)


def dense(name: str, c: Case) -> Tensor:
    """The textbook formula through torch.distributions, one term per cell and feature."""
    p = c.learnt
    score = p["t"] @ p["w"].T + p["bias"]
    log_library = c.library.clamp(min=1e-8).log()[:, None]
    if name == "nb":
        log_prob = nb(log_library + score, p["log_r"]).log_prob(c.x)
    elif name == "poisson":
        log_prob = torch.distributions.Poisson((log_library + score).exp()).log_prob(c.x)
    elif name == "bernoulli":
        rate = (log_library + score).exp()
        log_prob = torch.where(c.x > 0, torch.log(-torch.expm1(-rate)), -rate)
    else:
        back = log_library + p["background"]
        fore = back + torch.nn.functional.softplus(score)
        share = torch.sigmoid(p["t"] @ p["v"].T + p["mixing"])
        parts = [nb(mean, p["log_r"]).log_prob(c.x) for mean in (back, fore)]
        log_prob = torch.logaddexp((1 - share).log() + parts[0], share.log() + parts[1])
    return -log_prob.sum(1)


NAMES = ["nb", "poisson", "bernoulli", "nb_mixture"]
READ = {
    "nb": ["t", "w", "bias", "log_r"],
    "poisson": ["t", "w", "bias"],
    "bernoulli": ["t", "w", "bias"],
    "nb_mixture": ["t", "w", "bias", "log_r", "v", "background", "mixing"],
}


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 1000), depth=st.sampled_from([3.0, 30.0, 3000.0]))
def test_values_and_gradients_are_those_of_the_dense_formula(name, seed, depth):
    c = case(seed=seed, depth=depth)
    weight = torch.arange(1.0, 5.0, dtype=torch.float64)
    inputs = [c.learnt[key] for key in READ[name]]
    results = [(y, torch.autograd.grad((weight * y).sum(), inputs)) for y in (nll(name, c), dense(name, c))]
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-9, atol=1e-9)
    for got, expected in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-7, atol=1e-9 * float(expected.abs().max()))


def test_parity_with_scipy():
    c = case()
    p = {key: value.detach().numpy() for key, value in c.learnt.items()}
    rate = c.library.clamp(min=1e-8).numpy()[:, None] * np.exp(p["t"] @ p["w"].T + p["bias"])
    r, x = np.exp(p["log_r"]), c.x.numpy()
    expected = {
        "nb": stats.nbinom.logpmf(x, r, r / (r + rate)),
        "poisson": stats.poisson.logpmf(x, rate),
        "bernoulli": stats.bernoulli.logpmf(x > 0, -np.expm1(-rate)),
    }
    for name, terms in expected.items():
        np.testing.assert_allclose(nll(name, c).detach().numpy(), -terms.sum(1), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_chosen", [1, 3, 7])
def test_the_mean_over_all_subsets_is_exact_in_value_and_gradient(name, n_chosen):
    c = case()
    inputs = [c.learnt[key] for key in READ[name]]
    subsets = [torch.tensor(s[::-1]) for s in combinations(range(7), n_chosen)]
    mean = torch.stack([nll(name, c, s) for s in subsets]).mean(0)
    torch.testing.assert_close(mean, nll(name, c), rtol=1e-12, atol=1e-12)
    gradients = (torch.autograd.grad(y.sum(), inputs) for y in (mean, nll(name, c)))
    for got, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("features", [None, torch.tensor([6, 0, 3])])
@pytest.mark.parametrize(("depth", "bias"), [(0.0, -4.0), (1e6, -4.0), (30.0, -300.0), (1e6, -60.0)])
def test_extremes_are_finite_in_float32(name, features, depth, bias):
    c = case(depth=depth, dtype=torch.float32)
    with torch.no_grad():
        c.learnt["bias"].fill_(bias)
        c.learnt["log_r"].copy_(torch.linspace(-12, 16, 7))
    y = nll(name, c, features)
    gradients = torch.autograd.grad(y.sum(), [c.learnt[key] for key in READ[name]])
    assert y.isfinite().all()
    assert all(g.isfinite().all() for g in gradients)
    if depth == 0 and name != "nb_mixture":
        assert (y.abs() < 1e-6).all()  # a library of zero expects no counts


def test_float32_keeps_the_difference_of_large_gammas():
    # r = e^16: each log-gamma is 1e8, and float32 steps there are 8.
    narrow, wide = (case(dtype=dtype) for dtype in (torch.float32, torch.float64))
    for c in (narrow, wide):
        with torch.no_grad():
            c.learnt["log_r"].fill_(16.0)
    torch.testing.assert_close(nll("nb", narrow).double(), nll("nb", wide), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_autocast_does_not_narrow_them(name):
    c = case(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = nll(name, c)
    assert torch.equal(y, nll(name, c))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("features", [None, torch.tensor([6, 0, 3])])
def test_stored_zeros_and_small_integer_types_change_nothing(name, features):
    c = case()
    full = Counts(
        torch.arange(0, 29, 7),
        torch.arange(7, dtype=torch.uint8).repeat(4),
        c.x.flatten().to(torch.int32),
    )
    torch.testing.assert_close(nll(name, c._replace(counts=full), features), nll(name, c, features))


def test_few_rates_at_the_truth_are_likelier_than_elsewhere():
    rng = torch.Generator().manual_seed(0)
    t, w = torch.randn(200, 3, generator=rng), torch.randn(40, 3, generator=rng)
    library, bias = torch.full((200,), 100.0), torch.full((40,), -4.0)
    counts = csr(torch.poisson(library[:, None] * torch.exp(t @ w.T + bias), generator=rng))
    values = [poisson_nll(counts, LowRank(t, f * w, bias, library)).mean().item() for f in (0.8, 1.0, 1.2)]
    assert values[1] < min(values[0], values[2])


def call(**changes: Tensor) -> Tensor:
    c = case()
    p = c.learnt
    parts = {"t_bd": p["t"], "w_gd": p["w"], "bias_g": p["bias"], "library_b": c.library}
    own = {"indptr": c.counts.indptr, "indices": c.counts.indices, "data": c.counts.data}
    more = {"log_background_g": p["background"], "mixing_w_gd": p["v"], "mixing_bias_g": p["mixing"]}
    rest = {"log_r_g": p["log_r"], "features": None, **more}
    rates, counts, rest = ({k: changes.get(k, v) for k, v in d.items()} for d in (parts, own, rest))
    return nb_mixture_nll(Counts(**counts), LowRank(**rates), **rest)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"indptr": torch.zeros(4).long()}, r"indptr of shape \(5,\) is needed .* found \(4,\)"),
        ({"w_gd": torch.zeros(7, 2)}, r"w_gd of shape \(7, 3\) is needed"),
        ({"bias_g": torch.zeros(6)}, r"bias_g of shape \(7,\) is needed"),
        ({"library_b": torch.zeros(4, 1)}, r"library_b of shape \(4,\) is needed"),
        ({"log_r_g": torch.zeros(())}, r"log_r_g of shape \(7,\) is needed, found \(\)"),
        ({"log_background_g": torch.zeros(6)}, "log_background_g of shape"),
        ({"mixing_bias_g": torch.zeros(6)}, "mixing_bias_g of shape"),
        ({"mixing_w_gd": torch.zeros(7, 2)}, "mixing_w_gd of shape"),
        ({"features": torch.tensor([1, 1])}, "must be distinct integers"),
        ({"features": torch.tensor([]).long()}, "at least one"),
        ({"features": torch.tensor([0.0])}, "found torch.float32"),
        ({"features": torch.ones(7).bool()}, "found torch.bool"),
        ({"features": torch.tensor([7])}, "from 0 to 6"),
        ({"features": torch.tensor([-1])}, "from 0 to 6"),
    ],
)
def test_errors_say_what_was_found(changes, message):
    with pytest.raises(InputError, match=message):
        call(**changes)
