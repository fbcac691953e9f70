"""What answers are worth: known weights found again, nothing for noise, what was expected where rows are few."""

from __future__ import annotations

import numpy as np
import pytest

from omicsfm.models._response._blend import default_blend, fit_blend


def _data(n: int, k: int = 6, answers: int = 2, seed: int = 0):
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(n, k))
    return rng, base, [base + rng.normal(size=(n, k)) for _ in range(answers)]


def test_known_weights_are_found():
    rng, base, answers = _data(400)
    y = base + 0.6 * (answers[0] - base) + 0.3 * (answers[1] - base) + 0.1 * rng.normal(size=base.shape)
    blend = fit_blend(("a", "b"), np.array([1.0, 0.0]), y, base, answers, rest=0.0)
    np.testing.assert_allclose(blend.weights, [0.6, 0.3], atol=0.02)
    np.testing.assert_allclose(blend.slopes, 1, atol=0.05)
    assert blend.n_rows == 400
    left = np.square(y - blend(base, answers)).sum()
    assert blend.gain == pytest.approx(1 - left / np.square(y - base).sum(), abs=1e-3)
    np.testing.assert_allclose(blend(base, answers), y, atol=0.6)


def test_a_component_that_answers_nothing_gets_a_slope_of_its_own():
    rng, base, answers = _data(400, answers=1)
    y = base + (answers[0] - base) * np.array([1.0, 1, 1, 1, 1, 0])
    y += 0.1 * rng.normal(size=y.shape)
    blend = fit_blend(("a",), np.ones(1), y, base, answers, rest=0.0)
    np.testing.assert_allclose(blend.weights * blend.slopes, [1, 1, 1, 1, 1, 0], atol=0.06)


def test_answers_of_noise_weigh_next_to_nothing():
    rng, base, answers = _data(400)
    y = base + rng.normal(size=base.shape)
    blend = fit_blend(("a", "b"), np.array([1.0, 0.0]), y, base, answers, rest=0.0)
    assert blend.weights.max() < 0.05
    assert blend.gain < 0.01


def test_answers_that_point_the_wrong_way_weigh_nothing():
    _, base, answers = _data(100, answers=1)
    blend = fit_blend(("a",), np.ones(1), 2 * base - answers[0], base, answers, rest=0.0)
    np.testing.assert_array_equal(blend(base, answers), base)
    assert blend.gain == 0


def test_an_answer_that_mirrors_the_row_left_out_earns_next_to_nothing():
    """Left-out means of centred effects are -y/(n-1): the answer "nothing" then departs from them towards the truth."""
    rng = np.random.default_rng(1)
    y = rng.normal(size=(50, 20))
    y -= y.mean(axis=0)
    blend = fit_blend(("a",), np.ones(1), y, -y / 49, [np.zeros_like(y)], rest=0.0)
    assert blend.gain < 0.06
    assert (blend.weights * blend.slopes).max() < 1.5


@pytest.mark.parametrize("n", [1, 2, 8, 200])
def test_two_rows_worth_of_belief_in_what_was_expected(n):
    _, base, answers = _data(n, answers=1)
    y = base + 0.6 * (answers[0] - base)
    blend = fit_blend(("a",), np.ones(1), y, base, answers, rest=0.0)
    assert blend.weights[0] == pytest.approx((n * 0.6 + 2 * 1.0) / (n + 2), rel=0.01)


def test_what_no_answer_reaches_counts_as_not_earned():
    _, base, answers = _data(50, answers=1)
    found = [fit_blend(("a",), np.ones(1), answers[0], base, answers, rest=r) for r in (0.0, 900.0)]
    total = np.square(answers[0] - base).sum()
    assert found[0].gain == pytest.approx(1, abs=0.01)
    assert found[1].gain == pytest.approx(total / (total + 900), abs=0.01)


def test_weights_do_not_depend_on_the_unit_of_the_effects():
    rng, base, answers = _data(30)
    y = base + 0.5 * (answers[0] - base) + rng.normal(size=base.shape)
    found = [
        fit_blend(("a", "b"), np.array([1.0, 0]), s * y, s * base, [s * a for a in answers], rest=s * s)
        for s in (1, 1e4)
    ]
    for other in found[1:]:
        np.testing.assert_allclose(other.weights, found[0].weights, rtol=1e-6)
        np.testing.assert_allclose(other.slopes, found[0].slopes, rtol=1e-6)


def test_where_nothing_was_left_out_stands_what_is_expected():
    _, base, answers = _data(5)
    blend = default_blend(("a", "b"), np.array([0.25, 0.5]), 6)
    np.testing.assert_allclose(
        blend(base, answers), base + 0.25 * (answers[0] - base) + 0.5 * (answers[1] - base), atol=1e-12
    )
    assert blend.n_rows == 0
    assert np.isnan(blend.gain)
