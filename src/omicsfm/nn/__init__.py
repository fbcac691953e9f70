"""Torch building blocks: tensors in, tensors out; no MuData.

A token mixer is a `Mixer`, made by name through `make_mixer`; a new one is a file of its own and a line in `MIXERS`.
Layers for sequences, whose tokens have places, are mixers as well: `make_sequence_layer`, `SEQUENCE_LAYERS`.
Every random number comes from a generator that the caller gives; torch's global one is neither read nor moved.
"""

from omicsfm.nn.attention import Attention
from omicsfm.nn.convolution import DilatedConvolution
from omicsfm.nn.counts import Counts, LowRank
from omicsfm.nn.dropout import Dropout
from omicsfm.nn.encoder import TokenEncoder
from omicsfm.nn.graph import Edges, GraphAttention, GraphConv
from omicsfm.nn.hierarchy import Hierarchical
from omicsfm.nn.hybrid import Hybrid
from omicsfm.nn.likelihoods import bernoulli_nll, nb_mixture_nll, nb_nll, poisson_nll
from omicsfm.nn.local_attention import LocalAttention
from omicsfm.nn.long_convolution import GatedLongConvolution
from omicsfm.nn.losses import gaussian_nll, info_nce, mmd, reverse_gradient
from omicsfm.nn.mixer import Mixer
from omicsfm.nn.mlp import SetMLP
from omicsfm.nn.registry import MIXERS, make_mixer
from omicsfm.nn.sequence_encoder import SequenceClassifier, SequenceEncoder
from omicsfm.nn.sequence_layers import SEQUENCE_LAYERS, make_sequence_layer
from omicsfm.nn.ssm import SelectiveSSM, ssd_scan

__all__ = [
    "MIXERS",
    "SEQUENCE_LAYERS",
    "Attention",
    "Counts",
    "DilatedConvolution",
    "Dropout",
    "Edges",
    "GatedLongConvolution",
    "GraphAttention",
    "GraphConv",
    "Hierarchical",
    "Hybrid",
    "LocalAttention",
    "LowRank",
    "Mixer",
    "SelectiveSSM",
    "SequenceClassifier",
    "SequenceEncoder",
    "SetMLP",
    "TokenEncoder",
    "bernoulli_nll",
    "gaussian_nll",
    "info_nce",
    "make_mixer",
    "make_sequence_layer",
    "mmd",
    "nb_mixture_nll",
    "nb_nll",
    "poisson_nll",
    "reverse_gradient",
    "ssd_scan",
]
