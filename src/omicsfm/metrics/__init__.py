"""Metrics: arrays in, a float or one value per unit out. `METRICS` holds the facts about each."""

from omicsfm.metrics._accuracy import accuracy
from omicsfm.metrics._calibration import expected_calibration_error
from omicsfm.metrics._clusters import ari, kmeans_clusters, nmi
from omicsfm.metrics._connectivity import graph_connectivity
from omicsfm.metrics._foscttm import foscttm
from omicsfm.metrics._intervals import (
    coverage_error,
    interval_coverage,
    interval_coverage_by_group,
    interval_coverage_overall,
    interval_width,
)
from omicsfm.metrics._knn import knn_accuracy, knn_accuracy_cross_donor, knn_accuracy_within_donor
from omicsfm.metrics._label_transfer import LabelTransfer, label_transfer, label_transfer_accuracy
from omicsfm.metrics._lisi import clisi, ilisi, lisi
from omicsfm.metrics._macro_f1 import macro_f1
from omicsfm.metrics._metric import Metric
from omicsfm.metrics._neighbors import Neighbors, neighbors
from omicsfm.metrics._partner import partner_label_match
from omicsfm.metrics._pearson import pearson_per_cell, pearson_per_feature
from omicsfm.metrics._registry import METRICS
from omicsfm.metrics._rmse import rmse_per_feature
from omicsfm.metrics._silhouette import label_asw
from omicsfm.metrics._unknown import unknown_auroc

__all__ = [
    "METRICS",
    "LabelTransfer",
    "Metric",
    "Neighbors",
    "accuracy",
    "ari",
    "clisi",
    "coverage_error",
    "expected_calibration_error",
    "foscttm",
    "graph_connectivity",
    "ilisi",
    "interval_coverage",
    "interval_coverage_by_group",
    "interval_coverage_overall",
    "interval_width",
    "kmeans_clusters",
    "knn_accuracy",
    "knn_accuracy_cross_donor",
    "knn_accuracy_within_donor",
    "label_asw",
    "label_transfer",
    "label_transfer_accuracy",
    "lisi",
    "macro_f1",
    "neighbors",
    "nmi",
    "partner_label_match",
    "pearson_per_cell",
    "pearson_per_feature",
    "rmse_per_feature",
    "unknown_auroc",
]
