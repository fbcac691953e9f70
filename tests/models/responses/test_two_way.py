"""Two-way effects against brute force with dense matrices."""

import numpy as np
import pandas as pd
import pytest

from omicsfm.models.responses import TwoWayEB
from omicsfm.models.responses._variance import two_way_effects, variance_components


def layout(seed, n_rows=7, n_columns=4, share=0.7, repeats=1):
    rng = np.random.default_rng(seed)
    cells = [(r, c) for r in range(n_rows) for c in range(n_columns) for _ in range(repeats)]
    cells = [cell for cell in cells if rng.random() < share]
    row, column = np.array(cells).T
    return np.unique(row, return_inverse=True)[1], np.unique(column, return_inverse=True)[1], rng


def one_hot(code):
    return np.eye(code.max() + 1)[code]


def reduction(y, x):
    """Residual sum of squares of a regression of y on x, and its hat matrix."""
    hat = x @ np.linalg.pinv(x)
    return np.square(y - hat @ y).sum(axis=0), hat


@pytest.mark.parametrize("seed", range(4))
def test_variances_are_those_of_fitting_constants(seed):
    row, column, rng = layout(seed, repeats=1 + seed % 2)
    y = rng.normal(size=(len(row), 3)) + 2 * rng.normal(size=(row.max() + 1, 3))[row] + rng.normal(size=(1, 3))
    zr, zc = one_hot(row), one_hot(column)
    both, full = reduction(y, np.hstack([zr, zc]))
    left_r, hat_r = reduction(y, zr)
    left_c, hat_c = reduction(y, zc)
    noise = both / (len(y) - round(np.trace(full)))
    # Expectations of quadratic forms y' A y with A = difference of projections: traces against Z Z'.
    a_c, a_r = full - hat_r, full - hat_c
    of_c = (left_r - both - np.trace(a_c) * noise) / np.trace(zc.T @ a_c @ zc)
    of_r = (left_c - both - np.trace(a_r) * noise) / np.trace(zr.T @ a_r @ zr)
    assert np.allclose(variance_components(y, row, column), np.maximum([of_r, of_c, noise], 0))


def test_variances_are_unbiased():
    row, column, rng = layout(0, 30, 8)
    n = 600
    y = 1.5 * rng.normal(size=(row.max() + 1, n))[row] + 0.7 * rng.normal(size=(column.max() + 1, n))[column]
    y += 0.5 * rng.normal(size=y.shape)
    assert np.allclose(variance_components(y, row, column).mean(axis=1), [2.25, 0.49, 0.25], rtol=0.06)


@pytest.mark.parametrize("seed", range(3))
def test_effects_are_best_linear_unbiased_predictions(seed):
    row, column, rng = layout(seed)
    y = rng.normal(size=(len(row), 2)) + 3
    variances = np.array([[2.0, 0.3], [0.5, 4.0], [1.0, 0.2]])
    mean, rows, columns = two_way_effects(y, row, column, variances)
    zr, zc, one = one_hot(row), one_hot(column), np.ones(len(y))
    for k in range(2):
        v = np.linalg.inv(variances[0, k] * zr @ zr.T + variances[1, k] * zc @ zc.T + variances[2, k] * np.eye(len(y)))
        wanted = (one @ v @ y[:, k]) / (one @ v @ one)
        rest = v @ (y[:, k] - wanted)
        assert np.allclose(mean[k], wanted)
        assert np.allclose(rows[:, k], variances[0, k] * zr.T @ rest)
        assert np.allclose(columns[:, k], variances[1, k] * zc.T @ rest)


def table(perturbation, context, values):
    design = pd.DataFrame({"perturbation": perturbation, "context": context})
    return pd.DataFrame(values), design


def screen(noise, n=20, contexts=("x", "y", "w"), seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, 15)), rng.normal(size=(len(contexts), 15))
    names = np.repeat([f"t{i}" for i in range(n)], len(contexts))
    where = np.tile(contexts, n)
    truth = np.repeat(a, len(contexts), axis=0) + np.tile(b, (n, 1))
    return names, where, truth, truth + noise * rng.normal(size=truth.shape)


def test_left_out_cells_are_filled_in_without_noise():
    names, where, truth, y = screen(1e-4)
    out = np.arange(len(y)) % 7 == 3
    model = TwoWayEB().fit_effects(*table(names[~out], where[~out], y[~out]))
    found = model.respond(table(names[out], where[out], y[out])[1]).mean.to_numpy()
    assert np.allclose(found, truth[out], atol=1e-2)


def test_noise_is_shrunk():
    names, where, truth, y = screen(2.0)
    out = np.arange(len(y)) % 7 == 3
    model = TwoWayEB().fit_effects(*table(names[~out], where[~out], y[~out]))
    found = model.respond(table(names[out], where[out], y[out])[1]).mean.to_numpy()
    plain = np.stack([y[~out][names[~out] == n].mean(axis=0) for n in names[out]])
    assert np.square(found - truth[out]).mean() < 0.8 * np.square(plain - truth[out]).mean()


def test_unknown_perturbation_has_the_mean_of_the_context_and_unknown_context_the_perturbation():
    names, where, _, y = screen(1e-5)
    model = TwoWayEB().fit_effects(*table(names, where, y))
    asked = pd.DataFrame({"perturbation": ["new", "t3", "new", "t3+t4"], "context": ["x", "new", "new", "x"]})
    found = model.respond(asked).mean.to_numpy()
    assert np.allclose(found[0], y[where == "x"].mean(axis=0), atol=0.05)
    assert np.allclose(found[1], y[names == "t3"].mean(axis=0), atol=0.05)
    assert np.allclose(found[2], y.mean(axis=0), atol=0.05)
    sum_of_two = sum(y[(names == n) & (where == "x")][0] for n in ("t3", "t4"))
    assert np.allclose(found[3], sum_of_two, atol=0.05)


def test_one_context_is_kept_as_it_is():
    names, _, _, y = screen(1.0, contexts=("x",))
    model = TwoWayEB().fit_effects(*table(names, "x", y))
    found = model.respond(pd.DataFrame({"perturbation": ["t3", "new"]})).mean.to_numpy()
    assert np.allclose(found, [y[3], y.mean(axis=0)], atol=1e-4)


def test_a_measured_combination_is_one_perturbation():
    rows = [[1.0, 0], [0, 1.0], [5.0, 5.0]]
    model = TwoWayEB().fit_effects(*table(["A", "B", "A+B"], "x", rows))
    assert np.allclose(model.respond(pd.DataFrame({"perturbation": ["B+A"]})).mean, [[5, 5]], atol=1e-4)
