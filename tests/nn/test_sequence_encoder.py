from __future__ import annotations

import pytest
import torch

from omicsfm import InputError
from omicsfm.nn import SEQUENCE_LAYERS, SequenceClassifier, SequenceEncoder
from omicsfm.nn.sequence_encoder import other_strand

NAMES = sorted(SEQUENCE_LAYERS)


def reads(*lengths: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """One-hot sequences with some N, padded at their end."""
    generator = torch.Generator().manual_seed(seed)
    code = torch.randint(0, 5, (len(lengths), max(lengths)), generator=generator)
    present = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    x = torch.eye(5, 4, dtype=torch.float64)[code]
    return x.masked_fill(~present[..., None], 0.0), present


def classifier(layer: str, *, both: bool) -> SequenceClassifier:
    generator = torch.Generator().manual_seed(0)
    encoder = SequenceEncoder(layer, 8, generator=generator)
    return SequenceClassifier(encoder, 3, both_strands=both, generator=generator).double().eval()


@pytest.mark.parametrize("layer", NAMES)
def test_padding_changes_nothing(layer):
    net, lengths = classifier(layer, both=True), (64, 41, 40, 3, 1)
    x, present = reads(*lengths)
    y = net(x, present)
    for i, n in enumerate(lengths):
        torch.testing.assert_close(y[i : i + 1], net(x[i : i + 1, :n]), rtol=0, atol=1e-10)
    assert net(x[:1], torch.zeros(1, 64, dtype=torch.bool)).isfinite().all()  # a sequence without bases


@pytest.mark.parametrize("layer", ["cnn", "ssm"])
def test_both_strands_are_one_where_asked(layer):
    x, present = reads(50, 33)
    back = other_strand(x, present)
    for both in (True, False):
        net = classifier(layer, both=both)
        same = torch.allclose(net(x, present), net(back, present), rtol=0, atol=1e-12)
        assert same == both
        assert torch.allclose(net.features(x, present), net.features(back, present), rtol=0, atol=1e-12) == both


def test_the_other_strand_of_padded_sequences():
    x = torch.eye(5, 4)[torch.tensor([[0, 1, 1, 4, 2], [3, 3, 0, 4, 4]])]  # ACCNG, TTA
    present = torch.tensor([[True] * 5, [True, True, True, False, False]])
    expected = torch.eye(5, 4)[torch.tensor([[1, 4, 2, 2, 3], [3, 0, 0, 4, 4]])]  # CNGGT, TAA
    assert torch.equal(other_strand(x, present), expected)
    assert torch.equal(other_strand(expected, present), x)
    assert torch.equal(other_strand(x[:1]), expected[:1])


def test_the_vector_is_the_maximum_and_the_means_of_segments():
    encoder = SequenceEncoder("cnn", 4, n_layers=1, pool=1, n_segments=3).double()
    x_bld = torch.randn(2, 7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    present = torch.arange(7) < torch.tensor([[7], [5]])
    got = encoder._pooled(x_bld, present)
    for i, cuts in enumerate(([slice(0, 3), slice(3, 5), slice(5, 7)], [slice(0, 2), slice(2, 4), slice(4, 5)])):
        n = 7 if i == 0 else 5
        expected = [x_bld[i, :n].amax(0), *(x_bld[i, cut].mean(0) for cut in cuts)]
        torch.testing.assert_close(got[i], torch.cat(expected), rtol=0, atol=1e-12)
    torch.testing.assert_close(encoder._pooled(x_bld[:1], None)[0], got[0], rtol=0, atol=1e-12)
    assert encoder.d_out == 16


@pytest.mark.parametrize("layer", NAMES)
def test_it_stays_small(layer):
    net = SequenceClassifier(SequenceEncoder(layer), 10, both_strands=True)
    assert sum(p.numel() for p in net.parameters()) < 2_000_000


def test_errors_say_what_was_found():
    with pytest.raises(InputError, match="sizes must be at least 1 and width odd, found .*width=4"):
        SequenceEncoder("cnn", width=4)
    with pytest.raises(InputError, match="no layer is called 'x'"):
        SequenceEncoder("x")
    with pytest.raises(InputError, match=r"SequenceEncoder: tokens of shape \(batch, tokens, 4\) are needed"):
        SequenceEncoder("cnn")(torch.zeros(1, 10, 5))
