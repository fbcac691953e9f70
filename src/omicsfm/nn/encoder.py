"""TokenEncoder: residual blocks of a mixer and a gated feed-forward layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from omicsfm._errors import InputError
from omicsfm.nn._init import linear, seeded
from omicsfm.nn.dropout import Dropout
from omicsfm.nn.mixer import Mixer, check_tokens, keep_present
from omicsfm.nn.registry import make_mixer


class TokenEncoder(nn.Module):
    """Tokens in, tokens out, each informed by the present others.

    Pre-norm residual blocks, ``x + mixer(norm(x))`` then ``x + feed_forward(norm(x))``, and a final norm. Finite for
    cells with one present token and for cells with none; what stands in absent tokens is never read.

    Parameters
    ----------
    d_model
        Width of a token.
    n_layers
        Blocks; 0 leaves only the final norm.
    mixer
        A key of `MIXERS`: "attention", "mlp" or "ssm".
    dropout
        Probability of dropping a value of a block's output in training.
    generator
        Source of the initial weights and of the dropout's seeds; None: seed 0. Same state, same bits; torch's global
        generator is neither read nor moved.

    Raises
    ------
    InputError
        For an unknown mixer, or a size or probability out of range.

    References
    ----------
    Xiong et al. (2020), ICML, arXiv:2002.04745 (pre-norm); Shazeer (2020), arXiv:2002.05202 (gated feed-forward).
    """

    def __init__(
        self,
        d_model: int,
        n_layers: int,
        *,
        mixer: str = "attention",
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if d_model < 1 or n_layers < 0:
            raise InputError(
                f"TokenEncoder: d_model must be at least 1 and n_layers at least 0, found {d_model} and {n_layers}. "
                "Fix: choose such sizes."
            )
        generator = seeded(generator)
        self.d_model = d_model
        self.blocks = nn.ModuleList(
            Block(make_mixer(mixer, d_model, generator=generator), dropout=dropout, generator=generator)
            for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model)

    def forward(self, x_bld: Tensor, present_bl: Tensor | None = None) -> Tensor:
        """Encode the tokens.

        Parameters
        ----------
        x_bld
            Tokens (batch, tokens, d_model).
        present_bl
            bool (batch, tokens), True where a token was measured; None: all were.

        Returns
        -------
        (batch, tokens, d_model); zeros where a token is absent.

        Raises
        ------
        InputError
            Where the shapes do not fit, or `present_bl` is not bool.
        """
        check_tokens("TokenEncoder", x_bld, present_bl, d_model=self.d_model)
        x_bld = keep_present(x_bld, present_bl)
        for block in self.blocks:
            x_bld = block(x_bld, present_bl)
        return keep_present(self.norm(x_bld), present_bl)


class Block(nn.Module):
    """One mixer and one feed-forward layer, both residual. In absent tokens it leaves finite values, read by none."""

    def __init__(self, mixer: Mixer, *, dropout: float, generator: torch.Generator) -> None:
        super().__init__()
        d_model = mixer.d_model
        self.mixer_norm = nn.LayerNorm(d_model)
        self.mixer = mixer
        self.mixer_dropout = Dropout(dropout, generator=generator)
        self.feed_norm = nn.LayerNorm(d_model)
        self.feed = _GatedFeedForward(d_model, generator=generator)
        self.feed_dropout = Dropout(dropout, generator=generator)

    def forward(self, x_bld: Tensor, present_bl: Tensor | None) -> Tensor:
        """Mix, then feed forward."""
        x_bld = x_bld + self.mixer_dropout(self.mixer(self.mixer_norm(x_bld), present_bl))
        return x_bld + self.feed_dropout(self.feed(self.feed_norm(x_bld)))


class _GatedFeedForward(nn.Module):
    """``W_3 (silu(W_1 x) * W_2 x)``, hidden width twice `d_model`."""

    def __init__(self, d_model: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.gate_and_value = linear(d_model, 4 * d_model, generator=generator)
        self.out = linear(2 * d_model, d_model, generator=generator)

    def forward(self, x_bld: Tensor) -> Tensor:
        gate, value = self.gate_and_value(x_bld).chunk(2, dim=-1)
        return self.out(silu(gate) * value)
