"""Maximum mean discrepancy, against every pair written out in float64."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist, pdist

from omicsfm import InputError
from omicsfm.metrics._mmd import mmd


def brute(x: np.ndarray, groups: np.ndarray, width: float) -> pd.DataFrame:
    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.exp(-cdist(a, b, "sqeuclidean") / (2 * width**2))

    def within(a: np.ndarray) -> float:
        return (kernel(a, a).sum() - len(a)) / (len(a) * (len(a) - 1)) if len(a) > 1 else np.nan

    names = np.unique(groups)
    out = pd.DataFrame(0.0, index=names, columns=names)
    for a, b in combinations(names, 2):
        own, other = x[groups == a], x[groups == b]
        out.loc[a, b] = out.loc[b, a] = within(own) + within(other) - 2 * kernel(own, other).mean()
    return out


@pytest.fixture(scope="module")
def cells() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    groups = np.repeat(["a", "b", "control", "one", "twice"], [3, 280, 400, 1, 40])
    x = rng.normal(size=(len(groups), 10)) + 0.5 * (groups == "b")[:, None]
    x[groups == "twice"] = np.repeat(x[groups == "twice"][:20], 2, axis=0)
    order = rng.permutation(len(groups))
    return x[order], groups[order]


@pytest.mark.parametrize("bandwidth", [None, 1.0, 10.0])
@pytest.mark.parametrize("reference", [None, "control"])
def test_is_the_mean_over_all_distinct_pairs(cells, bandwidth, reference):
    x, groups = cells
    far = pdist(x)
    expected = brute(x, groups, bandwidth or np.median(far[far > 0]))
    found = mmd(x, groups, bandwidth=bandwidth, reference=reference)
    if reference is None:
        pd.testing.assert_frame_equal(found, expected, rtol=1e-5, atol=1e-6)
        assert (np.diag(found) == 0).all() and found.loc["one"].drop("one").isna().all()
    else:
        pd.testing.assert_series_equal(
            found, expected[reference].drop(reference), rtol=1e-5, atol=1e-6, check_names=False
        )


def test_neither_place_nor_order_nor_scale_of_cells_matters(cells):
    x, groups = cells
    order = np.random.default_rng(1).permutation(len(x))
    pd.testing.assert_frame_equal(mmd(50 * x[order] + 1e4, groups[order]), mmd(x, groups), rtol=1e-4, atol=1e-6)


def test_is_zero_on_average_and_of_either_sign_for_one_distribution():
    x = np.random.default_rng(0).normal(size=(3000, 4))
    found = mmd(x, np.arange(3000) % 75).to_numpy()[np.triu_indices(75, 1)]
    assert abs(found.mean()) < 0.2 * found.std()
    assert 0.3 < (found < 0).mean() < 0.8


def test_sees_a_difference_of_spread_between_equal_means():
    rng = np.random.default_rng(0)
    x, groups = rng.normal(size=(1000, 3)), np.arange(1000) % 2
    assert mmd(x * np.where(groups, 3, 1)[:, None], groups).loc[0, 1] > 0.1


def test_constant_data_have_no_discrepancy():
    assert (mmd(np.full((20, 3), 2.0), np.arange(20) % 2).to_numpy() == 0).all()


def test_half_of_all_cells_alike_still_leave_a_bandwidth(cells):
    x = np.zeros((100, 3))
    x[:10] = np.random.default_rng(0).normal(size=(10, 3))
    groups = np.arange(100) < 10
    far = pdist(x)
    pd.testing.assert_frame_equal(mmd(x, groups), brute(x, groups, np.median(far[far > 0])), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bandwidth", [0.0, -1.0, float("nan")])
def test_a_bandwidth_must_be_positive(bandwidth):
    with pytest.raises(InputError, match="mmd: the bandwidth must be above 0"):
        mmd(np.zeros((4, 2)), list("aabb"), bandwidth=bandwidth)
