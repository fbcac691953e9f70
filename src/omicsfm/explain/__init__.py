"""Why a model of DNA says what it says, and whether the explanation is true to the model."""

from __future__ import annotations

from omicsfm.explain._deeplift import deeplift, gradient
from omicsfm.explain._faithfulness import Faithfulness, faithfulness
from omicsfm.explain._filters import filter_motifs, match_motifs
from omicsfm.explain._kmer import kmer_contributions, kmer_mutagenesis
from omicsfm.explain._marginal import marginal_effects, shuffled
from omicsfm.explain._mutagenesis import importance, mutagenesis

__all__ = [
    "Faithfulness",
    "deeplift",
    "faithfulness",
    "filter_motifs",
    "gradient",
    "importance",
    "kmer_contributions",
    "kmer_mutagenesis",
    "marginal_effects",
    "match_motifs",
    "mutagenesis",
    "shuffled",
]
