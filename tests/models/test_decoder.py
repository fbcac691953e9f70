"""Decoder regression against least squares, and the coverage of conformal intervals."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from omicsfm.models._decoder import Decoder, DecoderStats, calibrate, model_variance, soft_states

K = 3


def simulate(n: int = 300, n_vars: int = 8, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    z_nk = rng.standard_normal((n, K))
    return z_nk, z_nk @ rng.standard_normal((K, n_vars)) + rng.normal(0, 2, n_vars) + rng.standard_normal((n, n_vars))


def stats_of(parts: list[tuple[object, np.ndarray]], n_vars: int, covariance: np.ndarray | None = None) -> DecoderStats:
    out = DecoderStats(n_vars, K)
    for x_ng, z_nk in parts:
        out.update(x_ng, z_nk, np.zeros((K, K)) if covariance is None else covariance)
    return out


@pytest.mark.parametrize("store", [np.asarray, sp.csr_matrix])
def test_equals_least_squares(store) -> None:
    z_nk, x_ng = simulate()
    design = np.column_stack([z_nk, np.ones(len(z_nk))])
    wanted = np.linalg.lstsq(design, x_ng, rcond=None)[0]
    parts = [(store(x_ng[i : i + 70]), z_nk[i : i + 70]) for i in range(0, 300, 70)]
    mean, loading, noise = stats_of(parts, 8).finish()
    np.testing.assert_allclose(loading, wanted[:K].T, atol=1e-5)
    np.testing.assert_allclose(mean, wanted[K], atol=1e-5)
    np.testing.assert_allclose(noise, ((x_ng - design @ wanted) ** 2).mean(axis=0), rtol=1e-4)


@settings(max_examples=15)
@given(seed=st.integers(0, 99), hidden=st.sampled_from([0.1, 0.6]), edge=st.integers(1, 119))
def test_missing_entries_equal_a_loop_over_features(seed: int, hidden: float, edge: int) -> None:
    """Blocks with and without gaps, each feature over the cells that have it."""
    z_nk, x_ng = simulate(120, seed=seed)
    rng = np.random.default_rng(seed)
    x_ng[:edge][rng.random((edge, 8)) < hidden] = np.nan
    mean, loading, noise = stats_of([(x_ng[:edge], z_nk[:edge]), (x_ng[edge:], z_nk[edge:])], 8).finish()
    for g in range(8):
        seen = ~np.isnan(x_ng[:, g])
        if seen.sum() < 10:
            continue
        design = np.column_stack([z_nk[seen], np.ones(seen.sum())])
        wanted = np.linalg.lstsq(design, x_ng[seen, g], rcond=None)[0]
        np.testing.assert_allclose(np.r_[loading[g], mean[g]], wanted, atol=2e-4)
        np.testing.assert_allclose(noise[g], np.mean((x_ng[seen, g] - design @ wanted) ** 2), rtol=1e-3, atol=1e-6)


def test_a_feature_never_seen_is_finite() -> None:
    z_nk, x_ng = simulate(50)
    x_ng[:, 2] = np.nan
    mean, loading, noise = stats_of([(x_ng, z_nk)], 8).finish()
    assert np.isfinite(np.r_[mean, loading.ravel(), noise]).all()
    assert (loading[2] == 0).all()
    assert (noise > 0).all()


@pytest.mark.parametrize("store", [np.asarray, sp.csr_matrix])
def test_uncertain_states_are_the_m_step(store) -> None:
    """With posterior covariance the regression is on E[z z'], so the loading is not attenuated by the noise in z."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((20_000, K))
    error = rng.standard_normal(z.shape)
    post = z * 0.5 + 0.5 * error  # posterior mean of z from z + error; its covariance is 0.5
    x_ng = z @ rng.standard_normal((K, 4)) + rng.normal(0, 0.3, (20_000, 4))
    _, loading, _ = stats_of([(store(x_ng), post)], 4, covariance=0.5 * np.eye(K)).finish()
    z1 = np.column_stack([post, np.ones(len(post))])
    gram = z1.T @ z1 + 20_000 * np.diag([0.5, 0.5, 0.5, 0.0])
    wanted = np.linalg.solve(gram, z1.T @ x_ng)[:K].T
    np.testing.assert_allclose(loading, wanted, atol=1e-4)


def test_model_variance_by_hand() -> None:
    rng = np.random.default_rng(0)
    w, root = rng.standard_normal((5, K)), rng.standard_normal((K, K))
    slow = [w[g] @ (root @ root.T) @ w[g] + 0.5 for g in range(5)]
    np.testing.assert_allclose(model_variance(w, np.full(5, 0.5), root @ root.T), slow)


def hard_states(kind: np.ndarray) -> np.ndarray:
    return np.eye(3)[kind]


def test_coverage_is_nominal_on_exchangeable_data_and_in_every_state() -> None:
    """Errors of three states of very different size and of heavy tails; the model believes in one size."""
    rng = np.random.default_rng(0)
    n, n_vars, size = 4000, 30, np.array([0.5, 1.0, 3.0])
    kind = rng.choice(3, 2 * n, p=[0.5, 0.3, 0.2])
    ratio = size[kind][:, None] * rng.standard_t(5, (2 * n, n_vars)) * rng.uniform(0.5, 2, n_vars)
    spread, quantile = calibrate(ratio[:n], hard_states(kind[:n]), 0.9)
    inside = np.abs(ratio[n:]) <= np.sqrt(hard_states(kind[n:]) @ spread) * quantile
    assert 0.89 < inside.mean() < 0.91
    for k in range(3):
        assert 0.88 < inside[kind[n:] == k].mean() < 0.92
    assert inside.mean(axis=0).min() > 0.87
    assert inside.mean(axis=0).max() < 0.93
    wide = np.sqrt(spread[2] / spread[0])
    assert np.median(wide) == pytest.approx(6, rel=0.2)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_coverage_is_guaranteed_on_average_over_small_samples(level: float) -> None:
    """The finite-sample rank: with 60 cells the plain quantile would fall short by about a percentage point."""
    rng = np.random.default_rng(1)
    ratio = rng.standard_normal((60, 20_000))
    spread, quantile = calibrate(ratio, np.ones((60, 1)), level)
    fresh = rng.standard_normal((20, 20_000))
    inside = (np.abs(fresh) <= np.sqrt(spread[0]) * quantile).mean()
    rank = min(int(np.ceil(61 * level)), 60)
    assert inside == pytest.approx(rank / 61, abs=0.005)


def test_gaps_are_left_out_of_the_calibration() -> None:
    rng = np.random.default_rng(2)
    ratio = rng.standard_normal((500, 4))
    gaps = ratio.copy()
    gaps[::2, 0] = np.nan
    spread, quantile = calibrate(gaps, np.ones((500, 1)), 0.9)
    only, alone = calibrate(ratio[1::2, :1], np.ones((250, 1)), 0.9)
    np.testing.assert_allclose([spread[0, 0], quantile[0]], [only[0, 0], alone[0]], rtol=1e-9)


def test_a_feature_without_calibration_gets_a_finite_interval() -> None:
    ratio = np.random.default_rng(3).standard_normal((200, 3))
    ratio[:, 1] = np.nan
    spread, quantile = calibrate(ratio, np.ones((200, 1)), 0.9)
    assert np.isfinite(quantile).all()
    half = np.sqrt(spread[0]) * quantile
    assert 0.5 * half[0] < half[1] < 3 * half[0], "as unsure as the others, not certain"


def test_states_are_a_partition() -> None:
    z_nk, _ = simulate(100)
    weight = soft_states(z_nk, z_nk[:5], 1.0)
    np.testing.assert_allclose(weight.sum(axis=1), 1)
    assert (weight.argmax(axis=1)[:5] == np.arange(5)).all()
    assert np.isfinite(soft_states(z_nk * 1e3, z_nk[:5], 1e-6)).all()


def test_the_spread_grows_beyond_the_states() -> None:
    decoder = Decoder(
        mean=np.zeros(2),
        loading=np.ones((2, K)),
        noise=np.ones(2),
        centre_ck=np.zeros((1, K)),
        width=1.0,
        spread_cg=np.ones((1, 2)),
        quantile_g=np.full(2, 1.6),
        n_calibration=100,
    )
    z_nk = np.array([[0.0, 0, 0], [0.5, 0, 0], [4.0, 0, 0], [16.0, 0, 0]])
    mean, sd = decoder.predict(z_nk, np.zeros((K, K)))
    np.testing.assert_allclose(mean[:, 0], z_nk.sum(axis=1))
    np.testing.assert_allclose(sd[:2, 0], 1)  # within the typical distance: as calibrated
    assert 1 < sd[2, 0] < sd[3, 0]
    assert (sd[2:, 0] <= [4, 16]).all()  # beyond it, no faster than the distance itself
    wider = decoder.predict(z_nk, 0.5 * np.eye(K))[1]
    assert (wider > sd).all()


def test_a_feature_never_measured_is_like_any_other_and_says_how_unsure_it_is() -> None:
    """Otherwise its interval has no width around 0, and covers nothing."""
    z, x = simulate(400, 40)
    truth = x[:, -1].copy()
    x[:, -1] = np.nan
    mean, loading, noise = stats_of([(x, z)], 40).finish()
    assert mean[-1] == pytest.approx(mean[:-1].mean())
    assert not loading[-1].any()
    assert noise[-1] > noise[:-1].max()
    assert (np.abs(truth - mean[-1]) < 1.645 * np.sqrt(noise[-1])).mean() > 0.5
