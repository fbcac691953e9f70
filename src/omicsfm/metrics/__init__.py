"""Metrics: arrays in, a float or one value per unit out. `METRICS` holds the facts about each."""

from omicsfm.metrics._accuracy import accuracy
from omicsfm.metrics._auroc import macro_auroc
from omicsfm.metrics._calibration import expected_calibration_error
from omicsfm.metrics._clusters import ari, kmeans_clusters, nmi
from omicsfm.metrics._connectivity import graph_connectivity
from omicsfm.metrics._e_distance import e_distance, e_test
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
from omicsfm.metrics._matthews import matthews
from omicsfm.metrics._metric import Metric
from omicsfm.metrics._mmd import mmd
from omicsfm.metrics._neighbors import Neighbors, neighbors
from omicsfm.metrics._partner import partner_label_match
from omicsfm.metrics._pearson import pearson_per_cell, pearson_per_feature
from omicsfm.metrics._rank_sum import RankSum, rank_sum
from omicsfm.metrics._registry import METRICS
from omicsfm.metrics._response_anchor import derangement, interpolated_duplicate, rescale, spearman_brown
from omicsfm.metrics._response_calibration import MetricCalibration, calibrate
from omicsfm.metrics._response_direction import (
    direction_fidelity,
    lfc_nmae,
    logfc_spearman_negative,
    logfc_spearman_positive,
)
from omicsfm.metrics._response_discrimination import centroid_accuracy, discrimination
from omicsfm.metrics._response_error import l2_delta, mae_delta, mse_delta, nmse
from omicsfm.metrics._response_noise import effect_energy, noise_corrected_mse
from omicsfm.metrics._response_overlap import auprc_lift, jaccard, overlap_at_n
from omicsfm.metrics._response_pearson import pearson_delta
from omicsfm.metrics._response_reliability import reliability_correlation
from omicsfm.metrics._response_weighted import response_weights, weighted_mse, weighted_r2
from omicsfm.metrics._rmse import rmse_per_feature
from omicsfm.metrics._silhouette import label_asw
from omicsfm.metrics._spearman_by_block import spearman_by_block
from omicsfm.metrics._unknown import unknown_auroc

__all__ = [
    "METRICS",
    "LabelTransfer",
    "Metric",
    "MetricCalibration",
    "Neighbors",
    "RankSum",
    "accuracy",
    "ari",
    "auprc_lift",
    "calibrate",
    "centroid_accuracy",
    "clisi",
    "coverage_error",
    "derangement",
    "direction_fidelity",
    "discrimination",
    "e_distance",
    "e_test",
    "effect_energy",
    "expected_calibration_error",
    "foscttm",
    "graph_connectivity",
    "ilisi",
    "interpolated_duplicate",
    "interval_coverage",
    "interval_coverage_by_group",
    "interval_coverage_overall",
    "interval_width",
    "jaccard",
    "kmeans_clusters",
    "knn_accuracy",
    "knn_accuracy_cross_donor",
    "knn_accuracy_within_donor",
    "l2_delta",
    "label_asw",
    "label_transfer",
    "label_transfer_accuracy",
    "lfc_nmae",
    "lisi",
    "logfc_spearman_negative",
    "logfc_spearman_positive",
    "macro_auroc",
    "macro_f1",
    "mae_delta",
    "matthews",
    "mmd",
    "mse_delta",
    "neighbors",
    "nmi",
    "nmse",
    "noise_corrected_mse",
    "overlap_at_n",
    "partner_label_match",
    "pearson_delta",
    "pearson_per_cell",
    "pearson_per_feature",
    "rank_sum",
    "reliability_correlation",
    "rescale",
    "response_weights",
    "rmse_per_feature",
    "spearman_brown",
    "spearman_by_block",
    "unknown_auroc",
    "weighted_mse",
    "weighted_r2",
]
