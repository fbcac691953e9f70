from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omicsfm import InputError
from omicsfm.nn import gaussian_nll, info_nce, mmd, reverse_gradient


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loop_nce(a: np.ndarray, b: np.ndarray, temperature: float) -> float:
    unit = np.mean([((x - y) ** 2).sum() for x in a for y in b])
    total = 0.0
    for one, other in ((a, b), (b, a)):
        for i in range(len(one)):
            scores = [np.exp(-((one[i] - other[j]) ** 2).sum() / unit / temperature) for j in range(len(one))]
            total -= np.log(scores[i] / sum(scores))
    return total / (2 * len(a))


@given(st.integers(2, 9), st.sampled_from([0.05, 0.5, 2.0]), st.integers(0, 99))
def test_info_nce_is_its_definition(n, temperature, seed):
    a, b = draw(n, 4, seed=seed), draw(n, 4, seed=seed + 100)
    expected = loop_nce(a.numpy(), b.numpy(), temperature)
    assert info_nce(a, b, temperature=temperature).item() == pytest.approx(expected, rel=1e-9)


def test_info_nce_reads_paired_rows_only():
    a, b, paired = draw(6, 4), draw(6, 4, seed=1), torch.tensor([1, 0, 1, 1, 0, 1]).bool()
    expected = info_nce(a[paired], b[paired], temperature=0.1)
    a[~paired] = b[~paired] = torch.nan
    a.requires_grad_()
    loss = info_nce(a, b, temperature=0.1, paired_b=paired)
    (gradient,) = torch.autograd.grad(loss, a)
    assert loss.item() == expected.item()
    assert gradient[paired].isfinite().all()
    assert (gradient[paired] != 0).any()
    assert (gradient[~paired] == 0).all()


@pytest.mark.parametrize("n_paired", [0, 1])
def test_info_nce_without_a_negative_is_zero_even_in_its_gradient(n_paired):
    a = draw(3, 4).requires_grad_()
    loss = info_nce(a, draw(3, 4), temperature=0.1, paired_b=torch.arange(3) < n_paired)
    assert loss.item() == 0
    assert (torch.autograd.grad(loss, a)[0] == 0).all()


def test_info_nce_of_zero_vectors_has_a_moderate_gradient():
    a = torch.zeros(5, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(info_nce(a, draw(5, 4).float(), temperature=0.1), a)
    assert gradient.abs().max() < 1e5


def test_info_nce_can_learn_its_temperature():
    a, b, log_temperature = draw(5, 3), draw(5, 3, seed=1), torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: info_nce(a, b, temperature=t.exp()), [log_temperature])


def test_info_nce_holds_its_unit_constant():
    """A gradient through the unit would pull all cells apart instead of halves together."""
    a, b, step = draw(5, 3), draw(5, 3, seed=1), 1e-6
    (gradient,) = torch.autograd.grad(info_nce(a.requires_grad_(), b, temperature=0.5), a)
    unit = torch.cdist(a.detach(), b).square().mean()

    def fixed(x):
        logits = -torch.cdist(x, b).square() / (unit * 0.5)
        own = torch.arange(5)
        return (torch.nn.functional.cross_entropy(logits, own) + torch.nn.functional.cross_entropy(logits.T, own)) / 2

    moved = a.detach().clone()
    moved[2, 1] += step
    assert gradient[2, 1].item() == pytest.approx(((fixed(moved) - fixed(a.detach())) / step).item(), rel=1e-4)


def loop_mmd(x: np.ndarray, group: np.ndarray) -> float:
    n = len(x)
    squared = ((x[:, None] - x[None]) ** 2).sum(-1)
    off = np.sort(squared[~np.eye(n, dtype=bool)])
    median = off[(len(off) - 1) // 2]
    kernel = np.mean([np.exp(-squared / (w * median)) for w in (0.25, 0.5, 1, 2, 4)], axis=0)
    values = []
    for g in set(group.tolist()):
        a, b = np.flatnonzero(group == g), np.flatnonzero(group != g)
        if min(len(a), len(b)) < 2:
            continue
        within = [np.mean([kernel[i, j] for i in rows for j in rows if i != j]) for rows in (a, b)]
        values.append(sum(within) - 2 * kernel[np.ix_(a, b)].mean())
    return float(np.mean(values)) if values else 0.0


def test_mmd_weights_count_as_copies_of_a_row_would_in_the_limit():
    """Weights of 1 are no weights, a common factor is nothing, and a row of weight 0 is not there."""
    x, group = draw(9, 3), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1])
    plain = mmd(x, group)
    assert mmd(x, group, weight_b=torch.full((9,), 7.0, dtype=torch.float64)).item() == pytest.approx(plain.item())
    weight = torch.ones(9, dtype=torch.float64)
    weight[[1, 8]] = 1e-12
    keep = weight > 0.5
    squared = torch.cdist(x, x).square()
    off = ~torch.eye(9, dtype=torch.bool)
    kernel = torch.exp(-squared / squared[off].median()) * off
    a, b = ((keep & (group == g)).nonzero()[:, 0] for g in (0, 1))
    within = sum(kernel[i][:, i].sum() / (len(i) * (len(i) - 1)) for i in (a, b))
    expected = within - 2 * kernel[a][:, b].mean()
    assert mmd(x, group, weight_b=weight, widths=(1.0,)).item() == pytest.approx(expected.item(), rel=1e-9)


@given(st.lists(st.integers(-2, 1), min_size=3, max_size=12), st.integers(0, 99))
def test_mmd_is_its_definition(groups, seed):
    x, group = draw(len(groups), 3, seed=seed), torch.tensor(groups)
    assert mmd(x, group).item() == pytest.approx(loop_mmd(x.numpy(), group.numpy()), rel=1e-9, abs=1e-12)


def test_mmd_is_zero_on_average_without_a_difference_and_grows_with_one():
    group = torch.arange(40) % 2
    none = torch.stack([mmd(draw(40, 3, seed=s), group) for s in range(200)])
    assert abs(none.mean()) < 3 * none.std() / 200**0.5
    shifts = [mmd(draw(40, 3) + shift * group[:, None], group).item() for shift in (0.0, 1.0, 2.0)]
    assert shifts == sorted(shifts)
    assert shifts[2] > 0.1


@pytest.mark.parametrize("groups", [[], [0], [0, 1], [0, 0, 0], [0, 1, 2], [0, 0, 1]])
def test_mmd_without_an_estimate_is_zero_even_in_its_gradient(groups):
    x = draw(len(groups), 3).requires_grad_()
    loss = mmd(x, torch.tensor(groups, dtype=torch.long))
    assert loss.item() == 0
    assert (torch.autograd.grad(loss, x)[0] == 0).all()


@pytest.mark.parametrize("scale", [0.0, 1e-8, 1e8])
def test_mmd_is_finite_and_free_of_scale(scale):
    x, group = draw(20, 3).float(), torch.arange(20) % 3
    scaled = (scale * x).requires_grad_()
    loss = mmd(scaled, group)
    assert torch.autograd.grad(loss, scaled)[0].isfinite().all()
    assert loss.item() == pytest.approx(mmd(x, group).item() if scale else 0, rel=1e-4, abs=1e-7)


def test_mmd_falls_along_its_gradient():
    group = torch.arange(30) % 2
    x = (draw(30, 2) + 2 * group[:, None]).requires_grad_()
    before = mmd(x, group)
    (gradient,) = torch.autograd.grad(before, x)
    assert mmd(x - 0.5 * gradient, group) < before


def test_reverse_gradient():
    x = draw(3, 2).requires_grad_()
    y = reverse_gradient(x, 0.3)
    assert torch.equal(y, x)
    (gradient,) = torch.autograd.grad(y.square().sum(), x)
    torch.testing.assert_close(gradient, -0.3 * 2 * x.detach())


def test_gaussian_nll_parity_with_torch():
    x, mean, log_var = draw(4, 5), draw(4, 5, seed=1), draw(4, 5, seed=2)
    sd = (log_var.exp() + 0.1**2).sqrt()
    expected = -torch.distributions.Normal(mean, sd).log_prob(x).sum(1)
    torch.testing.assert_close(gaussian_nll(x, mean, log_var, min_sd=0.1), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("log_var", [-1000.0, 0.0, 1000.0])
def test_gaussian_nll_is_finite_at_any_variance(log_var):
    x, log_var = draw(4, 5).float(), torch.full((4, 5), log_var, requires_grad=True)
    loss = gaussian_nll(x, torch.zeros(4, 5), log_var)
    assert loss.isfinite().all()
    assert torch.autograd.grad(loss.sum(), log_var)[0].isfinite().all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: info_nce(draw(3, 2), draw(4, 2), temperature=1), r"found \(3, 2\) and \(4, 2\)"),
        (lambda: mmd(draw(3, 2), torch.zeros(2).long()), r"3 rows\), found torch.int64 of shape \(2,\)"),
        (lambda: mmd(draw(3, 2), torch.zeros(3)), "found torch.float32"),
    ],
)
def test_errors_say_what_was_found(call, message):
    with pytest.raises(InputError, match=message):
        call()
