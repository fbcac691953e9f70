"""Graph layers on the edges of any ``varp``: torch alone, no other package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from omicsfm._errors import InputError
from omicsfm.nn._init import linear, seeded


@dataclass(frozen=True)
class Edges:
    """Who informs whom.

    Attributes
    ----------
    source, target : int64 (n_edges,), nodes; what a node is told comes from its sources.
    weight : float (n_edges,).
    n_nodes : number of nodes, those without an edge included.
    """

    source: Tensor
    target: Tensor
    weight: Tensor
    n_nodes: int

    @classmethod
    def of(cls, varp: Any, *, dtype: torch.dtype = torch.float32) -> Edges:
        """Read the edges of a matrix such as ``adata.varp["contacts:wt"]``.

        Parameters
        ----------
        varp
            (n, n), sparse or an array: entry (i, j), where it is not zero, is the weight with which j informs i.
        dtype
            Of the weights.

        Raises
        ------
        InputError
            If it is not square, or holds a weight that is negative or not finite.
        """
        table = sparse.coo_matrix(varp)
        if table.shape[0] != table.shape[1]:
            raise InputError(f"nn.Edges: a square matrix was needed, found shape {table.shape}. Fix: give a varp.")
        table.sum_duplicates()
        kept = table.data != 0
        weight = np.asarray(table.data[kept], dtype=np.float64)
        if not (np.isfinite(weight) & (weight >= 0)).all():
            raise InputError(
                "nn.Edges: weights must be finite and not negative, found others. "
                "Fix: take their absolute values, or leave these edges out."
            )
        source, target = (torch.from_numpy(at[kept].astype(np.int64)) for at in (table.col, table.row))
        return cls(source, target, torch.from_numpy(weight).to(dtype), table.shape[0])

    def with_loops(self, weight: float = 1.0) -> Edges:
        """Give every node an edge to itself in place of any that it has."""
        other = self.source != self.target
        own = torch.arange(self.n_nodes, device=self.source.device)
        return Edges(
            torch.cat([self.source[other], own]),
            torch.cat([self.target[other], own]),
            torch.cat([self.weight[other], self.weight.new_full((self.n_nodes,), weight)]),
            self.n_nodes,
        )

    def gather(self, message: Tensor) -> Tensor:
        """Add up what comes in at each node: (n_edges, ...) -> (n_nodes, ...)."""
        return message.new_zeros((self.n_nodes, *message.shape[1:])).index_add(0, self.target, message)

    def softmax(self, score: Tensor) -> Tensor:
        """Normalise scores (n_edges, ...) over the edges that come in at a node; their sum there is 1."""
        at = self.target.view(-1, *[1] * (score.dim() - 1)).expand_as(score)
        lowest = score.new_full((self.n_nodes, *score.shape[1:]), -torch.inf)
        # Any shift gives the same value and gradient; the largest score keeps exp() from overflowing.
        top = lowest.scatter_reduce(0, at, score.detach(), reduce="amax")
        exp = torch.exp(score - top[self.target])
        return exp / self.gather(exp)[self.target]


class GraphConv(nn.Module):
    """Graph convolution: ``D^-1/2 (A + I) D^-1/2 X W + b``.

    Parameters
    ----------
    d_in, d_out
        Width of what comes in and goes out.
    generator
        Source of the initial weights; None: seed 0.

    References
    ----------
    Kipf & Welling (2017), ICLR, arXiv:1609.02907, equation 2.
    """

    def __init__(self, d_in: int, d_out: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.d_in = d_in
        self.linear = linear(d_in, d_out, generator=seeded(generator))

    def forward(self, x_nd: Tensor, edges: Edges) -> Tensor:
        """Give (n_nodes, d_out) of (n_nodes, d_in)."""
        _check("GraphConv", x_nd, edges, d_in=self.d_in)
        looped = edges.with_loops()
        scale = looped.gather(looped.weight).rsqrt()  # a loop of 1 keeps every degree above zero
        weight = looped.weight * scale[looped.source] * scale[looped.target]
        y_nd = x_nd @ self.linear.weight.T
        return looped.gather(weight[:, None] * y_nd[looped.source]) + self.linear.bias


class GraphAttention(nn.Module):
    """Graph attention: each node weighs its neighbours and itself by what they hold, and by the edge.

    The score of an edge is ``leaky_relu(a_s . W x_source + a_t . W x_target, 0.2)`` in each head; the logarithm of its
    weight is added, so that an edge of weight w counts as w edges (all of weight 1: the published layer).

    Parameters
    ----------
    d_in, d_out
        Width of what comes in and goes out.
    n_heads
        Heads, side by side in what goes out; must divide `d_out`.
    generator
        Source of the initial weights; None: seed 0.

    References
    ----------
    Velickovic et al. (2018), ICLR, arXiv:1710.10903, equations 1 to 5.
    """

    def __init__(self, d_in: int, d_out: int, *, n_heads: int = 1, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if n_heads < 1 or d_out % n_heads:
            raise InputError(f"GraphAttention: n_heads must divide d_out={d_out}, found {n_heads}. Fix: a divisor.")
        generator = seeded(generator)
        self.d_in, self.n_heads = d_in, n_heads
        self.linear = linear(d_in, d_out, generator=generator, bias=False)
        width = d_out // n_heads
        bound = (6 / (width + 1)) ** 0.5
        self.score_source = nn.Parameter(torch.empty(n_heads, width).uniform_(-bound, bound, generator=generator))
        self.score_target = nn.Parameter(torch.empty(n_heads, width).uniform_(-bound, bound, generator=generator))
        self.bias = nn.Parameter(torch.zeros(d_out))

    def forward(self, x_nd: Tensor, edges: Edges) -> Tensor:
        """Give (n_nodes, d_out) of (n_nodes, d_in)."""
        _check("GraphAttention", x_nd, edges, d_in=self.d_in)
        looped = edges.with_loops()
        y_nhk = self.linear(x_nd).view(len(x_nd), self.n_heads, -1)
        source_nh, target_nh = (y_nhk * self.score_source).sum(-1), (y_nhk * self.score_target).sum(-1)
        score_eh = nn.functional.leaky_relu(source_nh[looped.source] + target_nh[looped.target], 0.2)
        share_eh = looped.softmax(score_eh + looped.weight.log()[:, None])
        return looped.gather(share_eh[..., None] * y_nhk[looped.source]).flatten(1) + self.bias


def _check(where: str, x_nd: Tensor, edges: Edges, *, d_in: int) -> None:
    if x_nd.shape != (edges.n_nodes, d_in):
        raise InputError(
            f"{where}: features of shape ({edges.n_nodes}, {d_in}) are needed, found {tuple(x_nd.shape)}. "
            "Fix: give one row for each node of the edges."
        )
