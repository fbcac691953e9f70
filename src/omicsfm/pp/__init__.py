"""Raw counts to low-rank tokens, one modality at a time: sparse, batch-aware, projectable."""

from __future__ import annotations

from omicsfm.pp._features import BatchMoments
from omicsfm.pp._masked import MaskedSVD
from omicsfm.pp._recipes import ATAC, RECIPES, RNA, Continuous, Guide, Methylation, Protein, Recipe
from omicsfm.pp._response_data import (
    GroupMoments,
    ResponseData,
    group_moments,
    log_normalised,
    priors_of,
    response_data,
)
from omicsfm.pp._svd import SparseSVD, dense_nan
from omicsfm.pp._tokens import Tokenizer, Tokens, vstack

__all__ = [
    "ATAC",
    "RECIPES",
    "RNA",
    "BatchMoments",
    "Continuous",
    "GroupMoments",
    "Guide",
    "MaskedSVD",
    "Methylation",
    "Protein",
    "Recipe",
    "ResponseData",
    "SparseSVD",
    "Tokenizer",
    "Tokens",
    "dense_nan",
    "group_moments",
    "log_normalised",
    "priors_of",
    "response_data",
    "vstack",
]
