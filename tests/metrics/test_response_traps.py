"""Predictions that know nothing of the perturbation must not score, on a simulated screen with measurement noise."""

from __future__ import annotations

import numpy as np
import pytest

from omicsfm.metrics._response_anchor import derangement
from omicsfm.metrics._response_direction import (
    direction_fidelity,
    lfc_nmae,
    logfc_spearman_negative,
    logfc_spearman_positive,
)
from omicsfm.metrics._response_discrimination import centroid_accuracy, discrimination
from omicsfm.metrics._response_error import mae_delta, nmse
from omicsfm.metrics._response_noise import effect_energy, noise_corrected_mse
from omicsfm.metrics._response_overlap import auprc_lift, overlap_at_n
from omicsfm.metrics._response_pearson import pearson_delta
from omicsfm.metrics._response_weighted import response_weights, weighted_r2

N, G = 40, 300
SE, CONTROL_SE = 0.08, 0.08


class Screen:
    """Means of two halves of the cells and of two halves of the controls; a shared response and own ones."""

    def __init__(self, seed: int = 0, *, own: float = 0.5, shared: float = 0.15):
        rng = np.random.default_rng(seed)
        self.level = rng.gamma(2.0, 0.5, G)
        self.effect = shared * rng.normal(size=G) + own * rng.normal(size=(N, G)) * (rng.random((N, G)) < 0.15)
        self.half = [self.level + self.effect + SE * rng.normal(size=(N, G)) for _ in range(2)]
        self.control = [self.level + CONTROL_SE * rng.normal(size=G) for _ in range(2)]
        self.obs, self.c = self.half[0], self.control[0]
        self.significant = np.abs(self.half[1] - self.control[1]) > 3 * np.hypot(SE, CONTROL_SE)
        self.mean = self.half[1].mean(axis=0)
        self.model = self.c + 0.8 * self.effect + 0.1 * rng.normal(size=(N, G))
        self.weights = response_weights(self.half[1] - self.mean)
        self.noise = {
            "obs_variance": np.full((N, G), SE**2),
            "control": self.c,
            "control_variance": np.full(G, CONTROL_SE**2),
        }


@pytest.fixture(scope="module")
def screen() -> Screen:
    return Screen()


def constant(row: np.ndarray) -> np.ndarray:
    return np.tile(row, (N, 1))


def test_the_control_as_prediction_scores_nothing(screen):
    pred = constant(screen.c)
    assert (pearson_delta(pred, screen.obs, reference=screen.c) == 0).all()
    assert (discrimination(pred, screen.obs, reference=screen.c) == 0.5).all()
    assert (direction_fidelity(pred, screen.obs, screen.significant, reference=screen.c) == 0).all()
    size = lfc_nmae(pred, screen.obs, screen.significant, reference=screen.c)
    np.testing.assert_array_equal(size[np.isfinite(size)], 1)
    known = [noise_corrected_mse(constant(f.level), f.obs, **f.noise).mean() for f in map(Screen, range(20))]
    assert np.mean(known) == pytest.approx(1, abs=0.02)
    assert noise_corrected_mse(pred, screen.obs, **screen.noise).mean() > 1
    none = {"control": 0, "control_variance": 0, "obs_variance": SE**2 + CONTROL_SE**2}
    assert noise_corrected_mse(np.zeros((N, G)), screen.obs - screen.c, **none).mean() == pytest.approx(1, abs=1e-12)
    assert nmse(pred, screen.obs, baseline=screen.mean).mean() > 1
    for sign in (logfc_spearman_positive, logfc_spearman_negative):
        assert np.nanmax(np.abs(sign(pred, screen.obs, screen.significant, reference=screen.c))) == 0
    np.testing.assert_allclose(auprc_lift(np.abs(pred - screen.c), screen.significant), 1)


def test_a_float32_copy_of_the_control_is_the_control(screen):
    """Rounding to 1e-7 must not look like an effect."""
    pred = constant(screen.c).astype(np.float32)
    assert (pearson_delta(pred, screen.obs, reference=screen.c) == 0).all()
    assert (discrimination(pred, screen.obs, reference=screen.c) == 0.5).all()
    assert (direction_fidelity(pred, screen.obs, screen.significant, reference=screen.c) == 0).all()


def test_a_shift_of_all_genes_is_no_prediction(screen):
    pred = constant(screen.c + 0.1)
    assert (pearson_delta(pred, screen.obs, reference=screen.c) == 0).all()
    assert np.nanmax(np.abs(logfc_spearman_positive(pred, screen.obs, screen.significant, reference=screen.c))) == 0


def test_the_mean_as_prediction_scores_nothing_against_the_mean(screen):
    pred = constant(screen.mean)
    assert nmse(pred, screen.obs, baseline=screen.mean).mean() == 1
    # Summed in another order, the mean differs in the last digits.
    other = constant(np.add.reduce(screen.half[1][::-1]) / N)
    assert (other != pred).any()
    assert (pearson_delta(other, screen.obs, reference=screen.mean) == 0).all()
    assert (discrimination(other, screen.obs, reference=screen.mean) == 0.5).all()
    assert (weighted_r2(pred, screen.obs, weights=screen.weights, reference=screen.mean) <= 0).all()
    # Against the control it looks like knowledge; the shared response is all there is to it.
    assert pearson_delta(pred, screen.obs, reference=screen.c).mean() > 0.5


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "manhattan"])
def test_one_prediction_for_all_has_half_of_the_discrimination(screen, distance):
    got = discrimination(constant(screen.mean), screen.obs, reference=screen.c, distance=distance)
    assert got.mean() == pytest.approx(0.5, abs=1e-12)
    assert centroid_accuracy(constant(screen.mean), screen.obs).mean() == pytest.approx(0.5, abs=1e-12)


def test_a_good_model_scores_and_inflating_it_does_not_pay(screen):
    pred, inflated = screen.model, screen.c + 10 * (screen.model - screen.c)
    kept = {"reference": screen.c}
    assert discrimination(pred, screen.obs, **kept).mean() > 0.95
    assert nmse(pred, screen.obs, baseline=screen.mean).mean() < 0.8
    assert noise_corrected_mse(pred, screen.obs, **screen.noise).mean() < 0.5
    np.testing.assert_array_equal(
        discrimination(inflated, screen.obs, **kept), discrimination(pred, screen.obs, **kept)
    )
    np.testing.assert_allclose(pearson_delta(inflated, screen.obs, **kept), pearson_delta(pred, screen.obs, **kept))
    assert nmse(inflated, screen.obs, baseline=screen.mean).mean() > 10
    assert noise_corrected_mse(inflated, screen.obs, **screen.noise).mean() > 10
    assert np.nanmin(lfc_nmae(inflated, screen.obs, screen.significant, **kept)) > 1
    assert (weighted_r2(inflated, screen.obs, weights=screen.weights, reference=screen.mean) < 0).all()
    assert (mae_delta(inflated, screen.obs) > mae_delta(constant(screen.c), screen.obs)).all()


def test_inflating_pays_with_manhattan_which_is_why_it_is_not_the_default():
    found = Screen(seed=3, own=0.1)
    effect = found.half[1] - found.control[1]
    gain = [
        discrimination(
            a * effect, found.obs, reference=found.c, pred_reference=np.zeros(G), distance="manhattan"
        ).mean()
        for a in (0.2, 3)
    ]
    assert gain[1] > gain[0] + 0.05


def test_a_shared_control_makes_nothing_look_like_something():
    """Null perturbations: only with independent halves of the controls is the correlation about 0."""
    null = Screen(seed=1, own=0, shared=0)
    pred = null.half[1]
    assert pearson_delta(pred, null.obs, reference=null.c).mean() > 0.4
    split = pearson_delta(pred, null.obs, reference=null.control[0], pred_reference=null.control[1])
    assert abs(split.mean()) < 0.05


def test_against_the_mean_no_change_is_right_about_null_perturbations():
    """The mirror image: a strong shared response lends every null perturbation the same 'effect'."""
    found = Screen(seed=2, own=0)
    found.obs[:10] -= found.effect[:10]
    mean = found.obs.mean(axis=0)
    assert pearson_delta(constant(found.c), found.obs, reference=mean)[:10].mean() > 0.5
    split = pearson_delta(constant(found.c), found.obs, reference=found.c)
    assert (split == 0).all()


def test_without_the_sign_or_with_the_wrong_one_it_is_wrong(screen):
    effect = screen.obs - screen.c
    kept = {"reference": screen.c, "pred_reference": np.zeros(G)}
    share_up = (screen.significant & (effect > 0)).sum(axis=1) / screen.significant.sum(axis=1)
    np.testing.assert_allclose(direction_fidelity(np.abs(effect), screen.obs, screen.significant, **kept), share_up)
    assert (direction_fidelity(effect, screen.obs, screen.significant, **kept) == 1).all()
    assert (direction_fidelity(-effect, screen.obs, screen.significant, **kept) == 0).all()
    assert (discrimination(-effect, screen.obs, **kept) == 0).all()
    np.testing.assert_allclose(pearson_delta(-effect, screen.obs, **kept), -1)


def test_the_predictions_of_wrong_targets_do_not_score(screen):
    wrong = screen.model[derangement(N, 0)]
    assert discrimination(wrong, screen.obs, reference=screen.c).mean() < 0.55
    assert nmse(wrong, screen.obs, baseline=screen.mean).mean() > 1
    assert abs(pearson_delta(wrong, screen.obs, reference=screen.mean).mean()) < 0.1


def test_declaring_noise_does_not_lower_the_error(screen):
    """The control for all, said to be noisy: no predictions differ, so that there is no noise to subtract."""
    plain = noise_corrected_mse(constant(screen.c), screen.obs, **screen.noise)
    noisy = noise_corrected_mse(constant(screen.c), screen.obs, pred_variance=100, **screen.noise)
    np.testing.assert_allclose(noisy, plain)
    # And a model may not claim more noise than the observation has.
    most = noise_corrected_mse(screen.model, screen.obs, pred_variance=100, **screen.noise)
    np.testing.assert_allclose(most, noise_corrected_mse(screen.model, screen.obs, pred_variance=SE**2, **screen.noise))


def test_a_replicate_has_no_noise_corrected_error_and_an_energy_without_bias():
    found = [Screen(seed=s) for s in range(10)]
    errors = [noise_corrected_mse(f.half[1], f.obs, pred_variance=SE**2, **f.noise).mean() for f in found]
    assert np.mean(errors) == pytest.approx(0, abs=0.02)
    variance = np.full((N, G), SE**2 + CONTROL_SE**2)
    energy = np.mean([effect_energy(f.obs - f.c, variance).mean() for f in found])
    assert energy == pytest.approx(np.mean([np.square(f.effect).sum(axis=1).mean() for f in found]), rel=0.02)
    null = [f.control[0] - f.control[1] for f in map(Screen, range(100, 150))]
    assert effect_energy(null, 2 * np.full(G, CONTROL_SE**2)).mean() == pytest.approx(0, abs=0.2)


def test_noise_alone_has_no_noise_corrected_error():
    """Where the effects are smaller than their noise there is nothing to be right about."""
    null = Screen(seed=5, own=0, shared=0)
    null.noise["obs_variance"] = np.full((N, G), 2 * SE**2)
    assert np.isnan(noise_corrected_mse(null.model, null.obs, **null.noise)).all()


def test_the_knocked_down_gene_names_its_perturbation_unless_left_out(screen):
    obs = screen.obs.copy()
    obs[np.arange(N), np.arange(N)] -= 5
    pred = constant(screen.c)
    pred[np.arange(N), np.arange(N)] -= 5
    assert discrimination(pred, obs, reference=screen.c).mean() == 1
    assert (discrimination(pred, obs, reference=screen.c, exclude=np.arange(G) < N) == 0.5).all()


def test_equal_predictions_overlap_by_chance_whatever_the_order_of_genes(screen):
    pred, everything = np.ones((N, G)), np.ones((N, G), dtype=bool)
    got = overlap_at_n(pred, screen.obs, pred_significant=everything, obs_significant=screen.significant)
    np.testing.assert_allclose(got, screen.significant.mean(axis=1))
