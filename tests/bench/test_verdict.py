from __future__ import annotations

import numpy as np
import pytest

from omicsfm.bench.stats import Comparison, paired_bootstrap
from omicsfm.bench.verdict import verdict


def comparison(difference: float, half: float, *, p: float, few_units: bool = False) -> Comparison:
    return Comparison(
        difference=difference,
        low=difference - half,
        high=difference + half,
        p=p,
        level=0.95,
        mean_a=0.5 + difference,
        mean_b=0.5,
        n_units=2 if few_units else 12,
        n_members=100,
        n_dropped=0,
        resampled="members" if few_units else "units",
        covers="cells within 2 donors: says nothing about new donors" if few_units else "12 donors",
        few_units=few_units,
    )


NAMES = {"method": "LinearMosaic", "baseline": "CCA"}


def test_a_win_with_its_cost():
    said = verdict(comparison(0.021, 0.013, p=0.01), **NAMES, higher_is_better=True, cost_ratio=14.2)
    assert said.outcome == "beats"
    assert said.text == "LinearMosaic beats CCA by 0.021 [0.008, 0.034] at 14x its cost"


def test_lower_is_better_turns_everything_round():
    said = verdict(comparison(-0.021, 0.013, p=0.01), **NAMES, higher_is_better=False, metric="foscttm")
    assert (said.outcome, said.text) == ("beats", "LinearMosaic beats CCA by 0.021 [0.008, 0.034] in foscttm")
    said = verdict(comparison(0.021, 0.013, p=0.01), **NAMES, higher_is_better=False)
    assert (said.outcome, said.text) == ("loses", "LinearMosaic loses to CCA by 0.021 [0.008, 0.034]: use CCA")


@pytest.mark.parametrize(
    ("ratio", "end"),
    [
        (None, ": use CCA"),
        (14.2, " at 14x its cost: use CCA"),
        (0.8, " at 0.8x its cost: use CCA"),  # about the same: the simpler one
        (0.02, " at 0.02x its cost: LinearMosaic is the cheaper"),
    ],
)
def test_no_evidence_says_not_to_pay_more(ratio, end):
    said = verdict(comparison(0.003, 0.007, p=0.4), **NAMES, higher_is_better=True, cost_ratio=ratio)
    assert said.outcome == "no evidence"
    assert said.text == (
        "no evidence that LinearMosaic helps over CCA (difference 0.003, interval [-0.004, 0.010])" + end
    )


def test_the_adjusted_p_decides():
    better = comparison(0.021, 0.013, p=0.01)
    assert verdict(better, **NAMES, higher_is_better=True, p_adjusted=0.06).outcome == "no evidence"
    assert verdict(better, **NAMES, higher_is_better=True, p_adjusted=0.06, alpha=0.1).outcome == "beats"


@pytest.mark.parametrize(("higher", "side"), [(True, "ahead of"), (False, "behind")])
def test_what_only_the_other_comparisons_take_away_is_said(higher, side):
    said = verdict(comparison(0.021, 0.013, p=0.01), **NAMES, higher_is_better=higher, p_adjusted=0.06)
    ends = "[0.008, 0.034]"
    assert said.text == (
        f"LinearMosaic is {side} CCA by 0.021 {ends}, but that is no evidence once the other comparisons of the run "
        "are allowed for (p = 0.01, Holm 0.06)"
    )


@pytest.mark.parametrize("p", [0.01, 0.4])
def test_few_units_are_said(p):
    said = verdict(comparison(0.02, 0.01, p=p, few_units=True), **NAMES, higher_is_better=True)
    assert said.text.endswith("(cells within 2 donors: says nothing about new donors)")


def test_small_differences_keep_two_digits_and_unknown_cost_is_not_told():
    said = verdict(comparison(0.000123, 0.00005, p=0.01), **NAMES, higher_is_better=True, cost_ratio=float("nan"))
    assert said.text == "LinearMosaic beats CCA by 0.00012 [0.00007, 0.00017]"


def test_nothing_to_compare():
    r = paired_bootstrap(np.full(3, np.nan), np.zeros(3))
    said = verdict(r, **NAMES, higher_is_better=True)
    assert said.outcome == "not compared"
    assert said.text == "LinearMosaic and CCA cannot be compared: 0 values: too few for an interval"


def test_what_rounding_leaves_is_no_difference():
    said = verdict(comparison(4e-16, 2e-15, p=0.9), **NAMES, higher_is_better=True)
    assert "difference 0.000, interval [-0.000, 0.000]" in said.text
