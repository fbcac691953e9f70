from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from omicsfm import InputError
from omicsfm.nn import MIXERS, Attention, Mixer, SelectiveSSM, make_mixer, ssd_scan

D = 12
NAMES = sorted(MIXERS)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mask(*shape: int, seed: int = 0) -> torch.Tensor:
    """Where tokens are present: about half; none in the first cell, one in the second."""
    present = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    present[0] = False
    present[1] = torch.arange(shape[1]) == 1
    return present


def made(name: str, seed: int = 0, **settings: object) -> Mixer:
    return MIXERS[name](D, generator=torch.Generator().manual_seed(seed), **settings).double()


@pytest.mark.parametrize("name", NAMES)
def test_absent_tokens_are_as_if_removed(name):
    mixer, x, present = made(name), draw(9, 7, D), mask(9, 7)
    y = mixer(x, present)
    for cell in range(9):
        rows = present[cell]
        assert (y[cell, ~rows] == 0).all()
        if rows.any():
            torch.testing.assert_close(y[cell, rows], mixer(x[cell : cell + 1, rows])[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_nan_in_an_absent_token_reaches_neither_output_nor_gradient(name):
    mixer, present = made(name), mask(9, 7)
    clean = draw(9, 7, D).requires_grad_()
    broken = clean.detach().masked_fill(~present[..., None], torch.nan).requires_grad_()
    results = []
    for x in (clean, broken):
        y = mixer(x, present)
        results.append([y, *torch.autograd.grad(y.square().sum(), [x, *mixer.parameters()])])
    for expected, got in zip(*results, strict=True):
        assert torch.equal(expected, got)
        assert got.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_no_mask_is_a_mask_of_all_present(name):
    x = draw(3, 5, D)
    torch.testing.assert_close(made(name)(x), made(name)(x, torch.ones(3, 5, dtype=torch.bool)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_token_informs_the_others_of_its_cell_and_no_other_cell(name):
    x = draw(2, 4, D).requires_grad_()
    (gradient,) = torch.autograd.grad(made(name)(x)[0, 0].square().sum(), x)
    assert (gradient[0].abs().sum(-1) > 1e-6).all()
    assert (gradient[1] == 0).all()


@pytest.mark.parametrize("name", ["attention", "mlp"])
def test_the_order_of_tokens_does_not_matter(name):
    mixer, x, present = made(name), draw(5, 6, D), mask(5, 6)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(mixer(x[:, order], present[:, order]), mixer(x, present)[:, order], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name):
    mixer = MIXERS[name](4).double()
    present = torch.tensor([[True, False, True], [False, True, False]])
    inputs = [draw(2, 3, 4).requires_grad_(), *mixer.parameters()]
    assert torch.autograd.gradcheck(lambda x, *_: mixer(x, present), inputs)


@pytest.mark.parametrize("name", NAMES)
def test_the_generator_alone_decides_the_weights(name):
    before = torch.get_rng_state()
    first, again, other = (
        make_mixer(name, D, generator=torch.Generator().manual_seed(seed)).state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_autocast_is_close_to_float32(name):
    mixer, x, present = make_mixer(name, D), draw(9, 7, D).float(), mask(9, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = mixer(x, present)
    torch.testing.assert_close(y.float(), mixer(x, present), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_any_width_works(name):
    assert make_mixer(name, 7)(draw(2, 3, 7).float()).shape == (2, 3, 7)


def test_attention_parity_with_torch():
    mixer, x, present = made("attention", n_heads=3), draw(4, 6, D), mask(4, 6)
    present[0, 2] = True  # torch gives NaN for a cell without keys
    reference = nn.MultiheadAttention(D, 3, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        reference.in_proj_weight.copy_(mixer.qkv.weight)
        reference.in_proj_bias.copy_(mixer.qkv.bias)
        reference.out_proj.weight.copy_(mixer.out.weight)
        reference.out_proj.bias.copy_(mixer.out.bias)
    expected, _ = reference(x, x, x, key_padding_mask=~present)
    torch.testing.assert_close(mixer(x, present)[present], expected[present], rtol=0, atol=1e-12)


def loop(v, step, rate, b, c):
    """The recurrence, one token, head and channel at a time."""
    n_cells, n_tokens, n_heads, n_channels = v.shape
    y = np.zeros(v.shape)
    for cell in range(n_cells):
        for h in range(n_heads):
            state = np.zeros((n_channels, b.shape[-1]))
            for t in range(n_tokens):
                state = np.exp(step[cell, t, h] * rate[h]) * state
                state += step[cell, t, h] * np.outer(v[cell, t, h], b[cell, t])
                y[cell, t, h] = state @ c[cell, t]
    return y


@given(st.integers(1, 23), st.sampled_from([1, 2, 5, 8, 64]), st.sampled_from([0.01, 1.0, 300.0]), st.integers(0, 9))
def test_the_scan_is_the_recurrence(n_tokens, chunk, scale, seed):
    v, b, c = (
        draw(2, n_tokens, 3, 4, seed=seed),
        draw(2, n_tokens, 5, seed=seed + 1),
        draw(2, n_tokens, 5, seed=seed + 2),
    )
    step = draw(2, n_tokens, 3, seed=seed + 3).abs() * scale
    step[mask(2, n_tokens, seed=seed) if n_tokens > 1 else []] = 0
    rate = -torch.tensor([0.01, 1.0, 50.0], dtype=torch.float64)
    expected = loop(*(x.numpy() for x in (v, step, rate, b, c)))
    got = ssd_scan(v, step, rate, b, c, chunk=chunk)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-9, atol=1e-9)


def test_the_scan_keeps_small_steps_after_a_large_one():
    # In float32 a difference of running sums would lose the second decay: 1e6 + 0.5 - 1e6.
    step = torch.tensor([1e6, 0.3, 0.3]).view(1, 3, 1)
    one = torch.ones(1, 3, 1)
    y = ssd_scan(one[..., None], step, -torch.ones(1), one, one)[0, :, 0, 0]
    expected = loop(*(x.double().numpy() for x in (one[..., None], step, -torch.ones(1), one, one)))[0, :, 0, 0]
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-6)


def test_autocast_does_not_narrow_the_scan():
    parts = [draw(2, 9, 3, 4), draw(2, 9, 3).abs(), -draw(3).abs(), draw(2, 9, 5), draw(2, 9, 5, seed=1)]
    parts = [x.float() for x in parts]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = ssd_scan(*parts, chunk=4)
    assert torch.equal(y, ssd_scan(*parts, chunk=4))


@pytest.mark.parametrize("chunk", [1, 3, 64])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_chunk_changes_no_gradient(chunk, bidirectional):
    x, present = draw(4, 11, D).requires_grad_(), mask(4, 11)
    results = []
    for size in (chunk, 5):
        mixer = made("ssm", chunk=size, bidirectional=bidirectional)
        loss = mixer(x, present).square().sum()
        results.append(torch.autograd.grad(loss, [x, *mixer.parameters()]))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_one_direction_does_not_look_ahead_and_two_do():
    x = draw(1, 6, D).requires_grad_()
    for bidirectional in (False, True):
        y = made("ssm", bidirectional=bidirectional, chunk=4)(x)
        (gradient,) = torch.autograd.grad(y[0, 2].sum(), x)
        assert (gradient[0, :3].abs().sum(-1) > 0).all()
        assert bool((gradient[0, 3:] != 0).any()) == bidirectional


def test_the_first_steps_are_in_their_range():
    for low, high in ((0.1, 1.0), (0.001, 0.1)):
        for scan in SelectiveSSM(64, steps=(low, high)).scans:
            steps = torch.nn.functional.softplus(scan.step_bias_h)
            assert ((steps > low * 0.999) & (steps < high * 1.001)).all()
            assert steps.max() > 2 * steps.min()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_mixer("fourier", 8), "no mixer is called 'fourier'.*attention, mlp, ssm"),
        (lambda: make_mixer("mlp", 0), "SetMLP: d_model must be at least 1, found 0"),
        (lambda: Attention(8, n_heads=3), "n_heads must divide d_model=8, found 3"),
        (lambda: SelectiveSSM(8, head_dim=5), "head_dim must divide .* 16, found 5"),
        (lambda: SelectiveSSM(8, chunk=0), "chunk must be at least 1, found 0"),
        (lambda: Attention(8)(torch.zeros(3, 8)), r"tokens of shape \(batch, tokens, 8\) are needed, found \(3, 8\)"),
        (lambda: Attention(8)(torch.zeros(3, 2, 9)), r"found \(3, 2, 9\)"),
        (lambda: Attention(8)(torch.zeros(3, 2, 8), torch.ones(3, 2)), "must be bool .* found torch.float32"),
        (
            lambda: Attention(8)(torch.zeros(3, 2, 8), torch.ones(3, dtype=torch.bool)),
            r"of shape \(3, 2\), found torch.bool of shape \(3,\)",
        ),
    ],
)
def test_errors_say_what_was_found(call, message):
    with pytest.raises(InputError, match=message):
        call()
