"""Parity with cell-eval2 0.20.0 and scPertEval 0.2.0, which were run once on `screen()`; their numbers stand here."""

from __future__ import annotations

import numpy as np

from omicsfm.metrics._response_direction import lfc_nmae
from omicsfm.metrics._response_discrimination import discrimination
from omicsfm.metrics._response_noise import noise_corrected_mse
from omicsfm.metrics._response_overlap import jaccard, overlap_at_n
from omicsfm.metrics._response_pearson import pearson_delta
from omicsfm.metrics._response_weighted import response_weights, weighted_mse, weighted_r2


def screen(seed: int = 7, n: int = 6, g: int = 40):
    rng = np.random.default_rng(seed)
    control = rng.gamma(2.0, 0.5, g)
    truth = 0.4 * rng.normal(size=(n, g)) * (rng.random((n, g)) < 0.5)
    obs = control + truth + 0.1 * rng.normal(size=(n, g))
    pred = control + 0.6 * truth + 0.2 * rng.normal(size=(n, g))
    obs_variance = 0.01 * rng.gamma(4.0, 0.25, (n, g))
    pred_variance = 0.04 * rng.gamma(4.0, 0.25, (n, g))
    control_variance = 0.002 * rng.gamma(4.0, 0.25, g)
    return control, obs, pred, obs_variance, pred_variance, control_variance


CONTROL, OBS, PRED, OBS_VARIANCE, PRED_VARIANCE, CONTROL_VARIANCE = screen()
SIGNIFICANT, CALLED = np.abs(OBS - CONTROL) > 0.25, np.abs(PRED - CONTROL) > 0.3
SIGNIFICANT[5] = False
CALLED[4] = False
NOISE = {"obs_variance": OBS_VARIANCE, "control": CONTROL, "control_variance": CONTROL_VARIANCE}


def test_pearson_delta_is_that_of_cell_eval2():
    peer = [0.66789375036, 0.67572532602, 0.63089536545, 0.62754357710, 0.70932210138, 0.66805602191]
    np.testing.assert_allclose(pearson_delta(PRED, OBS, reference=CONTROL), peer, atol=1e-11)


def test_pearson_against_the_mean_is_that_of_scperteval():
    peer = [0.57752574576, 0.62870637649, 0.61149429449, 0.52178753106, 0.58631257292, 0.64050581270]
    np.testing.assert_allclose(pearson_delta(PRED, OBS, reference=OBS.mean(axis=0)), peer, atol=1e-11)


def test_discrimination_is_that_of_cell_eval2_with_ties_and_targets_left_out():
    obs, pred = OBS.copy(), PRED.copy()
    obs[3], pred[4] = obs[1], CONTROL
    given = {"reference": CONTROL, "exclude": np.arange(40) < 6}
    np.testing.assert_allclose(discrimination(pred, obs, **given), [1, 0.9, 1, 0.9, 0.5, 1])
    for distance in ("manhattan", "euclidean"):
        np.testing.assert_allclose(discrimination(pred, obs, distance=distance, **given), [1, 0.9, 1, 0.9, 0, 1])


def test_noise_corrected_mse_is_that_of_cell_eval2():
    rows = [0.38032249916, 0.31315297978, 0.35787917654, 0.42217594846, 0.62135430220, 0.49900595668]
    got = noise_corrected_mse(PRED, OBS, pred_variance=PRED_VARIANCE, **NOISE)
    np.testing.assert_allclose(got, rows, atol=1e-11)
    assert np.isclose(got.mean(), 0.4323151438021662, atol=1e-12)
    assert np.isclose(noise_corrected_mse(PRED, OBS, **NOISE).mean(), 0.5594677415079119, atol=1e-12)
    # Predictions that hardly differ may claim little noise: the factor rho is 0.053 here.
    flat = PRED.mean(axis=0) + 0.1 * (PRED - PRED.mean(axis=0))
    got = noise_corrected_mse(flat, OBS, pred_variance=PRED_VARIANCE, **NOISE)
    assert np.isclose(got.mean(), 0.7848205001707247, atol=1e-12)


def test_overlap_jaccard_and_size_of_effects_are_those_of_cell_eval2():
    got = overlap_at_n(PRED, OBS, pred_significant=CALLED, obs_significant=SIGNIFICANT, reference=CONTROL)
    np.testing.assert_allclose(got, [6 / 13, 2 / 5, 6 / 11, 6 / 11, 0, 0])
    np.testing.assert_allclose(jaccard(CALLED, SIGNIFICANT), [3 / 8, 1 / 3, 3 / 8, 3 / 7, 0, 0])
    peer = [0.46337676029, 0.39411567302, 0.43534833900, 0.57679053155, 0.46983427008, np.nan]
    np.testing.assert_allclose(lfc_nmae(PRED, OBS, SIGNIFICANT, reference=CONTROL), peer, atol=1e-11)


def test_weighted_errors_are_those_of_scperteval():
    weights = response_weights((OBS - OBS.mean(axis=0)) / np.sqrt(OBS_VARIANCE))
    mse = [0.05849760936, 0.06953358149, 0.05206712510, 0.07963326346, 0.12647353589, 0.09233157343]
    r2 = [0.66014973588, 0.66426441528, 0.58470497532, 0.73071828119, 0.64540171788, 0.44169617988]
    np.testing.assert_allclose(weighted_mse(PRED, OBS, weights=weights), mse, atol=1e-11)
    np.testing.assert_allclose(weighted_r2(PRED, OBS, weights=weights, reference=OBS.mean(axis=0)), r2, atol=1e-11)
