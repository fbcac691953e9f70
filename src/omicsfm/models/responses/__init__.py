"""Baselines of perturbation response: the simplest answers that could be right, under the contract of the models."""

from __future__ import annotations

from omicsfm.models.responses.additive import AdditiveResponse, MaxAbs, ShrunkenAdditive
from omicsfm.models.responses.additive_regression import AdditiveRegression
from omicsfm.models.responses.bilinear import BilinearLM
from omicsfm.models.responses.control import ControlResponse
from omicsfm.models.responses.derangement import WrongTarget
from omicsfm.models.responses.knn_prior import KNNPrior
from omicsfm.models.responses.matched_context import MatchedContext
from omicsfm.models.responses.mean import MeanResponse
from omicsfm.models.responses.nearest_context import NearestContext
from omicsfm.models.responses.random_forest import RandomForestGO
from omicsfm.models.responses.ridge_prior import RidgePrior
from omicsfm.models.responses.two_way import TwoWayEB

__all__ = [
    "AdditiveRegression",
    "AdditiveResponse",
    "BilinearLM",
    "ControlResponse",
    "KNNPrior",
    "MatchedContext",
    "MaxAbs",
    "MeanResponse",
    "NearestContext",
    "RandomForestGO",
    "RidgePrior",
    "ShrunkenAdditive",
    "TwoWayEB",
    "WrongTarget",
]
