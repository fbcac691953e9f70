"""Figures for the report and for notebooks: data in, one matplotlib Figure out; nothing global is changed."""

from __future__ import annotations

from omicsfm.pl._attribution import attribution
from omicsfm.pl._cost import quality_cost
from omicsfm.pl._embedding import embedding
from omicsfm.pl._faithfulness import faithfulness
from omicsfm.pl._forest import forest
from omicsfm.pl._imputation import coverage, imputation
from omicsfm.pl._mask import modality_mask
from omicsfm.pl._modality_value import modality_value
from omicsfm.pl._response import response_ranking, response_reliability
from omicsfm.pl._response_heatmap import response_heatmap
from omicsfm.pl._screen import reproducibility
from omicsfm.pl._style import svg

__all__ = [
    "attribution",
    "coverage",
    "embedding",
    "faithfulness",
    "forest",
    "imputation",
    "modality_mask",
    "modality_value",
    "quality_cost",
    "reproducibility",
    "response_heatmap",
    "response_ranking",
    "response_reliability",
    "svg",
]
