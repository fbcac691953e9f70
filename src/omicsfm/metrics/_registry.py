"""Every metric the bench may report, with its facts. The one owner of each fact."""

from __future__ import annotations

import math

from omicsfm.metrics._accuracy import accuracy
from omicsfm.metrics._auroc import macro_auroc
from omicsfm.metrics._calibration import expected_calibration_error
from omicsfm.metrics._clusters import ari, nmi
from omicsfm.metrics._connectivity import graph_connectivity
from omicsfm.metrics._foscttm import foscttm
from omicsfm.metrics._intervals import coverage_error, interval_coverage, interval_width
from omicsfm.metrics._knn import knn_accuracy, knn_accuracy_cross_donor, knn_accuracy_within_donor
from omicsfm.metrics._label_transfer import label_transfer_accuracy
from omicsfm.metrics._lisi import clisi, ilisi
from omicsfm.metrics._macro_f1 import macro_f1
from omicsfm.metrics._matthews import matthews
from omicsfm.metrics._metric import Metric
from omicsfm.metrics._partner import partner_label_match
from omicsfm.metrics._pearson import pearson_per_cell, pearson_per_feature
from omicsfm.metrics._response_direction import (
    direction_fidelity,
    lfc_nmae,
    logfc_spearman_negative,
    logfc_spearman_positive,
)
from omicsfm.metrics._response_discrimination import centroid_accuracy, discrimination
from omicsfm.metrics._response_error import l2_delta, mae_delta, mse_delta, nmse
from omicsfm.metrics._response_noise import noise_corrected_mse
from omicsfm.metrics._response_overlap import auprc_lift, jaccard, overlap_at_n
from omicsfm.metrics._response_pearson import pearson_delta
from omicsfm.metrics._response_reliability import reliability_correlation
from omicsfm.metrics._response_weighted import weighted_mse, weighted_r2
from omicsfm.metrics._rmse import rmse_per_feature
from omicsfm.metrics._silhouette import label_asw
from omicsfm.metrics._unknown import unknown_auroc

_SCIB = "Luecken et al. 2022, doi:10.1038/s41592-021-01336-8"
_LISI = "Korsunsky et al. 2019, doi:10.1038/s41592-019-0619-0; scaled as in " + _SCIB
_KNN = "Cover and Hart 1967, doi:10.1109/TIT.1967.1053964"
_PEARSON = "Pearson 1895, doi:10.1098/rspl.1895.0041"
_CONFORMAL = "Lei et al. 2018, doi:10.1080/01621459.2017.1307116"
_SYSTEMA = "Vinas Torne et al. 2025, doi:10.1038/s41587-025-02777-8"
_MEJIA = "Mejia et al. 2025, arXiv:2506.22641"
_CELL_EVAL2 = "cell-eval2 0.20, the Python package"
_AHLMANN = "Ahlmann-Eltze et al. 2025, doi:10.1038/s41592-025-02772-6"

METRICS: dict[str, Metric] = {
    # integration: do the modalities agree?
    "foscttm": Metric(foscttm, False, (0, 1), "fraction", "cell", "Liu et al. 2019, doi:10.4230/LIPIcs.WABI.2019.10"),
    "partner_label_match": Metric(partner_label_match, True, (0, 1), "fraction", "cell", _KNN),
    "label_transfer_accuracy": Metric(label_transfer_accuracy, True, (0, 1), "fraction", "cell", _KNN),
    # integration: is the biology kept, are batches mixed?
    "knn_accuracy": Metric(knn_accuracy, True, (0, 1), "fraction", "cell", _KNN),
    "knn_accuracy_within_donor": Metric(knn_accuracy_within_donor, True, (0, 1), "fraction", "cell", _KNN),
    "knn_accuracy_cross_donor": Metric(knn_accuracy_cross_donor, True, (0, 1), "fraction", "cell", _KNN),
    "nmi": Metric(nmi, True, (0, 1), "index", "set", "Strehl and Ghosh 2002, JMLR 3:583"),
    "ari": Metric(ari, True, (-0.5, 1), "index", "set", "Hubert and Arabie 1985, doi:10.1007/BF01908075"),
    "label_asw": Metric(label_asw, True, (0, 1), "index", "cell", _SCIB),
    "ilisi": Metric(ilisi, True, (0, 1), "index", "cell", _LISI, reduce="median"),
    "clisi": Metric(clisi, True, (0, 1), "index", "cell", _LISI, reduce="median"),
    "graph_connectivity": Metric(graph_connectivity, True, (0, 1), "fraction", "label", _SCIB),
    # imputation
    "pearson_per_feature": Metric(pearson_per_feature, True, (-1, 1), "correlation", "feature", _PEARSON),
    "pearson_per_cell": Metric(pearson_per_cell, True, (-1, 1), "correlation", "cell", _PEARSON),
    "rmse_per_feature": Metric(
        rmse_per_feature, False, (0, math.inf), "data", "feature", "Square root of the mean squared error"
    ),
    "interval_coverage": Metric(interval_coverage, None, (0, 1), "fraction", "feature", _CONFORMAL),
    "coverage_error": Metric(coverage_error, False, (0, 1), "fraction", "feature", _CONFORMAL),
    "interval_width": Metric(interval_width, None, (0, math.inf), "data", "feature", _CONFORMAL),
    # annotation
    "accuracy": Metric(accuracy, True, (0, 1), "fraction", "cell", "Share of labels that are right"),
    "macro_f1": Metric(macro_f1, True, (0, 1), "index", "set", "Van Rijsbergen 1979, Information Retrieval, ch. 7"),
    "expected_calibration_error": Metric(
        expected_calibration_error, False, (0, 1), "fraction", "set", "Guo et al. 2017, arXiv:1706.04599"
    ),
    "unknown_auroc": Metric(
        unknown_auroc, True, (0, 1), "fraction", "set", "Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747"
    ),
    # sequences
    "matthews": Metric(
        matthews, True, (-1, 1), "correlation", "set", "Gorodkin 2004, doi:10.1016/j.compbiolchem.2004.09.006"
    ),
    "macro_auroc": Metric(
        macro_auroc, True, (0, 1), "fraction", "set", "Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747"
    ),
    # perturbation response
    "pearson_delta": Metric(pearson_delta, True, (-1, 1), "correlation", "perturbation", _SYSTEMA),
    "mae_delta": Metric(mae_delta, False, (0, math.inf), "data", "perturbation", "Mean absolute error"),
    "mse_delta": Metric(mse_delta, False, (0, math.inf), "data", "perturbation", "Mean squared error"),
    "l2_delta": Metric(l2_delta, False, (0, math.inf), "data", "perturbation", _AHLMANN),
    "nmse": Metric(nmse, False, (0, math.inf), "ratio", "perturbation", "Squared error over that of a baseline"),
    "noise_corrected_mse": Metric(
        noise_corrected_mse, False, (-math.inf, math.inf), "ratio", "perturbation", _CELL_EVAL2
    ),
    "weighted_mse": Metric(weighted_mse, False, (0, math.inf), "data", "perturbation", _MEJIA),
    "weighted_r2": Metric(weighted_r2, True, (-math.inf, 1), "ratio", "perturbation", _MEJIA),
    "discrimination": Metric(
        discrimination, True, (0, 1), "fraction", "perturbation", "Wu et al. 2024, arXiv:2408.10609"
    ),
    "centroid_accuracy": Metric(centroid_accuracy, True, (0, 1), "fraction", "perturbation", _SYSTEMA),
    "direction_fidelity": Metric(
        direction_fidelity, True, (0, 1), "fraction", "perturbation", "Share of significant genes with the right sign"
    ),
    "lfc_nmae": Metric(lfc_nmae, False, (0, math.inf), "ratio", "perturbation", _CELL_EVAL2),
    "logfc_spearman_positive": Metric(
        logfc_spearman_positive, True, (-1, 1), "correlation", "perturbation", _CELL_EVAL2
    ),
    "logfc_spearman_negative": Metric(
        logfc_spearman_negative, True, (-1, 1), "correlation", "perturbation", _CELL_EVAL2
    ),
    "overlap_at_n": Metric(overlap_at_n, True, (0, 1), "fraction", "perturbation", _CELL_EVAL2),
    "jaccard": Metric(
        jaccard, True, (0, 1), "index", "perturbation", "Jaccard 1912, doi:10.1111/j.1469-8137.1912.tb05611.x"
    ),
    "auprc_lift": Metric(
        auprc_lift,
        True,
        (0, math.inf),
        "ratio",
        "perturbation",
        "Average precision over prevalence; Boyd et al. 2012, arXiv:1206.4667",
    ),
    "reliability_correlation": Metric(
        reliability_correlation, True, (-1, 1), "correlation", "set", "Spearman 1904, doi:10.2307/1412159"
    ),
}
