"""The learned correction of the closed-form model: what it sees, the network, its training, and what it earned.

torch and Lightning are imported only when a correction is trained or applied.
"""

from __future__ import annotations

from omicsfm.models._correction._correction import Correction
from omicsfm.models._correction._count_source import LIKELIHOODS, CountSource
from omicsfm.models._correction._earned import Earned, gates, table, weight_of
from omicsfm.models._correction._fit import Fitted, Problem, fit_correction
from omicsfm.models._correction._mixing import Mixing, View, fit_mixing
from omicsfm.models._correction._notes import Notes
from omicsfm.models._correction._options import Options

__all__ = [
    "LIKELIHOODS",
    "Correction",
    "CountSource",
    "Earned",
    "Fitted",
    "Mixing",
    "Notes",
    "Options",
    "Problem",
    "View",
    "fit_correction",
    "fit_mixing",
    "gates",
    "table",
    "weight_of",
]
