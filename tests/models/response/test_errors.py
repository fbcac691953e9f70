"""The error model on data whose errors are known: coverage, sd, and a reliability that means something."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from omicsfm.models._response._errors import control_variance, fit_errors


class World:
    """Errors that differ by gene, by context, and by row as the variance of the process says."""

    def __init__(self, seed: int = 0, n_genes: int = 120, tails: bool = False) -> None:
        self.rng = np.random.default_rng(seed)
        self.gene = {c: s * self.rng.lognormal(0, 0.7, n_genes) for c, s in (("c1", 1.0), ("c2", 3.0))}
        self.load = self.rng.normal(size=(3, n_genes))
        self.tails = tails

    def draw(self, n: int):
        contexts = np.where(self.rng.random(n) < 0.5, "c1", "c2")
        variance = self.rng.uniform(0.05, 2, n)
        departs = self.rng.normal(size=(n, 3)) * self.rng.lognormal(0, 1, (n, 1))
        mean = departs @ self.load
        sd = np.stack([self.gene[c] for c in contexts]) * np.sqrt(variance)[:, None]
        error = self.rng.standard_t(4, mean.shape) / np.sqrt(2) if self.tails else self.rng.normal(size=mean.shape)
        return {
            "y": mean + sd * error,
            "mean": mean,
            "departs": departs,
            "process_variance": variance,
            "contexts": contexts,
            "reference": np.zeros_like(mean),
        }, sd


def _fit(world: World, n: int, level: float = 0.9):
    data, _ = world.draw(n)
    return fit_errors(**data, level=level)


def _covered(errors, data):
    scale = errors.scale(data["contexts"], data["mean"], data["departs"], data["process_variance"])
    return np.abs(data["y"] - data["mean"]) <= scale * errors.factor, scale * errors.unit


@pytest.mark.parametrize("tails", [False, True])
@pytest.mark.parametrize("n", [40, 300])
def test_new_rows_are_covered_as_stated(n, tails):
    shares, worst = [], []
    for seed in range(3):
        world = World(seed, tails=tails)
        errors = _fit(world, n)
        inside, _ = _covered(errors, world.draw(400)[0])
        shares.append(inside.mean())
        rows = np.sort(inside.mean(axis=1))
        worst.append(rows[: len(rows) // 10].mean())
    assert 0.87 <= np.mean(shares) <= 0.93
    assert np.mean(worst) > 0.75


def test_genes_and_contexts_are_covered_alike():
    world = World(3)
    errors = _fit(world, 300)
    data, _ = world.draw(1000)
    inside, _ = _covered(errors, data)
    for context in ("c1", "c2"):
        assert inside[data["contexts"] == context].mean() == pytest.approx(0.9, abs=0.04)
    low, high = np.quantile(inside.mean(axis=0), [0.1, 0.9])
    assert 0.84 < low < high < 0.97


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_other_levels_hold_too(level):
    world = World(4)
    inside, _ = _covered(_fit(world, 300, level), world.draw(500)[0])
    assert inside.mean() == pytest.approx(level, abs=0.035)


def test_sd_is_the_size_of_the_error():
    world = World(5)
    errors = _fit(world, 300)
    data, true = world.draw(1000)
    _, sd = _covered(errors, data)
    assert np.sqrt(np.mean(np.square((data["y"] - data["mean"]) / sd))) == pytest.approx(1, abs=0.1)
    assert spearmanr(sd.ravel(), true.ravel()).statistic > 0.9


def test_reliability_rises_as_the_error_falls():
    world = World(6)
    errors = _fit(world, 300)
    data, _ = world.draw(600)
    found = errors.reliability(data["departs"], data["process_variance"])
    assert found.min() >= 0
    assert found.max() <= 1
    explained = 1 - np.square(data["y"] - data["mean"]).sum(axis=1) / np.square(data["y"]).sum(axis=1)
    assert spearmanr(found, explained).statistic > 0.5
    thirds = np.array_split(np.argsort(found), 3)
    shares = [np.clip(explained[t], -1, 1).mean() for t in thirds]
    assert shares[0] < shares[1] < shares[2]


def test_an_unknown_context_errs_as_the_average_does():
    world = World(7)
    errors = _fit(world, 200)
    args = np.zeros((1, 120)), np.ones((1, 3)), np.ones(1)
    new, c1, c2 = (errors.scale(np.array([c]), *args).mean() for c in ("new", "c1", "c2"))
    assert c1 < new < c2


def test_one_row_gives_finite_positive_widths():
    world = World(8)
    errors = _fit(world, 1)
    data, _ = world.draw(20)
    _, sd = _covered(errors, data)
    assert np.isfinite(sd).all()
    assert (sd > 0).all()
    assert np.isfinite(errors.factor)
    assert errors.factor > 0
    assert np.isfinite(errors.reliability(data["departs"], data["process_variance"])).all()


def test_widths_scale_with_the_effects_and_reliability_does_not():
    found = []
    for s in (1.0, 1e3):
        world = World(9)
        data, _ = world.draw(50)
        data = {k: s * v if k in ("y", "mean", "departs", "reference") else v for k, v in data.items()}
        errors = fit_errors(**data, level=0.9)
        scale = errors.scale(data["contexts"], data["mean"], data["departs"], data["process_variance"])
        found.append((scale * errors.factor / s, errors.reliability(data["departs"], data["process_variance"])))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-6)
    np.testing.assert_allclose(found[1][1], found[0][1], atol=1e-6)


@pytest.mark.parametrize("members", [1, 2])
def test_noise_of_shared_controls_is_what_rows_left_out_lack(members):
    """Against brute force: the mean of the others, times the members, of effects that are control noise alone."""
    rng = np.random.default_rng(0)
    seen, unseen = rng.normal(size=(2, 200_000))  # controls of many repeats of the experiment
    left_out = np.square(-seen + members * seen).mean()
    new = np.square(-unseen + members * seen).mean()
    added = control_variance(np.array([[members]]), np.ones((1, 1)), np.ones((1, 1)), rehearsed=True)
    assert added.item() == pytest.approx(new - left_out, rel=0.02)
    # in a context without training rows, from two others, when only perturbations within a context could be left out
    other = rng.normal(size=(2, 200_000))
    far = np.square(-unseen + other.mean(axis=0)).mean()
    weight, own = np.array([[0.5, 0.5, 0.0]]), np.array([[0.0, 0.0, 1.0]])
    assert control_variance(weight, np.ones((3, 1)), own, rehearsed=False).item() == pytest.approx(far, rel=0.02)
