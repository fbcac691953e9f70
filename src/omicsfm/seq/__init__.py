"""DNA: sequences in, numbers out."""

from __future__ import annotations

from omicsfm.seq._composition import composition
from omicsfm.seq._embedders import Embedder, embed_sequences, embedder, embedders, register_embedder
from omicsfm.seq._kmer import gapped_kmer, gapped_kmer_names, kmer, kmer_names
from omicsfm.seq._one_hot import one_hot, reverse_complement

__all__ = [
    "Embedder",
    "composition",
    "embed_sequences",
    "embedder",
    "embedders",
    "gapped_kmer",
    "gapped_kmer_names",
    "kmer",
    "kmer_names",
    "one_hot",
    "register_embedder",
    "reverse_complement",
]
