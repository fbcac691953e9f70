"""SelectiveSSM: a state-space scan whose steps depend on the tokens (Mamba-2 / SSD form)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, silu, softplus

from omicsfm._errors import InputError
from omicsfm.nn._init import convolution as short_convolution
from omicsfm.nn._init import linear, seeded
from omicsfm.nn._precision import no_autocast, widen
from omicsfm.nn.mixer import Mixer, keep_present

# Memory of a head at the start. Tokens of a cell are few: a step of 0.1 to 1 at a rate of 0.5 to 2 keeps 13-95 % of
# the state from one token to the next. (Mamba starts at 0.001 to 0.1, made for thousands of tokens.)
RATES = (0.5, 2.0)
STEPS = (0.1, 1.0)
# In a sequence the neighbours are many: half-lives of one token to hundreds.
SEQUENCE_STEPS = (0.005, 0.5)


class SelectiveSSM(Mixer):
    """Selective state space: each head keeps a state that every token decays, writes to and reads from.

    ``h_t = exp(delta_t A) h_{t-1} + delta_t B_t x_t``, ``y_t = C_t h_t + D x_t`` with B, C and delta read from token t
    and A < 0 one number per head; then a gate, a norm and an output layer. An absent token has delta = 0, which leaves
    the state as it was: the result is that of the sequence without it. Mamba's short convolution looks at neighbours,
    which differ when a token is absent; so it is left out, unless `convolution` says that tokens have places.

    Parameters
    ----------
    d_model
        Width of a token.
    n_state
        Size of the state per channel.
    head_dim
        Channels per head; there are ``expansion * d_model / head_dim`` heads. None: 16, or the largest common divisor
        of 16 and ``expansion * d_model``.
    expansion
        Inner channels over `d_model`.
    bidirectional
        Scan from both ends, each direction with its own A, B, C and delta, and add. Tokens of modalities have no
        natural order, so that one direction would favour the last.
    chunk
        Tokens per block of the scan: changes speed and memory, not the result.
    convolution
        Tokens that the short causal convolution over x, B and C looks at; 0: there is none. With one, an absent token
        inside a sequence counts as a token of zeros, and only padding at its end is as if removed.
    steps
        Range of the initial delta, log-uniform over heads. None: 0.1 to 1, for tens of tokens.
    generator
        Source of the initial weights; None: seed 0.

    References
    ----------
    Gu & Dao (2023), arXiv:2312.00752, algorithm 2; Dao & Gu (2024), ICML, arXiv:2405.21060, sections 6 and 7.
    """

    def __init__(
        self,
        d_model: int,
        *,
        n_state: int = 16,
        head_dim: int | None = None,
        expansion: int = 2,
        bidirectional: bool = True,
        chunk: int = 64,
        convolution: int = 0,
        steps: tuple[float, float] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(d_model)
        d_inner = expansion * d_model
        self.head_dim = math.gcd(d_inner, 16) if head_dim is None else head_dim
        if self.head_dim < 1 or d_inner % self.head_dim:
            raise InputError(
                f"SelectiveSSM: head_dim must divide expansion * d_model = {d_inner}, found {head_dim}. "
                "Fix: choose a divisor, or None."
            )
        if chunk < 1:
            raise InputError(f"SelectiveSSM: chunk must be at least 1, found {chunk}. Fix: leave it at 64.")
        if convolution < 0:
            raise InputError(f"SelectiveSSM: convolution must be at least 0, found {convolution}. Fix: 0, or 4.")
        generator = seeded(generator)
        self.n_state, self.n_heads, self.chunk = n_state, d_inner // self.head_dim, chunk
        self.value_and_gate = linear(d_model, 2 * d_inner, generator=generator)
        self.scans = nn.ModuleList(
            _Scan(
                d_model,
                n_state=n_state,
                heads=(self.n_heads, self.head_dim),
                convolution=convolution,
                steps=steps or STEPS,
                generator=generator,
            )
            for _ in range(1 + bidirectional)
        )
        self.skip_h = nn.Parameter(torch.ones(self.n_heads))
        self.norm = nn.RMSNorm(d_inner, eps=1e-5)
        self.out = linear(d_inner, d_model, generator=generator)

    def mix(self, x_bld: Tensor, present_bl: Tensor | None) -> Tensor:
        """Scan over the present tokens."""
        value, gate = self.value_and_gate(x_bld).chunk(2, dim=-1)
        read, sums = [], []
        for i, scan in enumerate(self.scans):
            back = i == 1
            given = [x_bld, value, present_bl]
            v_blhp, *rest = scan(*(x.flip(1) if back and x is not None else x for x in given))
            y_blhp = ssd_scan(v_blhp, *rest, chunk=self.chunk)
            read.append(v_blhp.flip(1) if back else v_blhp)
            sums.append(y_blhp.flip(1) if back else y_blhp)
        y_blhp = self.skip_h[:, None] * torch.stack(read).mean(0)
        for part in sums:
            y_blhp = y_blhp + part
        return self.out(self.norm(y_blhp.flatten(-2) * silu(widen(gate))))


def sequence_ssm(d_model: int, *, generator: torch.Generator | None = None) -> SelectiveSSM:
    """Make a SelectiveSSM for sequences: Mamba's short convolution, longer memories, both directions."""
    return SelectiveSSM(d_model, convolution=4, chunk=32, steps=SEQUENCE_STEPS, generator=generator)


class _Scan(nn.Module):
    """What one direction reads from the tokens: steps, rates, B and C."""

    def __init__(
        self,
        d_model: int,
        *,
        n_state: int,
        heads: tuple[int, int],
        convolution: int,
        steps: tuple[float, float],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        n_heads, d_inner = heads[0], heads[0] * heads[1]
        self.heads = heads
        self.write_and_read = linear(d_model, 2 * n_state, generator=generator)
        self.step = linear(d_model, n_heads, generator=generator, bias=False)
        with torch.no_grad():
            # B and C start near one constant: a plain decaying sum, from which it learns to select. Where they start
            # at random signs, what a token writes is read by the others with either sign, and learning is slow.
            self.write_and_read.bias.add_(2 * n_state**-0.5)
        step = _log_uniform(n_heads, *steps, generator=generator)
        self.step_bias_h = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus gives the step back
        self.log_rate_h = nn.Parameter(_log_uniform(n_heads, *RATES, generator=generator).log())
        n_short = d_inner + 2 * n_state
        self.short = (
            short_convolution(n_short, n_short, convolution, groups=n_short, generator=generator)
            if convolution
            else None
        )

    def forward(
        self, x_bld: Tensor, value_bli: Tensor, present_bl: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        written = self.write_and_read(x_bld)
        if self.short is not None:
            near = keep_present(torch.cat([value_bli, written], dim=-1), present_bl).transpose(1, 2)
            near = silu(self.short(pad(near, [self.short.kernel_size[0] - 1, 0]))).transpose(1, 2)
            value_bli, written = near.split([value_bli.shape[-1], written.shape[-1]], dim=-1)
        b_bln, c_bln = written.chunk(2, dim=-1)
        step_blh = softplus(widen(self.step(x_bld)) + self.step_bias_h)
        if present_bl is not None:
            step_blh = step_blh.masked_fill(~present_bl[..., None], 0.0)
        return widen(value_bli.unflatten(-1, self.heads)), step_blh, -self.log_rate_h.exp(), b_bln, c_bln


def _log_uniform(n: int, low: float, high: float, *, generator: torch.Generator) -> Tensor:
    return torch.exp(torch.rand(n, generator=generator) * math.log(high / low) + math.log(low))


def ssd_scan(
    v_blhp: Tensor, step_blh: Tensor, rate_h: Tensor, b_bln: Tensor, c_bln: Tensor, *, chunk: int = 64
) -> Tensor:
    """Run ``h_t = exp(step_t rate) h_{t-1} + step_t b_t v_t``, ``y_t = c_t h_t`` from a state of zeros.

    Within a chunk all pairs of tokens are weighed at once; between chunks only the state is carried. Decays are summed
    as logarithms before they are exponentiated, so that none overflows and none divides by a vanished one.

    Parameters
    ----------
    v_blhp
        Values (batch, tokens, heads, channels).
    step_blh
        Step sizes, at least 0; a token with step 0 does not exist for the others.
    rate_h
        Negative rate of each head.
    b_bln, c_bln
        What each token writes along, and reads along; shared by the heads.
    chunk
        Tokens per block; the result does not depend on it.

    Returns
    -------
    (batch, tokens, heads, channels), in float32 at least, under autocast too.

    References
    ----------
    Dao & Gu (2024), arXiv:2405.21060, section 6 and listing 1.
    """
    n_tokens = v_blhp.shape[1]
    q = max(1, min(chunk, n_tokens))
    fill = -n_tokens % q

    def blocks(x: Tensor) -> Tensor:
        """(b, l, ...) -> (b, chunks, q, ...), filled up with tokens of step 0."""
        return pad(widen(x), [0, 0] * (x.dim() - 2) + [0, fill]).unflatten(1, (-1, q))

    v, step, b, c = (blocks(x) for x in (v_blhp, step_blh, b_bln, c_bln))
    with no_autocast(v):  # products of many decays need their float32
        log_decay = step * rate_h  # (b, c, q, h)
        written = step[..., None] * v
        within = _segment_sums(log_decay.movedim(-1, 2)).exp()  # (b, c, h, to, from)
        reads = torch.einsum("bcin,bcjn->bcij", c, b)
        y = torch.einsum("bcij,bchij,bcjhp->bcihp", reads, within, written)
        if y.shape[1] > 1:
            y = y + _carried(log_decay, within, written, b, c)
    return y.flatten(1, 2)[:, :n_tokens]


def _carried(log_decay: Tensor, within: Tensor, written: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Give what the tokens of each chunk read from the chunks before it."""
    to_end = within[..., -1, :]  # decay from each token to the end of its chunk
    gained = torch.einsum("bchj,bcjn,bcjhp->bchpn", to_end, b, written)
    from_start = log_decay.cumsum(2).exp()  # decay from the start of the chunk up to and with each token
    states, state = [], torch.zeros_like(gained[:, 0])
    for i in range(gained.shape[1]):
        states.append(state)
        state = from_start[:, i, -1, :, None, None] * state + gained[:, i]
    return torch.einsum("bcin,bchpn,bcih->bcihp", c, torch.stack(states, 1), from_start)


def _segment_sums(x: Tensor) -> Tensor:
    """(..., q) -> (..., q, q): entry (i, j) is x[j+1] + ... + x[i], and -inf for i < j.

    Sums, not differences of running sums: those lose the small steps that follow a large one.
    """
    q = x.shape[-1]
    lower = torch.ones(q, q, dtype=torch.bool, device=x.device).tril()
    terms = x[..., :, None].expand(*x.shape, q).masked_fill(~lower.tril(-1), 0.0)
    return terms.cumsum(-2).masked_fill(~lower, -torch.inf)
