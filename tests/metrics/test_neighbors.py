from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from omicsfm import InputError
from omicsfm.metrics import Neighbors, neighbors


def brute(x: np.ndarray, k: int, query: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    far = cdist(x if query is None else query, x)
    if query is None:
        np.fill_diagonal(far, np.inf)
    index = np.argsort(far, axis=1, kind="stable")[:, :k]
    return index, np.take_along_axis(far, index, axis=1)


@pytest.mark.parametrize("d", [2, 30])  # scikit-learn takes another algorithm above 15 dimensions
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_parity_with_brute_force(d, offset):
    rng = np.random.default_rng(0)
    x, query = rng.normal(size=(200, d)) + offset, rng.normal(size=(50, d)) + offset
    for q in (None, query):
        index, distance = brute(x, 7, q)
        found = neighbors(x, 7, query=q)
        np.testing.assert_array_equal(found.indices, index)
        np.testing.assert_allclose(found.distances, distance, rtol=1e-6)


@pytest.mark.parametrize("d", [2, 30])
def test_self_is_left_out_by_position_also_among_duplicates(d):
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(10, d)), 6, axis=0)  # five duplicates of each row
    found = neighbors(x, 3)
    assert (found.indices != np.arange(60)[:, None]).all()
    assert (found.indices // 6 == np.arange(60)[:, None] // 6).all()
    assert (found.distances == 0).all()
    again = neighbors(x, 3)
    np.testing.assert_array_equal(found.indices, again.indices)


def test_equally_near_rows_come_in_order_of_position():
    found = neighbors(np.array([[0.0], [1.0], [-1.0], [5.0]]), 2)
    np.testing.assert_array_equal(found.indices[0], [1, 2])


def test_query_keeps_the_identical_row():
    x = np.arange(5.0)[:, None]
    np.testing.assert_array_equal(neighbors(x, 1, query=x).indices[:, 0], np.arange(5))


def test_first_keeps_the_nearest():
    found = neighbors(np.random.default_rng(0).normal(size=(30, 3)), 8)
    np.testing.assert_array_equal(found.first(3).indices, found.indices[:, :3])
    assert (found.n_obs, found.k, found.first(3).k) == (30, 8, 3)
    with pytest.raises(InputError, match="k must be 1 to 8, found 9"):
        found.first(9)


@pytest.mark.parametrize("k", [0, 5, 6])
def test_too_many_neighbours_asked_for(k):
    with pytest.raises(InputError, match=r"neighbors: k=.*found shape \(5, 2\)"):
        neighbors(np.zeros((5, 2)), k)


def test_different_widths():
    with pytest.raises(InputError, match=r"\(5, 2\).*\(4, 3\)"):
        neighbors(np.zeros((5, 2)), 1, query=np.zeros((4, 3)))


@pytest.mark.parametrize(
    ("indices", "distances"),
    [
        (np.zeros((3, 2), int), np.zeros((3, 1))),
        (np.zeros(3, int), np.zeros(3)),
        (np.full((3, 2), -1), np.zeros((3, 2))),
        (np.zeros((3, 2)), np.zeros((3, 2))),
        (np.zeros((3, 2), int), np.full((3, 2), np.nan)),
    ],
)
def test_wrong_neighbors_cannot_be_made(indices, distances):
    with pytest.raises(InputError, match="Neighbors: "):
        Neighbors(indices, distances)
