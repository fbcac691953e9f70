"""Metrics of responses against loops, SciPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import pearsonr, rankdata, spearmanr
from sklearn.metrics import average_precision_score, r2_score

from omicsfm import InputError
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
from omicsfm.metrics._response_weighted import response_weights, weighted_mse, weighted_r2

N, G = 7, 50
RNG = np.random.default_rng(0)
OBS = RNG.normal(size=(N, G))
PRED = 0.5 * OBS + RNG.normal(size=(N, G)) + 0.2
REF, OTHER = RNG.normal(size=G), RNG.normal(size=(N, G))
MASK = RNG.random((N, G)) < 0.6
rows = range(N)


def test_pearson_is_that_of_scipy_with_one_two_or_no_references():
    np.testing.assert_allclose(pearson_delta(PRED, OBS), [pearsonr(PRED[i], OBS[i])[0] for i in rows])
    one = [pearsonr(PRED[i] - REF, OBS[i] - REF)[0] for i in rows]
    np.testing.assert_allclose(pearson_delta(PRED, OBS, reference=REF), one)
    two = [pearsonr(PRED[i] - OTHER[i], OBS[i] - REF)[0] for i in rows]
    np.testing.assert_allclose(pearson_delta(PRED, OBS, reference=REF, pred_reference=OTHER), two)


def test_a_constant_prediction_is_zero_and_a_constant_observation_is_undefined():
    pred, obs = PRED.copy(), OBS.copy()
    pred[0], obs[1], pred[2], obs[2] = 0.1, 0.3, 7.0, 7.0
    got = pearson_delta(pred, obs)
    assert got[0] == 0
    assert np.isnan(got[1:3]).all()
    assert np.isfinite(got[3:]).all()
    # Constant but for the rounding error of the large numbers that were subtracted.
    large = (1000 + REF / 1000).astype(np.float32)
    assert (pearson_delta(np.tile(REF / 1000, (N, 1)), OBS, reference=large) == 0).all()


def test_errors_are_their_formulas():
    np.testing.assert_allclose(mae_delta(PRED, OBS), [np.mean(np.abs(PRED[i] - OBS[i])) for i in rows])
    np.testing.assert_allclose(mse_delta(PRED, OBS), [np.mean((PRED[i] - OBS[i]) ** 2) for i in rows])
    np.testing.assert_allclose(l2_delta(PRED, OBS), [np.sqrt(np.sum((PRED[i] - OBS[i]) ** 2)) for i in rows])
    two = [np.mean(np.abs(PRED[i] - OTHER[i] - OBS[i] + REF)) for i in rows]
    np.testing.assert_allclose(mae_delta(PRED, OBS, reference=REF, pred_reference=OTHER), two)
    for error in (mae_delta, mse_delta, l2_delta):
        np.testing.assert_allclose(error(PRED, OBS, reference=REF), error(PRED, OBS))


def test_the_mean_of_nmse_is_the_ratio_of_the_sums():
    for baseline in (REF, OTHER):
        ratio = np.sum((PRED - OBS) ** 2) / np.sum((baseline - OBS) ** 2)
        got = nmse(PRED, OBS, baseline=baseline)
        assert got.mean() == pytest.approx(ratio)
        np.testing.assert_allclose(got / got[0], mse_delta(PRED, OBS) / mse_delta(PRED, OBS)[0])
        np.testing.assert_allclose(nmse(PRED, OBS, baseline=baseline, reference=REF), got)
    with pytest.raises(InputError, match="must differ from `obs`"):
        nmse(PRED, OBS, baseline=OBS)


def test_noise_corrected_error_and_energy_are_their_formulas():
    variance, of_control, of_pred = RNG.random((N, G)) / 50, RNG.random(G) / 50, RNG.random((N, G)) / 25
    error, effect = [], []
    for i in rows:
        claim = min(of_pred[i].sum(), variance[i].sum())
        error.append(np.sum((PRED[i] - OBS[i]) ** 2) - claim - variance[i].sum())
        effect.append(np.sum((OBS[i] - REF) ** 2) - variance[i].sum() - of_control.sum())
    given = {"obs_variance": variance, "control": REF, "control_variance": of_control}
    got = noise_corrected_mse(PRED, OBS, pred_variance=of_pred, **given)
    np.testing.assert_allclose(got, np.array(error) / np.mean(effect))
    assert got.mean() == pytest.approx(np.sum(error) / np.sum(effect))
    np.testing.assert_allclose(effect_energy(OBS - REF, variance + of_control), effect)


def test_weights_and_weighted_errors_are_their_formulas():
    scores = RNG.normal(size=(N, G))
    weights = response_weights(scores)
    for i in rows:
        s = np.abs(scores[i])
        w = ((s - s.min()) / (s.max() - s.min())) ** 2
        np.testing.assert_allclose(weights[i], w / w.sum())
    np.testing.assert_allclose(response_weights([[2.0, -2.0]]), [[0.5, 0.5]])
    # Weights need not sum to 1.
    mse = [np.average((PRED[i] - OBS[i]) ** 2, weights=weights[i]) for i in rows]
    np.testing.assert_allclose(weighted_mse(PRED, OBS, weights=3 * weights), mse)
    r2 = [r2_score(OBS[i] - REF, PRED[i] - REF, sample_weight=weights[i]) for i in rows]
    np.testing.assert_allclose(weighted_r2(PRED, OBS, weights=3 * weights, reference=REF), r2)
    with pytest.raises(InputError, match="not all 0 in a row"):
        weighted_mse(PRED, OBS, weights=np.zeros((N, G)))


@pytest.mark.parametrize(
    ("distance", "name"), [("cosine", "cosine"), ("euclidean", "euclidean"), ("manhattan", "cityblock")]
)
def test_discrimination_is_the_mid_rank_of_its_own(distance, name):
    # Weak predictions, and two perturbations that were observed the same.
    obs, pred = OBS.copy(), 0.1 * OBS + RNG.normal(size=(N, G))
    obs[4] = obs[2]
    kept = RNG.random(G) < 0.7
    d = cdist((pred - REF)[:, kept], (obs - REF)[:, kept], name)
    own = [1 - (rankdata(np.round(d[i], 12))[i] - 1) / (N - 1) for i in rows]
    assert 0.2 < np.mean(own) < 0.95
    np.testing.assert_allclose(discrimination(pred, obs, reference=REF, distance=distance, exclude=~kept), own)


def test_ties_count_against_centroid_accuracy():
    obs, pred = OBS.copy(), 0.1 * OBS + RNG.normal(size=(N, G))
    obs[4] = obs[2]
    d = np.round(cdist(pred, obs), 12)
    expected = [np.mean([d[i, j] > d[i, i] for j in rows if j != i]) for i in rows]
    np.testing.assert_allclose(centroid_accuracy(pred, obs, reference=REF), expected)
    assert centroid_accuracy(obs, obs)[2] == pytest.approx(1 - 1 / (N - 1))
    for distance in ("cosine", "euclidean", "manhattan"):
        assert discrimination(obs, obs, distance=distance)[2] == pytest.approx(1 - 0.5 / (N - 1))
        # The same effects but for the rounding error of what was added and subtracted.
        shifted = discrimination(obs + OTHER, obs + OTHER, reference=OTHER, distance=distance)
        assert shifted[[2, 4]] == pytest.approx(1 - 0.5 / (N - 1))


def test_a_single_perturbation_has_no_rank():
    assert np.isnan(discrimination(PRED[:1], OBS[:1])).all()
    assert np.isnan(centroid_accuracy(PRED[:1], OBS[:1])).all()


def test_direction_size_and_order_are_those_of_loops():
    pred, obs = PRED - REF, OBS - REF
    sign = [np.mean(np.sign(pred[i, MASK[i]]) == np.sign(obs[i, MASK[i]])) for i in rows]
    np.testing.assert_allclose(direction_fidelity(PRED, OBS, MASK, reference=REF), sign)
    size = [np.abs(pred[i] - obs[i])[MASK[i]].sum() / np.abs(obs[i])[MASK[i]].sum() for i in rows]
    np.testing.assert_allclose(lfc_nmae(PRED, OBS, MASK, reference=REF), size)
    for metric, way in ((logfc_spearman_positive, 1), (logfc_spearman_negative, -1)):
        genes = [MASK[i] & (way * obs[i] > 0) for i in rows]
        order = [spearmanr(pred[i, k], obs[i, k])[0] if k.sum() >= 10 else np.nan for i, k in enumerate(genes)]
        assert np.isfinite(order).sum() > 3
        np.testing.assert_allclose(metric(PRED, OBS, MASK, reference=REF), order)


def test_too_few_significant_genes_are_undefined():
    few = np.zeros((N, G), dtype=bool)
    few[1, :1], few[2, :9], few[3, :10] = True, True, True
    obs = np.abs(OBS)
    np.testing.assert_array_equal(np.isnan(direction_fidelity(PRED, obs, few))[:4], [True, False, False, False])
    np.testing.assert_array_equal(np.isnan(lfc_nmae(PRED, obs, few))[:4], [True, True, True, False])
    np.testing.assert_array_equal(np.isnan(logfc_spearman_positive(PRED, obs, few))[:4], [True, True, True, False])
    assert np.isnan(logfc_spearman_negative(PRED, obs, few)).all()


def test_no_observed_change_has_no_sign_to_be_right_about():
    obs = np.array([[1.0, 0.0, -1.0, 0.0]])
    got = direction_fidelity(np.array([[1.0, 1.0, 0.0, 1.0]]), obs, np.ones((1, 4), dtype=bool))
    np.testing.assert_array_equal(got, [0.5])


def test_overlap_by_hand_with_ties_and_empty_sets():
    pred = np.array([[5.0, -4, 3, 2, 1], [2, 2, 2, 2, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]])
    called = np.array([[1, 1, 1, 0, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    truth = np.array([[0, 1, 0, 1, 0], [1, 0, 0, 0, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    # Row 0: the 2 largest called are genes 0 and 1. Row 1: 2 places for 4 that tie, gene 4 never.
    got = overlap_at_n(pred, pred, pred_significant=called, obs_significant=truth)
    np.testing.assert_allclose(got, [0.5, 0.25, 0, 0, np.nan])
    np.testing.assert_allclose(jaccard(called, truth), [1 / 5, 2 / 5, 0, 0, np.nan])


def test_auprc_lift_is_that_of_sklearn_over_prevalence():
    scores = np.round(PRED, 1)
    expected = [average_precision_score(MASK[i], scores[i]) / MASK[i].mean() for i in rows]
    np.testing.assert_allclose(auprc_lift(scores, MASK), expected)
    np.testing.assert_array_equal(auprc_lift([[1.0, 2], [1, 2], [1, 2]], [[0, 0], [1, 1], [0, 1]]), [np.nan, np.nan, 2])
