"""Verbs on a MuData, as in scanpy: what a model says is written where it belongs; what is learnt is given back."""

from __future__ import annotations

from omicsfm.tl._annotate import annotate
from omicsfm.tl._impute import impute
from omicsfm.tl._integrate import integrate
from omicsfm.tl._modality_value import modality_value

__all__ = ["annotate", "impute", "integrate", "modality_value"]
