"""Baselines: the simplest thing that could have worked, under the same contract as the models."""

from __future__ import annotations

from omicsfm.models.baselines.cca import CCA
from omicsfm.models.baselines.chance import Chance
from omicsfm.models.baselines.concat_pca import ConcatPCA
from omicsfm.models.baselines.kernel_ridge import KernelRidgeImputer
from omicsfm.models.baselines.knn import KNNImputer
from omicsfm.models.baselines.knn_labels import KNNLabels
from omicsfm.models.baselines.logistic import LogisticLabels
from omicsfm.models.baselines.majority import MajorityClass
from omicsfm.models.baselines.mean import MeanImputer
from omicsfm.models.baselines.mean_knn_ridge import MeanKNNRidge
from omicsfm.models.baselines.modality_pca import ModalityPCA
from omicsfm.models.baselines.ridge import RidgeImputer
from omicsfm.models.baselines.wnn import WNN

__all__ = [
    "CCA",
    "WNN",
    "Chance",
    "ConcatPCA",
    "KNNImputer",
    "KNNLabels",
    "KernelRidgeImputer",
    "LogisticLabels",
    "MajorityClass",
    "MeanImputer",
    "MeanKNNRidge",
    "ModalityPCA",
    "RidgeImputer",
]
