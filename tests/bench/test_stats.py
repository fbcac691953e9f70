from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from omicsfm import InputError
from omicsfm.bench.stats import holm, paired_bootstrap


def rejections(n_units: int, n_members: int, *, effect: float, donor_sd: float, runs: int = 400) -> float:
    """Share of simulated comparisons with p < 0.05."""
    rng = np.random.default_rng(12345)
    unit = np.repeat(np.arange(n_units), n_members)
    small = 0
    for run in range(runs):
        donor = donor_sd * rng.normal(size=n_units)[unit]
        a = effect + donor + rng.normal(size=unit.size)
        small += paired_bootstrap(a, np.zeros(unit.size), units=unit, n_boot=1000, seed=run).p < 0.05
    return small / runs


# 400 runs: 0.05 has a standard error of 0.011.
@pytest.mark.parametrize(
    ("n_units", "n_members", "donor_sd"), [(4, 1, 0), (6, 1, 0), (20, 1, 0), (6, 30, 1), (12, 20, 0.5), (2, 40, 0)]
)
def test_false_alarms_come_at_the_rate_announced(n_units, n_members, donor_sd):
    assert 0.02 <= rejections(n_units, n_members, effect=0, donor_sd=donor_sd) <= 0.085


def test_without_differences_between_units_the_test_is_conservative():
    assert rejections(8, 30, effect=0, donor_sd=0) <= 0.05


def test_cells_of_few_donors_do_not_pass_for_donors():
    # Donors that differ, 30 cells each: whoever takes the cells for independent is wrong far more often than 5 %.
    rng = np.random.default_rng(0)
    unit = np.repeat(np.arange(6), 30)
    naive = np.mean(
        [ttest_1samp(rng.normal(size=6)[unit] + rng.normal(size=unit.size), 0).pvalue < 0.05 for _ in range(200)]
    )
    assert naive > 0.4
    assert rejections(6, 30, effect=0, donor_sd=1, runs=200) < 0.1


@pytest.mark.parametrize(("n_units", "n_members", "effect"), [(20, 1, 1.0), (10, 30, 0.5), (2, 200, 0.3)])
def test_a_real_difference_is_found(n_units, n_members, effect):
    assert rejections(n_units, n_members, effect=effect, donor_sd=0.1, runs=100) > 0.9


def test_interval_covers_the_true_difference_as_announced():
    rng = np.random.default_rng(0)
    inside = 0
    for run in range(400):
        r = paired_bootstrap(0.3 + rng.normal(size=15), np.zeros(15), n_boot=1000, seed=run, level=0.9)
        inside += r.low <= 0.3 <= r.high
    assert 0.86 <= inside / 400 <= 0.94


def test_near_normal_units_agree_with_the_t_test():
    rng = np.random.default_rng(0)
    d = 0.4 + rng.normal(size=40)
    r, t = paired_bootstrap(d, np.zeros(40)), ttest_1samp(d, 0)
    ends = t.confidence_interval(0.95)
    assert r.difference == pytest.approx(d.mean())
    assert (r.low, r.high) == pytest.approx((ends.low, ends.high), abs=0.03)
    assert r.p == pytest.approx(t.pvalue, abs=0.01)
    few = paired_bootstrap(d[:5], np.zeros(5))
    t = ttest_1samp(d[:5], 0)
    assert few.p == pytest.approx(t.pvalue)
    assert (few.low, few.high) == pytest.approx(tuple(t.confidence_interval(0.95)))


def test_noise_of_members_is_not_counted_twice():
    # Half of the spread of the unit means is their members' noise; resampling both stages as they are would give an
    # interval a quarter wider than that of the unit means.
    rng = np.random.default_rng(0)
    unit = np.repeat(np.arange(20), 10)
    wider = []
    for run in range(40):
        d = 0.3 * rng.normal(size=20)[unit] + rng.normal(size=200)
        r = paired_bootstrap(d, np.zeros(200), units=unit, seed=run, n_boot=1000)
        means = d.reshape(20, 10).mean(axis=1)
        ends = ttest_1samp(means, 0).confidence_interval(0.95)
        wider.append((r.high - r.low) / (ends.high - ends.low))
    assert np.mean(wider) == pytest.approx(1, abs=0.08)


def test_few_resampled_units_give_an_interval_as_wide_as_students():
    rng = np.random.default_rng(0)
    wider = []
    for run in range(100):
        d = rng.normal(size=6)
        r, ends = paired_bootstrap(d, np.zeros(6), seed=run), ttest_1samp(d, 0).confidence_interval(0.95)
        wider.append((r.high - r.low) / (ends.high - ends.low))
    assert np.mean(wider) == pytest.approx(1, abs=0.05)


def test_units_count_alike_whatever_their_size():
    a, units = np.array([1.0, 1, 1, 1, 1, 1, 0, 0]), ["big"] * 6 + ["small"] * 2
    r = paired_bootstrap(a, np.zeros(8), units=units, n_boot=200)
    assert (r.difference, r.mean_a, r.mean_b) == (0.5, 0.5, 0)


def test_the_result_says_what_its_interval_covers():
    a = np.random.default_rng(0).normal(size=24)
    names = {"unit_name": "donors", "member_name": "cells", "n_boot": 200}

    def said(n_units: int, *, nested: bool) -> tuple[str, str, bool]:
        unit = np.arange(24) % n_units if nested else None
        values = a if nested else a[:n_units]
        r = paired_bootstrap(values, np.zeros(len(values)), units=unit, **names)
        assert r.n_units == n_units
        return r.resampled, r.covers, r.few_units

    assert said(2, nested=True) == ("members", "cells within 2 donors: says nothing about new donors", True)
    assert said(6, nested=True) == ("units and members", "6 donors, and new donors like them", False)
    assert said(6, nested=False) == ("units", "6 donors, and new donors like them", False)
    assert said(5, nested=False)[0] == "nothing"
    assert "one value each" in said(5, nested=False)[1]
    assert said(1, nested=False) == ("none", "1 values: too few for an interval", True)


def test_same_seed_same_bits_other_seed_other_bits():
    a, b = np.random.default_rng(0).normal(size=(2, 60))
    unit = np.arange(60) % 8
    first = paired_bootstrap(a, b, units=unit, seed=1, n_boot=500)
    assert first == paired_bootstrap(a, b, units=unit, seed=1, n_boot=500)
    assert first.low != paired_bootstrap(a, b, units=unit, seed=2, n_boot=500).low


@given(st.integers(2, 30), st.integers(1, 9), st.integers(0, 50))
def test_exchanging_the_methods_turns_the_difference_round(n, n_units, seed):
    a, b = np.random.default_rng(seed).normal(size=(2, n))
    unit = np.arange(n) % n_units
    ab, ba = (paired_bootstrap(*pair, units=unit, n_boot=200, seed=seed) for pair in ((a, b), (b, a)))
    assert ab.difference == pytest.approx(-ba.difference)
    assert (ab.low, ab.high) == pytest.approx((-ba.high, -ba.low), nan_ok=True)
    assert ab.p == pytest.approx(ba.p, nan_ok=True)
    if not np.isnan(ab.p):
        assert 0 < ab.p <= 1
        assert ab.low <= ab.difference <= ab.high


def test_p_and_interval_agree():
    rng = np.random.default_rng(0)
    for run in range(60):
        d = 0.5 + rng.normal(size=12)
        r = paired_bootstrap(d, np.zeros(12), n_boot=4000, seed=run)
        if abs(r.p - 0.05) > 0.005:
            assert (r.p < 0.05) == (r.low > 0 or r.high < 0)


def test_p_is_never_zero():
    # All on one side, by far: the +1 keeps what 100 resamples cannot know.
    d = 10 + np.random.default_rng(0).normal(size=500)
    assert paired_bootstrap(d, np.zeros(500), n_boot=100).p == pytest.approx(2 / 101, rel=0.05)


def test_equal_methods_and_constant_differences():
    same = paired_bootstrap(np.ones(10), np.ones(10))
    assert (same.difference, same.low, same.high, same.p) == (0, 0, 0, 1)
    # Six equal differences: a sign-flip test can say 2 / 2^6, and no resampling of equal values says more.
    constant = paired_bootstrap(np.ones(6), np.zeros(6))
    assert (constant.low, constant.high, constant.p) == (1, 1, 2 / 2**6)
    assert paired_bootstrap(np.ones(3), np.zeros(3)).p == 0.25


def test_nan_pairs_are_left_out_and_counted():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 30))
    a[3], b[7] = np.nan, np.nan
    kept = ~np.isnan(a + b)
    r, clean = paired_bootstrap(a, b), paired_bootstrap(a[kept], b[kept])
    assert (r.n_dropped, r.n_units) == (2, 28)
    assert (r.low, r.high, r.p) == (clean.low, clean.high, clean.p)
    gone = paired_bootstrap(np.full(4, np.nan), b[:4], units=list("aabb"))
    assert gone.n_dropped == 4
    assert np.isnan([gone.difference, gone.low, gone.p, gone.mean_a]).all()


def test_many_members_are_drawn_as_the_normal_they_have_become():
    d = 0.02 + np.random.default_rng(0).exponential(size=2 * 2001) - 1
    r = paired_bootstrap(d, np.zeros(d.size), units=np.repeat([0, 1], 2001))
    half = 1.96 * np.sqrt(d[:2001].var() / 2001 + d[2001:].var() / 2001) / 2
    assert (r.low, r.high) == pytest.approx((d.mean() - half, d.mean() + half), abs=0.003)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"b": np.zeros(4)}, r"found \(5,\), \(4,\)"),
        ({"units": ["a"] * 4}, r"and \(4,\)"),
        ({"a": np.full(5, np.inf)}, "finite or NaN"),
        ({"units": ["a", "b", None, "a", "b"]}, "every member needs a unit"),
        ({"level": 95}, "found 95"),
        ({"n_boot": 10}, "found 0.95 and 10"),
    ],
    ids=["length", "units", "infinite", "missing unit", "level", "n_boot"],
)
def test_clear_errors(changed, message):
    with pytest.raises(InputError, match=message):
        paired_bootstrap(**({"a": np.zeros(5), "b": np.zeros(5)} | changed))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_parity_with_brute_force(p):
    ranked = sorted(range(len(p)), key=lambda i: p[i])
    expected = np.empty(len(p))
    for position, i in enumerate(ranked):
        expected[i] = min(1, max((len(p) - j) * p[ranked[j]] for j in range(position + 1)))
    np.testing.assert_allclose(holm(p), expected)


def test_holm_leaves_out_what_was_not_tested():
    np.testing.assert_allclose(holm([0.01, np.nan, 0.04, 0.03]), [0.03, np.nan, 0.06, 0.06])
    with pytest.raises(InputError, match="0 to 1"):
        holm([0.5, 1.2])
