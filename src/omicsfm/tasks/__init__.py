"""Questions asked of a data set, one file each: how it is split, what is hidden, how answers are scored."""

from __future__ import annotations

from omicsfm.tasks._task import Finding, Scores, Split, Task
from omicsfm.tasks.annotation import Annotation
from omicsfm.tasks.contacts import ContactPairs, ContactPrediction
from omicsfm.tasks.imputation import Imputation
from omicsfm.tasks.integration import CellState, MosaicIntegration
from omicsfm.tasks.perturbation import PerturbationResponse
from omicsfm.tasks.sequence import SequenceClassification, matthews_interval, permuted

__all__ = [
    "Annotation",
    "CellState",
    "ContactPairs",
    "ContactPrediction",
    "Finding",
    "Imputation",
    "MosaicIntegration",
    "PerturbationResponse",
    "Scores",
    "SequenceClassification",
    "Split",
    "Task",
    "matthews_interval",
    "permuted",
]
