"""What an omicsfm MuData is: set it up, check it, and ask it who was measured where.

A MuData with axis 0 whose cells are the union over modalities. A cell may be measured in any non-empty subset of them;
missing is absent, never zero, and a measured cell with nothing but zeros stays measured.
"""

from __future__ import annotations

from omicsfm.contract._check import check
from omicsfm.contract._concat import concat
from omicsfm.contract._fingerprint import fingerprint
from omicsfm.contract._perturbation import CONTROL, EVERYWHERE, canonical, guide_modality, members, perturbations
from omicsfm.contract._recipes import RECIPES, recipe_for_name
from omicsfm.contract._rows import batches, labels, measured, modality_mask, rows, subset
from omicsfm.contract._select import hide, select
from omicsfm.contract._setup import setup
from omicsfm.contract._state import control_of, history, keys, organism_of, recipe_of, record
from omicsfm.contract._types import SCHEMA_VERSION, CheckReport, Keys, Violation

__all__ = [
    "CONTROL",
    "EVERYWHERE",
    "RECIPES",
    "SCHEMA_VERSION",
    "CheckReport",
    "Keys",
    "Violation",
    "batches",
    "canonical",
    "check",
    "concat",
    "control_of",
    "fingerprint",
    "guide_modality",
    "hide",
    "history",
    "keys",
    "labels",
    "measured",
    "members",
    "modality_mask",
    "organism_of",
    "perturbations",
    "recipe_for_name",
    "recipe_of",
    "record",
    "rows",
    "select",
    "setup",
    "subset",
]
