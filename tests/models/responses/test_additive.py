"""Combinations from members, against hand-computed numbers and dense solutions."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from omicsfm.models.responses import (
    AdditiveRegression,
    AdditiveResponse,
    ControlResponse,
    MatchedContext,
    MaxAbs,
    MeanResponse,
    ShrunkenAdditive,
)


def frame(*rows):
    return pd.DataFrame(rows, dtype=float)


def answer(model, design):
    return model.respond(design).mean.to_numpy()


def test_control_is_zero(make_design):
    assert not answer(
        ControlResponse().fit_effects(frame([1, 2]), make_design("A")), make_design("A", "Z", "A+Z")
    ).any()


def test_mean_counts_each_perturbation_once(make_design):
    design = make_design(("A", "x", 1.0), ("A", "x", 10.0), ("B", "x", 1.0), ("A", "y", 1.0))
    model = MeanResponse().fit_effects(frame([2, 0], [4, 0], [9, 6], [5, 0]), design)
    assert np.allclose(answer(model, make_design(("Z", "x"))), [[6, 3]])  # A in x is 3
    assert np.allclose(answer(model, make_design(("Z", "y"))), [[5, 0]])
    assert np.allclose(answer(model, make_design(("Z", "new"))), [[(3 + 5) / 2 / 2 + 4.5, 3]])  # A is 4, B is 9


def test_mean_of_combinations_is_not_multiplied(make_design):
    model = MeanResponse().fit_effects(frame([1, 1], [3, 5]), make_design("A", "B+C"))
    assert np.allclose(answer(model, make_design("A", "B+C+D")), [[2, 3], [2, 3]])


def test_additive_takes_members_here_then_elsewhere_then_the_mean(make_design):
    design = make_design(("A", "x"), ("B", "x"), ("A", "y"), ("B", "y"), ("C", "y"), ("A+B", "x"), ("C", "w"))
    effects = frame([1, 0], [0, 2], [10, 0], [0, 20], [5, 7], [100, 100], [7, 7])
    model = AdditiveResponse().fit_effects(effects, design)
    assert np.allclose(answer(model, make_design(("A+B", "x"))), [[1, 2]])  # not the measured double
    assert np.allclose(answer(model, make_design(("A+B", "y"))), [[10, 20]])
    assert np.allclose(answer(model, make_design(("A+C", "x"))), [[1 + 6, 7]])
    assert np.allclose(answer(model, make_design(("A+Z", "x"))), [[1 + 0.5, 1]])  # mean of the singles of x
    assert np.allclose(answer(model, make_design(("A+B", "new"))), [[5.5, 11]])
    assert np.allclose(answer(model, make_design(("Z", "x"), ("A", "x"))), [[0.5, 1], [1, 0]])


def test_additive_takes_the_nearest_dose_on_the_log_scale(make_design):
    design = make_design(("A", "x", 1.0), ("A", "x", 100.0), ("B", "x", 3.0))
    model = AdditiveResponse().fit_effects(frame([1, 1], [3, 5], [10, 20]), design)
    asked = make_design(("A", "x", 9.0), ("A", "x", 11.0), ("A", "x", 10.0), ("A", "x", np.nan), ("A+B", "x", 1e6))
    assert np.allclose(answer(model, asked), [[1, 1], [3, 5], [2, 3], [2, 3], [13, 25]])


def test_max_abs_keeps_the_sign_of_the_larger(make_design):
    effects = frame([1, -3, 0.5, 0], [-2, 2, 0.4, 0], [0, 0, -9, 1])
    model = MaxAbs().fit_effects(effects, make_design("A", "B", "C"))
    assert np.allclose(
        answer(model, make_design("A+B", "A+B+C", "B")), [[-2, -3, 0.5, 0], [-2, -3, -9, 1], [-2, 2, 0.4, 0]]
    )


def shrunken(make_design, n_doubles, noise=0.0):
    rng = np.random.default_rng(0)
    singles = rng.normal(size=(6, 40)) * np.array([3, 1, 2, 0.5, 4, 1.5])[:, None]
    pairs = [(0, 1), (3, 2), (5, 4), (1, 4)][:n_doubles]
    norm = np.linalg.norm(singles, axis=1)
    ordered = [pair if norm[pair[0]] > norm[pair[1]] else pair[::-1] for pair in pairs]
    doubles = [0.9 * singles[a] + 0.4 * singles[b] + noise * rng.normal(size=40) for a, b in ordered]
    names = [*"ABCDEF", *("ABCDEF"[a] + "+" + "ABCDEF"[b] for a, b in pairs)]
    effects = pd.DataFrame(np.vstack([singles, *doubles]))
    return singles, ordered, np.array(doubles), ShrunkenAdditive().fit_effects(effects, make_design(*names))


def test_shrunken_additive_finds_the_weights_of_larger_and_smaller_member(make_design):
    singles, _, _, model = shrunken(make_design, 4)
    assert np.allclose(model.weights_, [0.9, 0.4])
    assert np.allclose(answer(model, make_design("A+F", "F+A")), 0.9 * singles[0] + 0.4 * singles[5])
    assert np.allclose(answer(model, make_design("D")), singles[3])  # singles are not shrunk
    both = [0.9 * singles[4] + 0.4 * (singles[0] + singles[1])]
    assert np.allclose(answer(model, make_design("A+B+E")), both)


def test_shrunken_additive_is_least_squares(make_design):
    singles, ordered, doubles, model = shrunken(make_design, 4, noise=1.0)
    x = np.stack([np.concatenate([singles[pair[j]] for pair in ordered]) for j in (0, 1)], axis=1)
    assert np.allclose(model.weights_, np.linalg.lstsq(x, doubles.ravel(), rcond=None)[0])


def test_shrunken_additive_needs_three_doubles_whose_members_are_known(make_design):
    assert (shrunken(make_design, 2)[-1].weights_ == 1).all()
    effects = pd.DataFrame(np.random.default_rng(0).normal(size=(5, 9)))
    model = ShrunkenAdditive().fit_effects(effects, make_design("A", "B", "A+B", "A+C", "C+D"))
    assert (model.weights_ == 1).all()


def test_additive_regression_is_ridge_with_an_unpenalised_mean(make_design):
    rng = np.random.default_rng(0)
    names = ["A", "B", "C", "A+B", "B+C", "B+D", "A+B+D"]
    effects = rng.normal(size=(len(names), 6)) + 2
    model = AdditiveRegression(ridge=0.7).fit_effects(pd.DataFrame(effects), make_design(*names))
    z = np.array([[target in name.split("+") for target in "ABCD"] for name in names], dtype=float)
    x = np.column_stack([z.sum(axis=1), z])
    penalty = np.diag([0, 0.7, 0.7, 0.7, 0.7])
    coef = np.linalg.solve(x.T @ x + penalty, x.T @ effects)
    asked = ["D", "A+D", "A+B", "C+D"]  # D was never perturbed alone
    wanted = np.array([[len(n.split("+")), *(t in n.split("+") for t in "ABCD")] for n in asked], dtype=float) @ coef
    assert np.allclose(answer(model, make_design(*asked)), wanted)
    heavy = Ridge(alpha=0.7, fit_intercept=False).fit(np.column_stack([1e6 * x[:, 0], z]), effects)
    assert np.allclose(answer(model, make_design("A+B")), heavy.predict([[2e6, 1, 1, 0, 0]]), atol=1e-4)


def test_additive_regression_works_context_by_context(make_design):
    design = make_design(("A", "x"), ("B", "x"), ("A+B", "x"), ("A", "y"), ("C", "y"))
    effects = frame([1, 0], [0, 1], [1, 1], [8, 8], [6, 4])
    model = AdditiveRegression(ridge=1e-9).fit_effects(effects, design)
    found = answer(model, make_design(("A+B", "x"), ("A+C", "y"), ("A+C", "x"), ("Z", "y")))
    assert np.allclose(found, [[1, 1], [14, 12], [7, 4], [7, 6]], atol=1e-6)


def test_additive_regression_recovers_members_better_than_singles_alone(make_design):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(8, 50))
    names = [*"ABCDEFGH", *(f"{a}+{b}" for i, a in enumerate("ABCDEFGH") for b in "ABCDEFGH"[i + 1 :])]
    z = np.array([[t in n.split("+") for t in "ABCDEFGH"] for n in names], dtype=float)
    noisy = z @ truth + rng.normal(size=(len(names), 50))
    kept = np.array([n != "A+B" for n in names])
    args = pd.DataFrame(noisy[kept]), make_design(*[n for n in names if n != "A+B"])
    error = {
        m: np.square(answer(m().fit_effects(*args), make_design("A+B")) - truth[:2].sum(axis=0)).mean()
        for m in (AdditiveRegression, AdditiveResponse)
    }
    assert error[AdditiveRegression] < 0.4 * error[AdditiveResponse]


def test_matched_context_averages_the_others_only(make_design):
    design = make_design(("A", "x"), ("A", "y"), ("A", "w"), ("B", "x"), ("C", "y"), ("A+B", "y"))
    effects = frame([1, 1], [2, 4], [4, 8], [7, 7], [5, 5], [9, 9])
    model = MatchedContext().fit_effects(effects, design)
    asked = make_design(("A", "x"), ("A", "new"), ("B", "x"), ("B", "y"), ("A+B", "x"), ("B+C", "x"), ("Z", "x"))
    wanted = [[3, 6], [7 / 3, 13 / 3], [7, 7], [7, 7], [9, 9], [12, 12], [4, 4]]
    assert np.allclose(answer(model, asked), wanted)


def test_matched_context_takes_the_nearest_dose_of_each_context(make_design):
    design = make_design(("A", "x", 1.0), ("A", "y", 1.0), ("A", "y", 50.0), ("A", "w", 3.0))
    model = MatchedContext().fit_effects(frame([1, 1], [2, 2], [6, 8], [4, 4]), design)
    assert np.allclose(answer(model, make_design(("A", "x", 100.0), ("A", "x", 1.0))), [[5, 6], [3, 3]])


@pytest.mark.parametrize("model", [AdditiveResponse, MaxAbs, ShrunkenAdditive, MatchedContext])
def test_without_singles_a_member_has_its_share_of_the_combinations(model, make_design):
    fitted = model().fit_effects(frame([4, 2], [6, 6]), make_design("A+B", "C+D"))
    assert np.allclose(answer(fitted, make_design("A")), [[2.5, 2]])
