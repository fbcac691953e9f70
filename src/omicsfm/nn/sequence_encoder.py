"""SequenceEncoder: bases in, one vector per sequence out; and the same of both strands."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from omicsfm._errors import InputError
from omicsfm.nn._init import convolution, linear, seeded
from omicsfm.nn.dropout import Dropout
from omicsfm.nn.encoder import Block
from omicsfm.nn.mixer import check_tokens, keep_present
from omicsfm.nn.sequence_layers import make_sequence_layer

N_BASES = 4


class SequenceEncoder(nn.Module):
    """A motif-wide convolution, max-pooled; residual blocks of one layer of `SEQUENCE_LAYERS`; pooled by segments.

    The vector of a sequence holds the largest value of each channel anywhere, and its mean in each of `n_segments`
    equal parts of the sequence: what is there, and roughly where. Sequences may be of different lengths, padded at
    their end; what stands in the padding is never read. An unknown base is four zeros.

    Parameters
    ----------
    layer
        A key of `SEQUENCE_LAYERS`.
    d_model
        Channels.
    n_layers
        Blocks.
    width
        Bases that the first convolution looks at; odd.
    pool
        Bases that become one token.
    n_segments
        Parts of a sequence that are averaged apart.
    dropout
        Probability of dropping a value in training.
    generator
        Source of the initial weights and of the dropout's seeds; None: seed 0.

    Attributes
    ----------
    d_out
        Length of the vector, ``d_model * (1 + n_segments)``.

    Raises
    ------
    InputError
        For an unknown layer, or a size out of range.
    """

    def __init__(
        self,
        layer: str,
        d_model: int = 64,
        *,
        n_layers: int = 2,
        width: int = 11,
        pool: int = 5,
        n_segments: int = 8,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if min(d_model, n_layers, width, pool, n_segments) < 1 or width % 2 == 0:
            raise InputError(
                f"SequenceEncoder: sizes must be at least 1 and width odd, found d_model={d_model}, "
                f"n_layers={n_layers}, width={width}, pool={pool}, n_segments={n_segments}. Fix: keep the defaults."
            )
        generator = seeded(generator)
        self.pool, self.n_segments, self.d_out = pool, n_segments, d_model * (1 + n_segments)
        self.stem = convolution(N_BASES, d_model, width, generator=generator)
        self.blocks = nn.ModuleList(
            Block(make_sequence_layer(layer, d_model, generator=generator), dropout=dropout, generator=generator)
            for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model)

    def forward(self, x_bl4: Tensor, present_bl: Tensor | None = None) -> Tensor:
        """Encode sequences.

        Parameters
        ----------
        x_bl4
            One-hot bases (batch, bases, 4), columns A, C, G, T; zeros for an unknown base.
        present_bl
            bool (batch, bases), False in the padding at the end of the shorter sequences; None: no padding.

        Returns
        -------
        (batch, d_out).

        Raises
        ------
        InputError
            Where the shapes do not fit, or `present_bl` is not bool.
        """
        check_tokens("SequenceEncoder", x_bl4, present_bl, d_model=N_BASES)
        x_bld, present = self._stem(keep_present(x_bl4, present_bl), present_bl)
        for block in self.blocks:
            x_bld = block(x_bld, present)
        return self._pooled(self.norm(x_bld), present)

    def _stem(self, x_bl4: Tensor, present_bl: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Find motifs, and keep the best match in every `pool` bases."""
        reach, fill = self.stem.kernel_size[0] // 2, -x_bl4.shape[1] % self.pool
        found = self.stem(pad(x_bl4.transpose(1, 2), [reach, reach]))
        present = None
        if present_bl is not None:
            found = found.masked_fill(~present_bl[:, None], -torch.inf)
            present = pad(present_bl, [0, fill]).unflatten(1, (-1, self.pool)).any(-1)
        best = pad(found, [0, fill], value=-torch.inf).unflatten(2, (-1, self.pool)).amax(-1).transpose(1, 2)
        return gelu(keep_present(best, present)), present

    def _pooled(self, x_bld: Tensor, present_bl: Tensor | None) -> Tensor:
        b, n_tokens, d_model = x_bld.shape
        place = torch.arange(n_tokens, device=x_bld.device)
        if present_bl is None:
            segment = (place * self.n_segments // n_tokens).expand(b, n_tokens)
            share = torch.ones_like(segment, dtype=x_bld.dtype)
            best = x_bld.amax(1)
        else:
            n_present = present_bl.sum(1, keepdim=True)
            segment = (place * self.n_segments // n_present.clamp(min=1)).clamp(max=self.n_segments - 1)
            share = present_bl.to(x_bld.dtype)
            x_bld = keep_present(x_bld, present_bl)
            best = x_bld.masked_fill(~present_bl[..., None], -torch.inf).amax(1)
            best = best.masked_fill(n_present == 0, 0.0)
        part_bsl = (segment[:, None] == torch.arange(self.n_segments, device=x_bld.device)[:, None]) * share[:, None]
        mean = part_bsl @ x_bld / part_bsl.sum(-1, keepdim=True).clamp(min=1)
        return torch.cat([best, mean.flatten(1)], dim=1)


class SequenceClassifier(nn.Module):
    """A `SequenceEncoder` and a linear head; of one strand, or the mean logits of both.

    With `both_strands`, a sequence and its reverse complement get the same logits up to rounding, whatever the weights
    (an invariance; the encoder itself is not equivariant). Without, the strand counts.

    Parameters
    ----------
    encoder
        Gives the vector of a sequence.
    n_classes
        Logits.
    both_strands
        Average the logits over both strands. In training each sequence is read on one strand, as it is given:
        show either with equal probability.
    dropout
        Probability of dropping a value of the vector in training.
    generator
        Source of the initial weights and of the dropout's seed; None: seed 0.

    References
    ----------
    Zhou, Shrikumar & Kundaje (2022), PMLR 165:1 (averaging both strands after training is as good as tied weights).
    """

    def __init__(
        self,
        encoder: SequenceEncoder,
        n_classes: int,
        *,
        both_strands: bool,
        dropout: float = 0.2,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = seeded(generator)
        self.encoder, self.both_strands = encoder, both_strands
        self.norm = nn.LayerNorm(encoder.d_out)
        self.dropout = Dropout(dropout, generator=generator)
        self.head = linear(encoder.d_out, n_classes, generator=generator)

    def features(self, x_bl4: Tensor, present_bl: Tensor | None = None) -> Tensor:
        """Give the normalised vector (batch, d_out) of a sequence; with `both_strands` its mean over both."""
        vector = self.norm(self.encoder(x_bl4, present_bl))
        if not self.both_strands or self.training:
            return vector
        return (vector + self.norm(self.encoder(other_strand(x_bl4, present_bl), present_bl))) / 2

    def forward(self, x_bl4: Tensor, present_bl: Tensor | None = None) -> Tensor:
        """Give logits (batch, n_classes); arguments as in `SequenceEncoder`."""
        return self.head(self.dropout(self.features(x_bl4, present_bl)))


def other_strand(x_bl4: Tensor, present_bl: Tensor | None = None) -> Tensor:
    """Give the reverse complement of one-hot sequences; padding stays at the end."""
    flipped = x_bl4.flip(1, 2)  # A, C, G, T backwards is its complement
    if present_bl is None:
        return flipped
    n_bases = x_bl4.shape[1]
    start = n_bases - present_bl.sum(1, keepdim=True)
    place = (torch.arange(n_bases, device=x_bl4.device) + start) % n_bases
    return flipped.gather(1, place[..., None].expand_as(flipped))
