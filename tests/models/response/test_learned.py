"""The network on what is left over: it helps where there is something, and is shut where there is nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from omicsfm.models import ResponseModel
from omicsfm.models._response._kernels import Prior
from omicsfm.models._response._learned import MIN_ROWS, fit_correction


def _setting(rows_of, n: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    names = [f"t{i:03d}" for i in range(n)]
    rows = rows_of(*[(t, "c1") for t in names])
    z = pd.DataFrame(rng.normal(size=(n, 3)), index=names)
    prior = Prior.of(z, names)
    return rng, rows, {"z": prior}, prior.rows(names)


def test_few_rows_train_no_network(rows_of):
    rng, rows, priors, _ = _setting(rows_of, MIN_ROWS - 1)
    error = rng.normal(size=(MIN_ROWS - 1, 4))
    assert fit_correction(priors, rows, error, elsewhere=error[:, :0], seed=0) is None


@pytest.fixture(scope="module")
def bent(rows_of):
    """Errors that bend with the features, as no closed form here can; the first 110 rows to learn from."""
    rng, rows, priors, x = _setting(rows_of, 170)
    error = np.abs(x) @ rng.normal(size=(3, 5)) * 3
    error = error - error.mean(axis=0) + 0.1 * rng.normal(size=error.shape)
    before = torch.random.get_rng_state()
    learned = fit_correction(priors, rows.take(np.arange(110)), error[:110], elsewhere=np.zeros((110, 0)), seed=0)
    assert torch.equal(torch.random.get_rng_state(), before)  # the random numbers of others are left alone
    return priors, rows, error, *learned


def test_what_bends_is_learnt_and_helps_on_rows_never_seen(bent):
    priors, rows, error, correction, added = bent
    assert correction.gate > 0.5
    assert correction.gain > 0.3
    new = np.arange(110, 170)
    found = correction(priors, rows.take(new), np.zeros((60, 0)), 5)
    gained = 1 - np.square(error[new] - found).sum() / np.square(error[new]).sum()
    assert gained == pytest.approx(correction.gain, abs=0.2)
    assert added.shape == (110, 5)


def test_the_stated_gain_is_that_of_rows_not_trained_on(bent):
    _, _, error, correction, added = bent
    after = np.square(error[:110] - added).sum() / np.square(error[:110]).sum()
    assert 1 - after == pytest.approx(correction.gain, abs=1e-9)


def test_the_gate_is_shut_on_noise(rows_of):
    nothing = np.zeros((60, 0))
    for seed in range(2):
        rng, rows, priors, _ = _setting(rows_of, 60, seed)
        correction, added = fit_correction(priors, rows, rng.normal(size=(60, 5)), elsewhere=nothing, seed=0)
        assert correction.gate == 0
        assert (added == 0).all()
        assert (correction(priors, rows, nothing, 5) == 0).all()


@pytest.mark.parametrize("prior", [None, "useless"])
def test_a_network_earns_nothing_where_no_prior_says_anything(simulate, grid, prior):
    """A row's left-out mean is a mirror of the row itself: who sees both needs no prior to be right."""
    screen = simulate(70, seed=1, n_features=10)
    design = grid(screen.z.index)
    model = ResponseModel().fit_effects(
        screen.measure(design), design, priors={} if prior is None else {"z": screen.useless}
    )
    for correction in model.corrections_.values():
        assert correction.gate == 0
        assert correction.gain < 0.1
