from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from omicsfm import InputError
from omicsfm.nn import MIXERS, Dropout, TokenEncoder

D = 12
NAMES = sorted(MIXERS)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def cells(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of 64 cells in every subset of six modalities, the empty one and single ones included."""
    present = torch.arange(64)[:, None].bitwise_and(2 ** torch.arange(6)) > 0
    return draw(64, 6, D, seed=seed), present


@pytest.mark.parametrize("name", NAMES)
def test_every_subset_is_finite_and_absent_tokens_are_zero(name):
    x, present = cells()
    encoder = TokenEncoder(D, 2, mixer=name)
    y = encoder(x.masked_fill(~present[..., None], torch.nan), present)
    assert y.shape == x.shape
    assert (y[~present] == 0).all()
    assert torch.equal(y, encoder(x, present))
    gradients = torch.autograd.grad(y.square().mean(), list(encoder.parameters()))
    assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e15])
def test_extreme_tokens_are_finite(name, scale):
    x, present = cells()
    x = (x * scale).requires_grad_()
    y = TokenEncoder(D, 2, mixer=name)(x, present)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert y.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_it_can_learn_what_needs_the_other_token(name):
    # The target of a token is the other token's content: without mixing, the error of new cells is above 1.
    encoder = TokenEncoder(D, 1, mixer=name)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-2)
    for step in range(150):
        x = draw(128, 2, D, seed=step)
        loss = (encoder(x) - x.flip(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.7


@pytest.mark.parametrize("name", NAMES)
def test_same_generator_same_bits_and_the_global_one_is_untouched(name):
    x, present = cells()
    before = torch.get_rng_state()
    first, again, other = (
        TokenEncoder(D, 2, mixer=name, dropout=0.3, generator=torch.Generator().manual_seed(seed)).train()
        for seed in (3, 3, 4)
    )
    for _ in range(2):
        y = first(x, present)
        assert torch.equal(y, again(x, present))
        assert not torch.equal(y, other(x, present))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_restored_encoder_draws_the_dropout_that_would_have_come_next():
    x, present = cells()
    encoder = TokenEncoder(D, 2, dropout=0.3)
    passed = encoder(x, present)
    restored = TokenEncoder(D, 2, dropout=0.3, generator=torch.Generator().manual_seed(9))
    restored.load_state_dict(encoder.state_dict())
    following = encoder(x, present)
    assert torch.equal(restored(x, present), following)
    assert not torch.equal(passed, following)
    assert torch.equal(restored.eval()(x, present), encoder.eval()(x, present))


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
def test_dropout_drops_independently_with_its_probability(p):
    drop = Dropout(p, generator=torch.Generator().manual_seed(0))
    n_calls, side = 50, 64
    kept = torch.stack([drop(torch.ones(side, side)) for _ in range(n_calls)])
    assert kept.unique().tolist() == pytest.approx([0, 1 / (1 - p)])
    z = (kept - 1) / (p / (1 - p)) ** 0.5  # mean 0 and variance 1
    # Sums over calls, rows, columns and pairs of neighbours: each has mean 0 and variance 1 if draws are independent.
    sums = [z.sum(axis) / z.shape[axis] ** 0.5 for axis in range(3)]
    sums += [(z.narrow(a, 0, z.shape[a] - 1) * z.narrow(a, 1, z.shape[a] - 1)).mean(a) * side**0.5 for a in range(3)]
    for values in sums:
        assert abs(values.mean()) < 4 * values.std() / values.numel() ** 0.5
    for values in sums[:3]:
        assert values.var().item() == pytest.approx(1, abs=0.1)
    # So has the number dropped in a whole call.
    assert 0.4 < (z.sum((1, 2)) / side).var() < 2


def test_dropout_does_nothing_outside_training():
    x = draw(4, 3)
    drop = Dropout(0.5, generator=torch.Generator()).eval()
    assert drop(x) is x
    assert drop.state[1] == 0


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_compiled_as_one_graph(name):
    # The graph is captured but run by torch: making machine code of it takes half a minute.
    x, present = cells()
    encoder, same = (TokenEncoder(D, 1, mixer=name, dropout=0.3) for _ in range(2))
    compiled = torch.compile(encoder, backend="eager", fullgraph=True)
    for _ in range(3):
        assert torch.equal(compiled(x, present), same(x, present))


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_autocast_is_finite_and_close(name):
    x, present = cells()
    encoder = TokenEncoder(D, 2, mixer=name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = encoder(x, present)
        gradients = torch.autograd.grad(y.float().square().mean(), list(encoder.parameters()))
    assert (y.float() - encoder(x, present)).abs().mean() < 0.05
    assert all(g.isfinite().all() for g in gradients)


def test_no_layer_leaves_the_norm():
    x, present = cells()
    expected = torch.nn.functional.layer_norm(x, (D,))
    assert torch.equal(TokenEncoder(D, 0)(x, present)[present], expected[present])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TokenEncoder(D, 1, mixer="none"), "no mixer is called 'none'"),
        (lambda: TokenEncoder(0, 1), "found 0 and 1"),
        (lambda: TokenEncoder(D, -1), "found 12 and -1"),
        (lambda: TokenEncoder(D, 1, dropout=1.0), "below 1, found 1.0"),
        (lambda: TokenEncoder(D, 1)(torch.zeros(2, 3, 4)), r"\(batch, tokens, 12\) are needed, found \(2, 3, 4\)"),
    ],
)
def test_errors_say_what_was_found(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_models_load_without_torch():
    code = "import sys, omicsfm, omicsfm.models; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
