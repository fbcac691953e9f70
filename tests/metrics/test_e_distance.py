"""E-distance and its test, against every pair written out in float64."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import hypergeom

from omicsfm import InputError
from omicsfm.metrics._e_distance import e_distance, e_test


def within(x: np.ndarray, metric: str) -> float:
    return cdist(x, x, metric).sum() / (len(x) * (len(x) - 1)) if len(x) > 1 else np.nan


def brute(x: np.ndarray, groups: np.ndarray, metric: str = "euclidean") -> pd.DataFrame:
    names = np.unique(groups)
    out = pd.DataFrame(0.0, index=names, columns=names)
    for a, b in combinations(names, 2):
        own, other = x[groups == a], x[groups == b]
        out.loc[a, b] = 2 * cdist(own, other, metric).mean() - within(own, metric) - within(other, metric)
        out.loc[b, a] = out.loc[a, b]
    return out


@pytest.fixture(scope="module")
def cells() -> tuple[np.ndarray, np.ndarray]:
    """Groups of 1 to 1,300 cells (more than one block of rows and of columns), one in two clumps, some cells twice."""
    rng = np.random.default_rng(0)
    size = {"big": 1300, "control": 300, "clumps": 40, "two": 2, "one": 1, "twice": 60}
    groups = np.repeat(list(size), list(size.values()))
    x = rng.normal(size=(len(groups), 12)) + 0.7 * np.repeat(
        rng.normal(size=(len(size), 12)), list(size.values()), axis=0
    )
    x[groups == "clumps"] += 8 * (np.arange(40)[:, None] % 2)
    x[groups == "twice"] = np.repeat(x[groups == "twice"][:30], 2, axis=0)
    order = rng.permutation(len(groups))
    return x[order], groups[order]


@pytest.mark.parametrize(("squared", "metric"), [(False, "euclidean"), (True, "sqeuclidean")])
@pytest.mark.parametrize("reference", [None, "control", "big"])
def test_is_the_mean_over_all_distinct_pairs(cells, squared, metric, reference):
    expected = brute(*cells, metric)
    found = e_distance(*cells, squared=squared, reference=reference)
    if reference is None:
        pd.testing.assert_frame_equal(found, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(found, found.T)
        assert (np.diag(found) == 0).all()
        assert found.loc["one"].drop("one").isna().all() and not found.drop("one").drop(columns="one").isna().any(
            axis=None
        )
    else:
        pd.testing.assert_series_equal(
            found, expected[reference].drop(reference), rtol=1e-5, atol=1e-5, check_names=False
        )


@pytest.mark.parametrize("squared", [False, True])
def test_neither_place_nor_order_of_cells_matters(cells, squared):
    x, groups = cells
    order = np.random.default_rng(1).permutation(len(x))
    moved = e_distance(x[order] + 1e5, groups[order], squared=squared)
    pd.testing.assert_frame_equal(moved, e_distance(x, groups, squared=squared), rtol=1e-5, atol=1e-5)


def test_near_cells_are_told_apart_far_from_all_others():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 5))
    x[30:60] += 1e4  # two groups that differ by 0.5, far from the third
    x[60:] += 1e4 + 0.5
    groups = np.repeat(list("abc"), 30)
    assert e_distance(x, groups).loc["b", "c"] == pytest.approx(brute(x, groups).loc["b", "c"], rel=1e-3)


@pytest.mark.parametrize("squared", [False, True])
def test_is_zero_on_average_and_of_either_sign_for_one_distribution(squared):
    x = np.random.default_rng(0).normal(size=(4000, 4))
    found = e_distance(x, np.arange(4000) % 100, squared=squared).to_numpy()[np.triu_indices(100, 1)]
    assert abs(found.mean()) < 0.2 * found.std()  # neighbours in the table share a group
    assert 0.3 < (found < 0).mean() < 0.8


def test_squared_sees_means_only_and_the_distance_more():
    rng = np.random.default_rng(0)
    x, groups = rng.normal(size=(2000, 3)), np.arange(2000) % 2
    x[groups == 1] = 3 * (x[groups == 1] - x[groups == 1].mean(axis=0)) + x[groups == 0].mean(axis=0)
    assert e_distance(x, groups).loc[0, 1] > 0.5
    assert abs(e_distance(x, groups, squared=True).loc[0, 1]) < 0.1


def test_constant_data_are_at_distance_zero():
    x, groups = np.full((30, 4), 7.3), np.repeat(list("abc"), 10)
    assert (e_distance(x, groups).to_numpy() == 0).all()
    assert (e_test(x, groups, "a", n_permutations=20)["p_value"] == 1).all()


def test_test_counts_the_relabellings_that_are_as_far_apart():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, 2)) + np.repeat([[0.0], [1.8]], [4, 5], axis=0)
    groups = np.repeat(["x", "control"], [4, 5])
    given = brute(x, groups).loc["x", "control"]
    every = []
    for chosen in combinations(range(9), 4):
        labels = np.where(np.isin(np.arange(9), chosen), "x", "control")
        every.append(brute(x, labels).loc["x", "control"])
    expected = np.mean(np.array(every) >= given - 1e-9)
    found = e_test(x, groups, "control", n_permutations=4000)
    assert found.loc["x", "e_distance"] == pytest.approx(given, rel=1e-5)
    assert 0.01 < expected < 0.5  # 126 relabellings
    assert found.loc["x", "p_value"] == pytest.approx(expected, abs=4 * np.sqrt(expected / 4000))


@pytest.mark.parametrize("seed", range(6))
def test_relabellings_that_are_just_as_far_apart_count(seed):
    # Two points only: all depends on how many of the group's 20 cells are at the second one (as given: 8).
    kind = np.repeat([1, 0, 1, 0], [8, 12, 17, 13])
    x = np.random.default_rng(seed).normal(size=(2, 6))[kind]
    groups = np.repeat(["a", "c"], [20, 30])
    by_number = np.empty(21)
    for k in range(21):
        order = np.r_[np.flatnonzero(kind)[:k], np.flatnonzero(kind == 0), np.flatnonzero(kind)[k:]]
        by_number[k] = brute(x[order], groups).loc["a", "c"]
    chance = hypergeom(50, 25, 20).pmf(np.arange(21))
    expected = chance[by_number >= by_number[8] - 1e-9].sum()
    found = e_test(x, groups, "c", n_permutations=1000).loc["a", "p_value"]
    assert found == pytest.approx(expected, abs=4 * np.sqrt(0.25 / 1000))


def test_test_finds_what_is_there_and_corrects_for_the_number_of_groups(cells):
    found = e_test(*cells, "control", n_permutations=1200)
    pd.testing.assert_series_equal(found["e_distance"], e_distance(*cells, reference="control"), rtol=1e-5, atol=1e-5)
    assert found.loc[["big", "clumps", "twice"], "p_value"].tolist() == [1 / 1201] * 3
    assert found.loc["one"].isna().all()
    p = found["p_value"].dropna().sort_values()
    by_hand = (p * 4 / np.arange(1, 5))[::-1].cummin()[::-1].clip(upper=1)
    pd.testing.assert_series_equal(found["p_adjusted"].dropna().loc[p.index], by_hand, check_names=False)
    pd.testing.assert_frame_equal(found, e_test(*cells, "control", n_permutations=1200))


def test_p_values_of_one_distribution_are_uniform():
    x = np.random.default_rng(0).normal(size=(1000, 3))  # many controls: all groups share them
    groups = np.r_[np.full(600, "c"), np.repeat(np.arange(40).astype(str), 10)]
    p = e_test(x, groups, "c", n_permutations=99)["p_value"]
    assert 0.35 < p.mean() < 0.65 and p.min() >= 0.01


def test_errors_name_what_was_found():
    x = np.zeros((4, 2))
    with pytest.raises(InputError, match="e_distance: .* found 'c'"):
        e_distance(x, list("aabb"), reference="c")
    with pytest.raises(InputError, match="no missing label, found 1"):
        e_distance(x, ["a", None, "b", "b"])
    with pytest.raises(InputError, match="e_test: n_permutations"):
        e_test(x, list("aabb"), "a", n_permutations=0)
