"""Raw counts to low-rank tokens, one modality at a time: sparse, batch-aware, projectable."""

from __future__ import annotations

from omicsfm.pp._assign_guides import GuideReport, assign_guides
from omicsfm.pp._features import BatchMoments
from omicsfm.pp._gene_sets import gene_set_prior, go_prior, regulon_prior, text_prior
from omicsfm.pp._masked import MaskedSVD
from omicsfm.pp._prior_tables import effect_prior, permuted_prior, reduce_prior
from omicsfm.pp._priors import add_priors, expression_prior, target_priors
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
    "GuideReport",
    "MaskedSVD",
    "Methylation",
    "Protein",
    "Recipe",
    "ResponseData",
    "SparseSVD",
    "Tokenizer",
    "Tokens",
    "add_priors",
    "assign_guides",
    "dense_nan",
    "effect_prior",
    "expression_prior",
    "gene_set_prior",
    "go_prior",
    "group_moments",
    "log_normalised",
    "permuted_prior",
    "priors_of",
    "reduce_prior",
    "regulon_prior",
    "response_data",
    "target_priors",
    "text_prior",
    "vstack",
]
