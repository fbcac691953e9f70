"""What every metric in METRICS must keep to. A new metric needs an entry in EXAMPLES and nothing else here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import omicsfm.metrics as m
from omicsfm import InputError

N, D = 80, 6
Data = dict[str, Any]


def make(noise: float, *, seed: int = 0) -> Data:
    """One set of arrays with N rows each; little noise is a good method, much noise a bad one."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 4, N)
    truth = rng.normal(size=(N, D)) + 4 * np.eye(4, D)[label]
    predicted = truth + noise * rng.normal(size=(N, D))
    right = rng.random(N) >= noise / 4
    given = np.where(right, label, (label + 1) % 4)
    names = np.array(["B", "CD4 T", "CD8 T", "NK"], dtype=object)
    return {
        "x": truth + noise * rng.normal(size=(N, D)),
        "y": predicted,
        "labels": names[label],
        "donors": np.array(["d1", "d2", "d3"])[rng.integers(0, 3, N)],
        "batches": np.where(rng.random(N) < 0.5, "a", "b"),
        "clusters": given,
        "truth": truth,
        "predicted": predicted,
        "lower": truth - 1 + noise * rng.normal(size=(N, D)),
        "upper": truth + 30 + noise * rng.normal(size=(N, D)),
        "given": names[given],
        "probability": np.eye(4)[given] + 0.1 * rng.random((N, 4)),
        "correct": right.astype(float),
        "confidence": np.where(right, 0.99, 0.2 * noise),
        "unknown": label == 0,
        "score": (label == 0) + noise * rng.random(N),
    } | responses(rng, noise)


def responses(rng: np.random.Generator, noise: float) -> Data:
    """Effects of N perturbations on 100 genes, observed twice, and which are significant, as 0 and 1."""
    effect = rng.normal(size=(N, 100))
    pred, obs = effect + 5 * noise * rng.normal(size=effect.shape), effect + 0.1 * rng.normal(size=effect.shape)
    return {
        "pred": pred,
        "obs": obs,
        "called": (np.abs(pred) > 0.5).astype(int),
        "significant": (np.abs(effect) > 0.5).astype(int),
        "weights": np.abs(effect),
    }


def unmixed(d: Data) -> Data:
    """The same data with each batch far from the other."""
    return d | {"x": d["x"] + 50 * (d["batches"] == "a")[:, None]}


# name -> (arrays it takes, how it is called)
EXAMPLES: dict[str, tuple[tuple[str, ...], Callable[[Data], Any]]] = {
    "foscttm": (("x", "y"), lambda d: m.foscttm(d["x"], d["y"])),
    "partner_label_match": (("x", "y", "labels"), lambda d: m.partner_label_match(d["x"], d["y"], d["labels"])),
    "label_transfer_accuracy": (
        ("x", "labels", "y", "given"),
        lambda d: m.label_transfer_accuracy(d["x"], d["labels"], d["y"], truth=d["given"], k=5),
    ),
    "knn_accuracy": (("x", "labels"), lambda d: m.knn_accuracy(m.neighbors(d["x"], 5), d["labels"])),
    "knn_accuracy_within_donor": (
        ("x", "labels", "donors"),
        lambda d: m.knn_accuracy_within_donor(d["x"], d["labels"], d["donors"], k=5),
    ),
    "knn_accuracy_cross_donor": (
        ("x", "labels", "donors"),
        lambda d: m.knn_accuracy_cross_donor(d["x"], d["labels"], d["donors"], k=5),
    ),
    "nmi": (("labels", "clusters"), lambda d: m.nmi(d["labels"], d["clusters"])),
    "ari": (("labels", "clusters"), lambda d: m.ari(d["labels"], d["clusters"])),
    "label_asw": (("x", "labels"), lambda d: m.label_asw(d["x"], d["labels"])),
    "ilisi": (("x", "batches"), lambda d: m.ilisi(m.neighbors(d["x"], 15), d["batches"])),
    "clisi": (("x", "labels"), lambda d: m.clisi(m.neighbors(d["x"], 15), d["labels"])),
    "graph_connectivity": (("x", "labels"), lambda d: m.graph_connectivity(m.neighbors(d["x"], 5), d["labels"])),
    "pearson_per_feature": (("truth", "predicted"), lambda d: m.pearson_per_feature(d["truth"], d["predicted"])),
    "pearson_per_cell": (("truth", "predicted"), lambda d: m.pearson_per_cell(d["truth"], d["predicted"])),
    "rmse_per_feature": (("truth", "predicted"), lambda d: m.rmse_per_feature(d["truth"], d["predicted"])),
    "interval_coverage": (
        ("truth", "lower", "upper"),
        lambda d: m.interval_coverage(d["truth"], d["lower"], d["upper"]),
    ),
    "coverage_error": (
        ("truth", "lower", "upper"),
        lambda d: m.coverage_error(d["truth"], d["lower"], d["upper"], level=0.99),
    ),
    "interval_width": (("truth", "lower", "upper"), lambda d: m.interval_width(d["truth"], d["lower"], d["upper"])),
    "accuracy": (("labels", "given"), lambda d: m.accuracy(d["labels"], d["given"])),
    "macro_f1": (("labels", "given"), lambda d: m.macro_f1(d["labels"], d["given"])),
    "expected_calibration_error": (
        ("correct", "confidence"),
        lambda d: m.expected_calibration_error(d["correct"], d["confidence"]),
    ),
    "matthews": (("labels", "given"), lambda d: m.matthews(d["labels"], d["given"])),
    "macro_auroc": (
        ("labels", "probability"),
        lambda d: m.macro_auroc(d["labels"], d["probability"], ["B", "CD4 T", "CD8 T", "NK"]),
    ),
    **{
        name: (("pred", "obs"), lambda d, name=name: getattr(m, name)(d["pred"], d["obs"]))
        for name in ("pearson_delta", "mae_delta", "mse_delta", "l2_delta", "discrimination", "centroid_accuracy")
    },
    **{
        name: (
            ("pred", "obs", "weights"),
            lambda d, name=name: getattr(m, name)(d["pred"], d["obs"], weights=d["weights"]),
        )
        for name in ("weighted_mse", "weighted_r2")
    },
    **{
        name: (
            ("pred", "obs", "significant"),
            lambda d, name=name: getattr(m, name)(d["pred"], d["obs"], d["significant"]),
        )
        for name in ("direction_fidelity", "lfc_nmae", "logfc_spearman_positive", "logfc_spearman_negative")
    },
    "nmse": (("pred", "obs"), lambda d: m.nmse(d["pred"], d["obs"], baseline=np.zeros(100))),
    "noise_corrected_mse": (
        ("pred", "obs"),
        lambda d: m.noise_corrected_mse(d["pred"], d["obs"], obs_variance=0.01, control=0, control_variance=0),
    ),
    "overlap_at_n": (
        ("pred", "obs", "called", "significant"),
        lambda d: m.overlap_at_n(d["pred"], d["obs"], pred_significant=d["called"], obs_significant=d["significant"]),
    ),
    "jaccard": (("called", "significant"), lambda d: m.jaccard(d["called"], d["significant"])),
    "auprc_lift": (("pred", "significant"), lambda d: m.auprc_lift(abs(d["pred"]), d["significant"])),
    "reliability_correlation": (
        ("score", "unknown"),
        lambda d: m.reliability_correlation(d["score"], -np.asarray(d["unknown"], dtype=float)),
    ),
    "unknown_auroc": (("unknown", "score"), lambda d: m.unknown_auroc(d["unknown"], d["score"])),
}
ARGUMENTS = [(name, array) for name, (arrays, _) in EXAMPLES.items() for array in arrays]
# What a NaN in the truth of an imputation means is "not measured".
NAN_IS_ERROR = [(name, array) for name, array in ARGUMENTS if array != "truth"]
every_metric = pytest.mark.parametrize("name", list(m.METRICS))


def test_every_metric_has_an_example_and_is_public():
    assert set(EXAMPLES) == set(m.METRICS)
    for name, metric in m.METRICS.items():
        assert metric.function.__name__ == name
        assert name in m.__all__


@every_metric
def test_values_have_the_declared_shape_and_range(name):
    metric = m.METRICS[name]
    values = EXAMPLES[name][1](make(0.7))
    shape = {"cell": (N,), "feature": (D,), "label": (4,), "set": (), "perturbation": (N,)}[metric.per]
    assert np.shape(values) == shape
    assert isinstance(values, float if shape == () else np.ndarray)
    assert np.isfinite(values).all()
    assert np.min(values) >= metric.range[0]
    assert np.max(values) <= metric.range[1]
    assert metric.range[0] <= metric.score(values) <= metric.range[1]


@pytest.mark.parametrize("name", [n for n, metric in m.METRICS.items() if metric.higher_is_better is not None])
def test_better_data_score_better_in_the_declared_direction(name):
    metric, call = m.METRICS[name], EXAMPLES[name][1]
    good, bad = (make(0.7), unmixed(make(0.7))) if name == "ilisi" else (make(0.05), make(3.0))
    gain = metric.score(call(good)) - metric.score(call(bad))
    assert gain > 0.05 if metric.higher_is_better else gain < -0.05


@every_metric
def test_order_of_cells_does_not_matter(name):
    call, data = EXAMPLES[name][1], make(0.7)
    order = np.random.default_rng(1).permutation(N)
    values, permuted = call(data), call({key: value[order] for key, value in data.items()})
    np.testing.assert_allclose(
        permuted, values[order] if m.METRICS[name].per in ("cell", "perturbation") else values, atol=1e-9
    )


@pytest.mark.parametrize(("name", "array"), NAN_IS_ERROR)
def test_missing_values_are_one_clear_error(name, array):
    data = make(0.7)
    if data[array].dtype.kind in "bi":
        data[array] = data[array].astype(float)
    elif data[array].dtype.kind == "U":
        data[array] = data[array].astype(object)
    data[array].flat[3] = np.nan
    with pytest.raises(InputError, match=r"^\w+: .*Fix: "):
        EXAMPLES[name][1](data)


@pytest.mark.parametrize(("name", "array"), ARGUMENTS)
def test_wrong_length_is_one_clear_error_with_both_shapes(name, array):
    data = make(0.7)
    data[array] = data[array][:-1]
    with pytest.raises(InputError, match="Fix: ") as error:
        EXAMPLES[name][1](data)
    assert f"({N}" in str(error.value)
    assert f"({N - 1}" in str(error.value)


@every_metric
def test_tensors_and_pandas_give_the_same_as_arrays(name):
    import torch

    arrays, call = EXAMPLES[name]
    data = make(0.7)
    other = dict(data)
    for key in arrays:
        if data[key].dtype.kind in "fi":
            other[key] = torch.tensor(data[key], requires_grad=data[key].dtype.kind == "f")
        else:
            other[key] = pd.Series(data[key], dtype="category")
    np.testing.assert_array_equal(call(other), call(data))


def test_score_is_the_mean_or_median_without_nan():
    values = np.array([0.0, 0.1, 0.8, np.nan])
    assert m.METRICS["foscttm"].score(values) == pytest.approx(0.3)
    assert m.METRICS["ilisi"].score(values) == pytest.approx(0.1)
    assert m.METRICS["ari"].score(0.25) == 0.25
    assert np.isnan(m.METRICS["ari"].score(np.nan))


@pytest.mark.parametrize("name", ["nmi", "ari", "label_asw", "clisi"])
def test_single_label_is_nan(name):
    assert np.isnan(EXAMPLES[name][1](make(0.7) | {"labels": np.full(N, "T")})).all()


@pytest.mark.parametrize("name", ["partner_label_match", "knn_accuracy", "knn_accuracy_within_donor"])
def test_single_label_is_trivially_right(name):
    assert (EXAMPLES[name][1](make(0.7) | {"labels": np.full(N, "T")}) == 1).all()


def test_single_batch_or_donor_is_nan():
    data = make(0.7) | {"batches": np.full(N, "a"), "donors": np.full(N, "d")}
    assert np.isnan(EXAMPLES["ilisi"][1](data)).all()
    assert np.isnan(EXAMPLES["knn_accuracy_cross_donor"][1](data)).all()
    assert np.isnan(m.unknown_auroc(np.zeros(N), data["score"]))
