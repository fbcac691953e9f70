"""Torch building blocks: tensors in, tensors out; no MuData.

A token mixer is a `Mixer`, made by name through `make_mixer`; a new one is a file of its own and a line in `MIXERS`.
Every random number comes from a generator that the caller gives; torch's global one is neither read nor moved.
"""

from omicsfm.nn.attention import Attention
from omicsfm.nn.counts import Counts, LowRank
from omicsfm.nn.dropout import Dropout
from omicsfm.nn.encoder import TokenEncoder
from omicsfm.nn.graph import Edges, GraphAttention, GraphConv
from omicsfm.nn.likelihoods import bernoulli_nll, nb_mixture_nll, nb_nll, poisson_nll
from omicsfm.nn.losses import gaussian_nll, info_nce, mmd, reverse_gradient
from omicsfm.nn.mixer import Mixer
from omicsfm.nn.mlp import SetMLP
from omicsfm.nn.registry import MIXERS, make_mixer
from omicsfm.nn.ssm import SelectiveSSM, ssd_scan

__all__ = [
    "MIXERS",
    "Attention",
    "Counts",
    "Dropout",
    "Edges",
    "GraphAttention",
    "GraphConv",
    "LowRank",
    "Mixer",
    "SelectiveSSM",
    "SetMLP",
    "TokenEncoder",
    "bernoulli_nll",
    "gaussian_nll",
    "info_nce",
    "make_mixer",
    "mmd",
    "nb_mixture_nll",
    "nb_nll",
    "poisson_nll",
    "reverse_gradient",
    "ssd_scan",
]
