"""What every metric of responses keeps to: one value per perturbation; missing values, shapes and names are checked."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from omicsfm import InputError
from omicsfm.metrics._response_direction import (
    direction_fidelity,
    lfc_nmae,
    logfc_spearman_negative,
    logfc_spearman_positive,
)
from omicsfm.metrics._response_discrimination import centroid_accuracy, discrimination
from omicsfm.metrics._response_error import l2_delta, mae_delta, mse_delta, nmse
from omicsfm.metrics._response_noise import noise_corrected_mse
from omicsfm.metrics._response_overlap import overlap_at_n
from omicsfm.metrics._response_pearson import pearson_delta
from omicsfm.metrics._response_weighted import weighted_mse, weighted_r2

N, G = 7, 50
RNG = np.random.default_rng(0)
OBS, PRED = RNG.normal(size=(N, G)), RNG.normal(size=(N, G))
REF, MASK = RNG.normal(size=G), RNG.random((N, G)) < 0.6
rows = range(N)

CALLS = {
    "pearson_delta": lambda p, o: pearson_delta(p, o),
    "mae_delta": lambda p, o: mae_delta(p, o),
    "mse_delta": lambda p, o: mse_delta(p, o),
    "l2_delta": lambda p, o: l2_delta(p, o),
    "nmse": lambda p, o: nmse(p, o, baseline=REF),
    "noise_corrected_mse": lambda p, o: noise_corrected_mse(
        p, o, obs_variance=0.01, control=REF, control_variance=0.01
    ),
    "weighted_mse": lambda p, o: weighted_mse(p, o, weights=np.ones((N, G))),
    "weighted_r2": lambda p, o: weighted_r2(p, o, weights=np.ones((N, G))),
    "discrimination": lambda p, o: discrimination(p, o),
    "centroid_accuracy": lambda p, o: centroid_accuracy(p, o),
    "direction_fidelity": lambda p, o: direction_fidelity(p, o, MASK),
    "lfc_nmae": lambda p, o: lfc_nmae(p, o, MASK),
    "logfc_spearman_positive": lambda p, o: logfc_spearman_positive(p, o, MASK),
    "logfc_spearman_negative": lambda p, o: logfc_spearman_negative(p, o, MASK),
    "overlap_at_n": lambda p, o: overlap_at_n(p, o, pred_significant=MASK, obs_significant=MASK),
}
every_metric = pytest.mark.parametrize("name", CALLS)


@every_metric
def test_one_value_per_perturbation_from_arrays_and_frames(name):
    index, columns = [f"p{i}" for i in rows], [f"g{j}" for j in range(G)]
    frames = (pd.DataFrame(x, index=index, columns=columns) for x in (PRED, OBS))
    got = CALLS[name](PRED, OBS)
    assert got.shape == (N,)
    # Not to the bit: pandas 3 keeps a table column by column, and sums are then taken in another order.
    np.testing.assert_allclose(CALLS[name](*frames), got, rtol=1e-12, atol=1e-15)


@every_metric
def test_missing_values_other_shapes_and_other_orders_are_errors(name):
    hole = PRED.copy()
    hole[2, 3] = np.nan
    with pytest.raises(InputError, match=rf"^{name}: `pred` must hold no NaN"):
        CALLS[name](hole, OBS)
    with pytest.raises(InputError, match=rf"^{name}: `obs` must hold no NaN"):
        CALLS[name](OBS, hole)
    with pytest.raises(InputError, match=rf"^{name}: shapes must agree"):
        CALLS[name](PRED[:-1], OBS)
    pred, obs = pd.DataFrame(PRED), pd.DataFrame(OBS)
    with pytest.raises(InputError, match="same names in another order"):
        CALLS[name](pred[::-1], obs)
    with pytest.raises(InputError, match="genes of `pred` are not those"):
        CALLS[name](pred.iloc[:, ::-1], obs)


def test_references_masks_and_distances_are_checked():
    with pytest.raises(InputError, match=rf"`reference` must have shape \({G},\) or \({N}, {G}\), found \({N},\)"):
        pearson_delta(PRED, OBS, reference=np.zeros(N))
    with pytest.raises(InputError, match="`pred_reference` must hold no NaN"):
        pearson_delta(PRED, OBS, pred_reference=np.full(G, np.nan))
    with pytest.raises(InputError, match="genes of `reference` are not those"):
        frame = pd.DataFrame(OBS, columns=[f"g{j}" for j in range(G)])
        pearson_delta(frame, frame, reference=frame.mean()[::-1])
    with pytest.raises(InputError, match="genes of `baseline` are not those"):
        nmse(frame, frame, baseline=frame.mean()[::-1])
    with pytest.raises(InputError, match="genes of `control` are not those"):
        noise_corrected_mse(frame, frame, obs_variance=0, control=frame.mean()[::-1], control_variance=0)
    with pytest.raises(InputError, match="must be true or false"):
        direction_fidelity(PRED, OBS, np.full((N, G), 0.03))
    with pytest.raises(InputError, match=rf"`exclude` must have shape \({G},\), found \({G - 1},\)"):
        discrimination(PRED, OBS, exclude=np.zeros(G - 1, dtype=bool))
    with pytest.raises(InputError, match="leaves no gene"):
        discrimination(PRED, OBS, exclude=np.ones(G, dtype=bool))
    with pytest.raises(InputError, match="found 'pearson'"):
        discrimination(PRED, OBS, distance="pearson")
    with pytest.raises(InputError, match="`obs_variance` must not be negative"):
        noise_corrected_mse(PRED, OBS, obs_variance=-1, control=0, control_variance=0)


def test_frames_may_carry_unrelated_names():
    frames = pd.DataFrame(PRED, index=list("abcdefg")), pd.DataFrame(OBS)
    np.testing.assert_allclose(pearson_delta(*frames), pearson_delta(PRED, OBS), rtol=1e-12, atol=1e-15)
