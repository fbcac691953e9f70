"""The Gaussian process against scikit-learn, its shortcut for rows left out against leaving them out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel

from omicsfm.models import ResponseModel
from omicsfm.models._response._kinds import Rehearsal
from omicsfm.models._response._process import batches, choose_weights, condition


def _rbf(a: np.ndarray, b: np.ndarray, width: float = 1.0) -> np.ndarray:
    return np.exp(-np.square(a[:, None] - b[None]).sum(axis=2) / (2 * width**2))


def _singles(n: int) -> list[np.ndarray]:
    return [np.array([i]) for i in range(n)]


def _brute(weights, kernels, y, way) -> float:
    """Squared error on groups left out, by solving without them."""
    k = np.einsum("m,mij->ij", weights, kernels)
    total = 0.0
    for block in way:
        rest = np.setdiff1d(np.arange(len(y)), block)
        found = k[np.ix_(block, rest)] @ np.linalg.solve(k[np.ix_(rest, rest)] + np.eye(len(rest)), y[rest])
        total += np.square(y[block] - found).sum()
    return total / np.square(y).sum()


@pytest.mark.parametrize("several", [False, True])
def test_mean_and_variance_are_those_of_scikit_learn(several):
    rng = np.random.default_rng(0)
    x, new = rng.normal(size=(25, 2)), rng.normal(size=(9, 2))
    y = rng.normal(size=(25, 3 if several else 1))
    noise = rng.uniform(0.1, 2, 25)
    peer = GaussianProcessRegressor(ConstantKernel(1.7) * RBF(0.8) + ConstantKernel(0.4), alpha=noise, optimizer=None)
    mean, sd = peer.fit(x, y).predict(new, return_std=True)

    def kernels(a, b):
        return {"near": _rbf(a, b, 0.8), "all": np.ones((len(a), len(b))), "off": np.full((len(a), len(b)), 7.0)}

    process = condition({"near": 1.7, "all": 0.4, "off": 0.0}, kernels(x, x), noise, y)
    found, variance = process.predict(kernels(new, x), kernels(new, new))
    np.testing.assert_allclose(found, mean.reshape(found.shape), atol=1e-8)
    np.testing.assert_allclose(variance, np.square(sd.reshape(9, -1)[:, 0]), atol=1e-8)


def test_blocks_left_out_are_predicted_as_if_they_had_never_been_there():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 2)), rng.normal(size=(30, 4))
    noise = rng.uniform(0.2, 1.5, 30)
    blocks = (np.array([3]), np.array([7, 2, 11]), np.array([29, 0, 4]), np.array([5, 6]), np.arange(12, 28))
    asked = (np.array([3]), np.array([2, 11]), np.array([29, 0, 4]), np.array([6]), np.array([20, 13]))
    process = condition({"k": 1.3}, {"k": _rbf(x, x)}, noise, y)
    mean, variance = process.left_out(y, Rehearsal(blocks, asked))
    for block, wanted in zip(blocks, asked, strict=True):
        rest = np.setdiff1d(np.arange(30), block)
        without = condition({"k": 1.3}, {"k": _rbf(x[rest], x[rest])}, noise[rest], y[rest])
        m, v = without.predict({"k": _rbf(x[wanted], x[rest])}, {"k": _rbf(x[wanted], x[wanted])})
        np.testing.assert_allclose(mean[wanted], m, atol=1e-8)
        np.testing.assert_allclose(variance[wanted], v, atol=1e-8)
    quiet = np.setdiff1d(np.arange(30), np.concatenate(asked))
    assert np.isnan(mean[quiet]).all()
    assert np.isnan(variance[quiet]).all()


def test_what_was_left_out_has_no_say_in_its_own_prediction():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(20, 2)), rng.normal(size=(20, 2))
    block = np.array([4, 9, 13])
    way = Rehearsal((block,), (block,))
    changed = y.copy()
    changed[block] += 1e3
    found = [condition({"k": 1.0}, {"k": _rbf(x, x)}, np.ones(20), v).left_out(v, way)[0][block] for v in (y, changed)]
    np.testing.assert_allclose(*found, atol=1e-8)


def test_groups_of_one_size_are_solved_together_and_none_is_lost():
    groups = [np.array([0]), np.array([1, 2]), np.array([3]), np.array([5, 4])]
    found = batches(groups)
    assert [g.shape for g in found] == [(2, 1), (2, 2)]
    assert sorted(np.concatenate([g.ravel() for g in found])) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("right", [0, 1])
def test_the_kernel_that_made_the_data_gets_the_weight(right):
    rng = np.random.default_rng(3)
    n = 80
    kernels = np.stack([_rbf(v, v) for v in rng.normal(size=(2, n, 2))])
    y = 2 * np.linalg.cholesky(kernels[right] + 1e-9 * np.eye(n)) @ rng.normal(size=(n, 15)) + rng.normal(size=(n, 15))
    weights = choose_weights(kernels, y, [_singles(n)])
    assert weights[1 - right] < 0.02 * weights[right]
    assert 1.5 < weights[right] < 8  # 4 made it, in units of the noise


def test_kernels_weigh_nothing_where_there_is_only_noise():
    rng = np.random.default_rng(4)
    kernels = np.stack([_rbf(v, v) for v in rng.normal(size=(3, 80, 2))])
    weights = choose_weights(kernels, rng.normal(size=(80, 40)), [_singles(80)])
    np.testing.assert_array_less(weights, 0.05)


def test_no_other_weights_err_less_on_blocks_left_out():
    rng = np.random.default_rng(5)
    n = 40
    kernels = np.stack([_rbf(v, v) for v in rng.normal(size=(2, n, 2))])
    y = np.linalg.cholesky(2 * kernels[0] + kernels[1] + 1e-9 * np.eye(n)) @ rng.normal(size=(n, 10))
    y += rng.normal(size=y.shape)
    ways = [_singles(n), np.array_split(rng.permutation(n), 10)]
    weights = choose_weights(kernels, y, ways)
    least = sum(_brute(weights, kernels, y, way) for way in ways)
    for factor in ((1.3, 1), (1 / 1.3, 1), (1, 1.3), (1, 1 / 1.3)):
        assert sum(_brute(weights * factor, kernels, y, way) for way in ways) > least


def test_a_prior_with_its_rows_shuffled_leaves_the_model_at_the_mean(simulate, grid):
    lost, total = 0.0, 0.0
    for seed in range(2):
        screen = simulate(50, seed=seed, n_features=20)
        design = grid(screen.z.index)
        effects = screen.measure(design)
        for fold in range(5):
            test = np.arange(50) % 5 == fold
            model = ResponseModel().fit_effects(effects[~test], design[~test], priors={"z": screen.useless})
            lost += np.square(effects[test] - model.respond(design[test]).mean).to_numpy().sum()
            total += np.square(effects[test] - effects[~test].mean()).to_numpy().sum()
    assert lost / total == pytest.approx(1, abs=0.01)
