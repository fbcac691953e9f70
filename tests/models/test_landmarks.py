"""Landmark features against the exact kernel."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel

from omicsfm.models._landmarks import Landmarks, squared_distance


@pytest.fixture
def x_nd() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.standard_normal((400, 5)) + rng.integers(0, 4, (400, 1)) * 2


def test_kernel_is_exact_on_the_landmarks(x_nd: np.ndarray) -> None:
    lift = Landmarks.fit(x_nd, 40, seed=0)
    at = lift(lift.centre_ld)
    np.testing.assert_allclose(at @ at.T, rbf_kernel(lift.centre_ld, gamma=1 / lift.width), atol=1e-4)


def test_features_are_the_nystroem_approximation(x_nd: np.ndarray) -> None:
    lift = Landmarks.fit(x_nd, 40, seed=0)
    k_nl = rbf_kernel(x_nd, lift.centre_ld, gamma=1 / lift.width)
    k_ll = rbf_kernel(lift.centre_ld, gamma=1 / lift.width)
    found = lift(x_nd)
    np.testing.assert_allclose(found @ found.T, k_nl @ np.linalg.pinv(k_ll, rcond=1e-6) @ k_nl.T, atol=1e-4)
    exact = rbf_kernel(x_nd, gamma=1 / lift.width)
    assert np.linalg.norm(found @ found.T - exact) < 0.2 * np.linalg.norm(exact)
    assert lift.n_out == found.shape[1] <= 40


def test_a_row_does_not_depend_on_others_and_types(x_nd: np.ndarray) -> None:
    lift = Landmarks.fit(x_nd, 20, seed=0)
    np.testing.assert_allclose(lift(x_nd[7:8]), lift(x_nd)[7:8], atol=1e-12)
    np.testing.assert_allclose(lift(x_nd.astype(np.float32)), lift(x_nd), atol=1e-4)


@pytest.mark.parametrize("n_landmarks", [0, 1])
def test_without_landmarks_it_is_the_identity(x_nd: np.ndarray, n_landmarks: int) -> None:
    lift = Landmarks.fit(x_nd, n_landmarks, seed=0)
    assert lift.n_out == 5
    np.testing.assert_array_equal(lift(x_nd.astype(np.float32)), x_nd.astype(np.float32).astype(np.float64))


def test_fewer_distinct_cells_than_landmarks() -> None:
    x_nd = np.repeat(np.array([[0.0, 0], [1, 1], [5, 5]]), 20, axis=0)
    lift = Landmarks.fit(x_nd, 10, seed=0)
    assert np.isfinite(lift(x_nd)).all()
    same = Landmarks.fit(np.ones((30, 2)), 5, seed=0)  # one distinct cell: no length to measure by
    assert np.isfinite(same(np.zeros((2, 2)))).all()


def test_same_seed_same_bits_and_bounded_rows() -> None:
    rng = np.random.default_rng(1)
    x_nd = rng.standard_normal((25_000, 2))
    a, b = (Landmarks.fit(x_nd, 5, seed=3) for _ in range(2))
    assert np.array_equal(a.map_lk, b.map_lk)


def test_squared_distance_is_never_negative(x_nd: np.ndarray) -> None:
    near = x_nd + 1e4
    found = squared_distance(near, near[:9])
    assert found.min() >= 0
    np.testing.assert_allclose(found, euclidean_distances(x_nd, x_nd[:9]) ** 2, atol=1e-5)
