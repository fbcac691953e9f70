"""Estimators under one contract: fit, embed, impute, annotate, save."""

from __future__ import annotations

from omicsfm.hub import load
from omicsfm.models._protocols import Annotates, Embeds, Imputation, Imputes, Saves
from omicsfm.models.linear_mosaic import LinearMosaic

__all__ = ["Annotates", "Embeds", "Imputation", "Imputes", "LinearMosaic", "Saves", "load"]
