"""Verbs on a MuData, as in scanpy: what a model says is written where it belongs; what is learnt is given back."""

from __future__ import annotations

from omicsfm.tl._annotate import annotate
from omicsfm.tl._differential_expression import differential_expression
from omicsfm.tl._impute import impute
from omicsfm.tl._integrate import integrate
from omicsfm.tl._modality_value import modality_value
from omicsfm.tl._observed import observed
from omicsfm.tl._peak_to_gene import peak_to_gene
from omicsfm.tl._perturbation_effects import effect_size, perturbation_effects
from omicsfm.tl._rank_perturbations import rank_perturbations
from omicsfm.tl._respond import respond
from omicsfm.tl._responders import responders
from omicsfm.tl._screen_report import ScreenReport, screen_report

__all__ = [
    "ScreenReport",
    "annotate",
    "differential_expression",
    "effect_size",
    "impute",
    "integrate",
    "modality_value",
    "observed",
    "peak_to_gene",
    "perturbation_effects",
    "rank_perturbations",
    "respond",
    "responders",
    "screen_report",
]
