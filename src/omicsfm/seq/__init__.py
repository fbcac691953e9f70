"""DNA: sequences in, numbers out."""

from __future__ import annotations

from omicsfm.seq._kmer import gapped_kmer, gapped_kmer_names, kmer, kmer_names
from omicsfm.seq._one_hot import one_hot, reverse_complement

__all__ = ["gapped_kmer", "gapped_kmer_names", "kmer", "kmer_names", "one_hot", "reverse_complement"]
