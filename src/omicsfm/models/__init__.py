"""Estimators under one contract: fit, embed, impute, annotate, save; baselines beside the models."""

from __future__ import annotations

from omicsfm.hub import load
from omicsfm.models import external
from omicsfm.models._protocols import Annotates, Embeds, Imputation, Imputes, Saves
from omicsfm.models._registry import MODELS, create, register
from omicsfm.models._responder import Responds, Response
from omicsfm.models.baselines import (
    CCA,
    WNN,
    Chance,
    ConcatPCA,
    KernelRidgeImputer,
    KNNImputer,
    KNNLabels,
    LogisticLabels,
    MajorityClass,
    MeanImputer,
    MeanKNNRidge,
    ModalityPCA,
    RidgeImputer,
)
from omicsfm.models.contact_ridge import ContactRidge
from omicsfm.models.linear_mosaic import LinearMosaic
from omicsfm.models.loading_map import LoadingMap
from omicsfm.models.mosaic import Mosaic
from omicsfm.models.response import ResponseModel
from omicsfm.models.responses import (
    AdditiveRegression,
    AdditiveResponse,
    BilinearLM,
    ControlResponse,
    KNNPrior,
    MatchedContext,
    MaxAbs,
    MeanResponse,
    NearestContext,
    RandomForestGO,
    RidgePrior,
    ShrunkenAdditive,
    TwoWayEB,
    WrongTarget,
)
from omicsfm.models.sequence import SequenceModel
from omicsfm.models.stack import Stack, auto_model

__all__ = [
    "CCA",
    "MODELS",
    "WNN",
    "AdditiveRegression",
    "AdditiveResponse",
    "Annotates",
    "BilinearLM",
    "Chance",
    "ConcatPCA",
    "ContactRidge",
    "ControlResponse",
    "Embeds",
    "Imputation",
    "Imputes",
    "KNNImputer",
    "KNNLabels",
    "KNNPrior",
    "KernelRidgeImputer",
    "LinearMosaic",
    "LoadingMap",
    "LogisticLabels",
    "MajorityClass",
    "MatchedContext",
    "MaxAbs",
    "MeanImputer",
    "MeanKNNRidge",
    "MeanResponse",
    "ModalityPCA",
    "Mosaic",
    "NearestContext",
    "RandomForestGO",
    "Responds",
    "Response",
    "ResponseModel",
    "RidgeImputer",
    "RidgePrior",
    "Saves",
    "SequenceModel",
    "ShrunkenAdditive",
    "Stack",
    "TwoWayEB",
    "WrongTarget",
    "auto_model",
    "create",
    "external",
    "load",
    "register",
]
