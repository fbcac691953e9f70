from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from scipy import signal

from omicsfm import InputError
from omicsfm.nn import (
    SEQUENCE_LAYERS,
    Attention,
    DilatedConvolution,
    GatedLongConvolution,
    Hierarchical,
    LocalAttention,
    SelectiveSSM,
    make_sequence_layer,
)
from omicsfm.nn.long_convolution import signed_convolution

D = 8
NAMES = sorted(SEQUENCE_LAYERS)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(name: str, seed: int = 0):
    return make_sequence_layer(name, D, generator=torch.Generator().manual_seed(seed)).double()


def lengths(*n: int) -> torch.Tensor:
    """Present: the first n of each sequence."""
    return torch.arange(max(n)) < torch.tensor(n)[:, None]


@pytest.mark.parametrize("name", NAMES)
def test_padding_is_as_if_removed(name):
    n = (75, 40, 33, 1, 0)
    layer, x, present = made(name), draw(5, 75, D), lengths(*n)
    y = layer(x.masked_fill(~present[..., None], torch.nan), present)
    for i, length in enumerate(n):
        assert (y[i, length:] == 0).all()
        if length:
            torch.testing.assert_close(y[i, :length], layer(x[i : i + 1, :length])[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name):
    layer = make_sequence_layer(name, 4).double()
    present = lengths(7, 4)
    assert torch.autograd.gradcheck(lambda x: layer(x, present), [draw(2, 7, 4).requires_grad_()], fast_mode=True)
    weights = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    names = [k for k, _ in layer.named_parameters()]
    x = draw(1, 5, 4)

    def of_weights(*values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(of_weights, weights, fast_mode=True)


@pytest.mark.parametrize("name", NAMES)
def test_no_nan_of_padding_reaches_a_gradient(name):
    layer, present = made(name), lengths(11, 4)
    x = draw(2, 11, D).masked_fill(~present[..., None], torch.nan).requires_grad_()
    for gradient in torch.autograd.grad(layer(x, present).square().sum(), [x, *layer.parameters()]):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_the_generator_alone_decides_the_weights(name):
    before = torch.get_rng_state()
    first, again, other = (made(name, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", NAMES)
def test_places_matter_and_sequences_do_not_mix(name):
    layer, x = made(name), draw(2, 12, D)
    order = torch.arange(12)
    order[[3, 8]] = order[[8, 3]]
    moved = layer(x[:, order])[:, order]
    assert (moved - layer(x)).abs().max() > 1e-4
    changed = x.clone()
    changed[1] += 1
    assert torch.equal(layer(changed)[0], layer(x)[0])


@pytest.mark.parametrize("name", ["hierarchical", "hyena", "ssm", "hybrid", "attention"])
def test_what_is_far_is_seen_from_both_sides(name):
    layer, x = made(name), draw(1, 300, D).requires_grad_()
    for at, far in ((0, 290), (290, 0)):
        (gradient,) = torch.autograd.grad(layer(x)[0, at].square().sum(), x)
        assert gradient[0, far].abs().sum() > 0


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_autocast_is_close_to_float32(name):
    layer, x = make_sequence_layer(name, D), draw(2, 70, D).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    torch.testing.assert_close(y.float(), layer(x), rtol=0.05, atol=0.05)


# ---- each against an independent implementation


@pytest.mark.parametrize("n_tokens", [1, 4, 5, 23])
def test_local_attention_is_attention_within_the_window(n_tokens):
    window = 4
    layer = LocalAttention(D, window=window, n_heads=2).double()
    whole = Attention(D, n_heads=2, rotary=True).double()
    whole.load_state_dict(layer.state_dict())
    x = draw(3, n_tokens, D)
    # the same by full attention: every token alone with its neighbourhood, at its place in it
    for i in range(n_tokens):
        near = slice(max(0, i - window), min(n_tokens, i + window + 1))
        expected = whole(x[:, near])[:, i - near.start]
        torch.testing.assert_close(layer(x)[:, i], expected, rtol=0, atol=1e-10)


def test_rotary_attention_depends_on_distances_alone():
    layer, x = Attention(D, n_heads=2, rotary=True).double(), draw(1, 9, D)
    # The scores of a pair by complex numbers: pairs of channels turned by place times frequency.
    q, k, v = layer.qkv(x)[0].view(9, 3, 2, 4).permute(1, 2, 0, 3).detach().numpy()
    frequency = 10_000.0 ** (-np.arange(2) * 2 / 4)
    qc, kc = (z[..., :2] + 1j * z[..., 2:] for z in (q, k))
    lag = np.arange(9)[:, None] - np.arange(9)
    turn = np.exp(1j * lag[..., None] * frequency)
    score = np.einsum("hik,hjk,ijk->hij", qc, kc.conj(), turn).real / 2
    weight = np.exp(score - score.max(-1, keepdims=True))
    y = (weight / weight.sum(-1, keepdims=True)) @ v
    expected = layer.out(torch.from_numpy(y.transpose(1, 0, 2).reshape(9, D)))
    torch.testing.assert_close(layer(x)[0], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("n", [1, 2, 3, 17, 64, 65])
def test_the_long_convolution_is_the_sum(n):
    value, taps = draw(2, 3, n), draw(3, 2 * n - 1, seed=1)
    expected = np.zeros((2, 3, n))
    for i in range(n):
        for j in range(n):
            expected[..., i] += taps[:, i - j + n - 1].numpy() * value[..., j].numpy()
    np.testing.assert_allclose(signed_convolution(value, taps).numpy(), expected, rtol=0, atol=1e-10)
    by_scipy = [
        signal.fftconvolve(v.numpy(), t.numpy())[n - 1 : 2 * n - 1] for v, t in zip(value[0], taps, strict=True)
    ]
    np.testing.assert_allclose(np.array(by_scipy), expected[0], rtol=0, atol=1e-10)


def test_a_filter_does_not_know_the_length():
    layer = GatedLongConvolution(D).double()
    short, long = (layer.taps(torch.arange(1 - n, n, dtype=torch.float64)) for n in (5, 50))
    torch.testing.assert_close(short, long[:, 45:54], rtol=0, atol=1e-12)
    assert (layer.taps(torch.tensor([3.0, -3.0], dtype=torch.float64)).diff(dim=1).abs() > 0).any()  # the side counts
    far = layer.taps(torch.tensor([1e5, -1e5], dtype=torch.float64)).abs()
    assert far.max() < 1e-10 < layer.taps(torch.tensor([1.0], dtype=torch.float64)).abs().max()


def test_the_dilated_stack_is_torchs():
    layer, x = DilatedConvolution(D, depth=3, width=3).double(), draw(2, 20, D)
    y = x
    for i in range(3):
        z = torch.nn.functional.layer_norm(y, [D])
        w = layer.convolutions[i]
        y = y + torch.nn.functional.gelu(
            torch.nn.functional.conv1d(z.transpose(1, 2), w.weight, w.bias, padding="same", dilation=2**i)
        ).transpose(1, 2)
    torch.testing.assert_close(layer(x), y, rtol=0, atol=1e-12)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(layer(x)[0, 10].sum(), x)
    assert torch.nonzero(gradient[0].abs().sum(-1)).flatten().tolist() == list(range(3, 18))  # 7 = 1 + 2 + 4 each way


def test_windows_are_means_of_what_is_present():
    layer, x, present = Hierarchical(D, factor=4).double(), draw(1, 10, D), lengths(10)
    u = layer.near(x)
    windows = torch.stack([u[0, :4].mean(0), u[0, 4:8].mean(0), u[0, 8:].mean(0)])[None]
    far = layer.far(windows)[0, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]]
    torch.testing.assert_close(layer(x, present)[0], u[0] + torch.sigmoid(layer.gate(u[0])) * far, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_tokens", [5, 37, 300])
def test_the_scan_is_that_of_mamba2(n_tokens):
    """The same numbers as transformers' Mamba-2 layer with the same weights, chunk by chunk and all."""
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers (extra fm) is not installed")
    from transformers import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    config = Mamba2Config(
        hidden_size=16, num_heads=4, head_dim=8, state_size=6, n_groups=1, expand=2, conv_kernel=4, chunk_size=32
    )
    torch.manual_seed(0)
    theirs = Mamba2Mixer(config, layer_idx=0).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.3)
        theirs.A_log.copy_(torch.rand(4))
        theirs.norm.weight.add_(1)
    ours = SelectiveSSM(16, n_state=6, head_dim=8, bidirectional=False, convolution=4, chunk=16).eval()
    (scan,) = ours.scans
    with torch.no_grad():
        gate, value, b_and_c, step = theirs.in_proj.weight.split([32, 32, 12, 4])
        ours.value_and_gate.weight.copy_(torch.cat([value, gate]))
        ours.value_and_gate.bias.zero_()
        scan.write_and_read.weight.copy_(b_and_c)
        scan.write_and_read.bias.zero_()
        scan.step.weight.copy_(step)
        scan.step_bias_h.copy_(theirs.dt_bias)
        scan.log_rate_h.copy_(theirs.A_log)
        scan.short.weight.copy_(theirs.conv1d.weight)
        scan.short.bias.copy_(theirs.conv1d.bias)
        ours.skip_h.copy_(theirs.D)
        ours.norm.weight.copy_(theirs.norm.weight)
        ours.out.weight.copy_(theirs.out_proj.weight)
        ours.out.bias.zero_()
        x = draw(2, n_tokens, 16).float()
        expected = theirs(x)
    torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-4)
    assert expected.abs().mean() > 0.1


def test_cost_is_not_quadratic():
    """Values that a layer keeps for the backward pass: linear in tokens, but for full attention."""
    for name in [name for name in NAMES if name != "attention"]:
        counts = []
        for n in (512, 2048):
            kept = 0

            def keep(tensor):
                nonlocal kept
                kept += tensor.numel()
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                make_sequence_layer(name, D)(draw(1, n, D).float())
            counts.append(kept)
        assert counts[1] < 5 * counts[0], name


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_sequence_layer("fourier", 8), "no layer is called 'fourier'.*attention, cnn"),
        (lambda: LocalAttention(8, window=0), "window must be at least 1, found 0"),
        (lambda: LocalAttention(8, n_heads=3), "n_heads must divide d_model=8, found 3"),
        (lambda: LocalAttention(6, n_heads=2), "even width of heads, found 3"),
        (lambda: Attention(9, n_heads=3, rotary=True), "Attention: rotary positions need an even width"),
        (lambda: DilatedConvolution(8, width=4), "width odd, found 2 and 4"),
        (lambda: Hierarchical(8, factor=0), "factor must be at least 1, found 0"),
        (lambda: SelectiveSSM(8, convolution=-1), "convolution must be at least 0, found -1"),
    ],
)
def test_errors_say_what_was_found(call, message):
    with pytest.raises(InputError, match=message):
        call()
