"""DNA: sequences in, numbers out."""

from __future__ import annotations

from omicsfm.seq._choose import EmbeddingChoice, choose_embedding
from omicsfm.seq._clusters import similarity_clusters
from omicsfm.seq._composition import composition
from omicsfm.seq._contacts import add_contacts
from omicsfm.seq._duplicates import duplicates
from omicsfm.seq._embed import embed
from omicsfm.seq._embedders import Embedder, embed_sequences, embedder, embedders, register_embedder
from omicsfm.seq._embedding_cache import cached
from omicsfm.seq._fasta import read_fasta, read_regions
from omicsfm.seq._kmer import gapped_kmer, gapped_kmer_names, kmer, kmer_names
from omicsfm.seq._motif_files import read_motifs
from omicsfm.seq._motifs import motifs
from omicsfm.seq._one_hot import one_hot, reverse_complement
from omicsfm.seq._pretrained import layer_embeddings, pretrained
from omicsfm.seq._verify import verify_embeddings
from omicsfm.seq.genome import Genome

__all__ = [
    "Embedder",
    "EmbeddingChoice",
    "Genome",
    "add_contacts",
    "cached",
    "choose_embedding",
    "composition",
    "duplicates",
    "embed",
    "embed_sequences",
    "embedder",
    "embedders",
    "gapped_kmer",
    "gapped_kmer_names",
    "kmer",
    "kmer_names",
    "layer_embeddings",
    "motifs",
    "pretrained",
    "one_hot",
    "read_fasta",
    "read_motifs",
    "read_regions",
    "register_embedder",
    "reverse_complement",
    "similarity_clusters",
    "verify_embeddings",
]
