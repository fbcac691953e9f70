"""The factor model against Gaussian conditioning, canonical correlations and a simulated truth."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, stats
from sklearn.cross_decomposition import CCA

from omicsfm.models._factor import FactorModel, Moments, Pattern, _em_step, fit_factors, pooled, prune

WIDTH = {"a": 6, "b": 4, "c": 5}


def truth(k: int = 3, *, seed: int = 0, width: dict[str, int] = WIDTH) -> FactorModel:
    rng = np.random.default_rng(seed)
    mean, loading, noise = {}, {}, {}
    for m, d in width.items():
        mean[m] = rng.normal(0, 3, d)
        loading[m] = rng.normal(0, 1.5, (d, k))
        private = rng.normal(0, 0.7, (d, 2))  # what a view has of its own: noise that is not diagonal
        noise[m] = private @ private.T + np.diag(rng.uniform(0.3, 1.0, d))
    return FactorModel(mean, loading, noise, [])


def draw(model: FactorModel, n: int, *, seed: int = 1) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, model.n_latent))
    return z, {
        m: model.mean[m] + z @ w.T + rng.multivariate_normal(np.zeros(len(w)), model.noise[m], n)
        for m, w in model.loading.items()
    }


def moments_of(x: dict[str, np.ndarray], patterns: dict[Pattern, slice]) -> Moments:
    out = Moments({m: v.shape[1] for m, v in x.items()})
    for pattern, rows in patterns.items():
        out.update(pattern, np.hstack([x[m][rows] for m in pattern]))
    return out


def joint(model: FactorModel) -> tuple[np.ndarray, np.ndarray, dict[str, slice]]:
    """Mean and covariance of all views, stacked."""
    views = sorted(model.loading)
    span = Moments({m: len(model.mean[m]) for m in views}).spans(tuple(views))
    w = np.vstack([model.loading[m] for m in views])
    return (
        np.concatenate([model.mean[m] for m in views]),
        w @ w.T + linalg.block_diag(*(model.noise[m] for m in views)),
        span,
    )


def canonical_correlations(cov_aa: np.ndarray, cov_bb: np.ndarray, cov_ab: np.ndarray) -> np.ndarray:
    half = linalg.solve(linalg.sqrtm(cov_aa).real, cov_ab)
    return linalg.svdvals(linalg.solve(linalg.sqrtm(cov_bb).real, half.T))


MOSAIC: dict[Pattern, slice] = {
    ("a", "b"): slice(0, 200),
    ("b", "c"): slice(200, 350),
    ("a",): slice(350, 600),
    ("a", "b", "c"): slice(600, 650),
    ("c",): slice(650, 800),
}


@pytest.mark.parametrize("ridge", [0.0, 0.1, 1.0])
def test_em_never_lowers_its_objective(ridge: float) -> None:
    x = draw(truth(), 800)[1]
    for patterns in (MOSAIC, {("a", "b", "c"): slice(0, 800)}, {("a",): slice(0, 800)}):
        width = {m: d for m, d in WIDTH.items() if any(m in p for p in patterns)}
        moments = moments_of({m: x[m] for m in width}, patterns)
        far = truth(seed=9, width=width)  # of other cells: a long way to go
        history = fit_factors(moments, n_latent=3, ridge=ridge, max_iter=60, tol=-1, start=far).log_likelihood
        assert len(history) == 60
        assert min(b - a for a, b in pairwise(history)) > -1e-8
        assert history[-1] > history[0] + 1


def test_the_objective_is_the_penalised_log_likelihood() -> None:
    """Cell by cell with scipy's multivariate normal."""
    model = truth()
    x = draw(truth(seed=5), 800)[1]
    prior = {"a": 0.2, "b": 0.3, "c": 0.1}
    _, value = _em_step(model, moments_of(x, MOSAIC), prior)
    mean, cov, span = joint(model)
    total = 0.0
    for pattern, rows in MOSAIC.items():
        at = np.concatenate([np.arange(span[m].start, span[m].stop) for m in pattern])
        cells = np.hstack([x[m][rows] for m in pattern])
        total += stats.multivariate_normal(mean[at], cov[np.ix_(at, at)]).logpdf(cells).sum()
        total -= 0.5 * len(cells) * sum(prior[m] * np.trace(np.linalg.inv(model.noise[m])) for m in pattern)
    assert value == pytest.approx(total / 800, rel=1e-9)


def test_two_paired_views_are_canonical_correlation_analysis() -> None:
    """Bach & Jordan (2005): the maximum of the likelihood has the canonical correlations of the sample."""
    x = draw(truth(k=2, width={"a": 6, "b": 4}), 500)[1]
    moments = moments_of(x, {("a", "b"): slice(0, 500)})
    model = fit_factors(moments, n_latent=2, ridge=0.0, max_iter=3000, tol=1e-12)
    _, cov, span = joint(model)
    a, b = span["a"], span["b"]
    found = canonical_correlations(cov[a, a], cov[b, b], cov[a, b])
    cca = CCA(2, scale=False, max_iter=5000).fit(x["a"], x["b"])
    scores = cca.transform(x["a"], x["b"])
    peer = [np.corrcoef(scores[0][:, i], scores[1][:, i])[0, 1] for i in range(2)]
    np.testing.assert_allclose(found[:2], peer, atol=1e-3)
    np.testing.assert_allclose(found[2:], 0, atol=1e-6)
    sample = np.cov(np.hstack([x["a"], x["b"]]).T, bias=True)
    exact = canonical_correlations(sample[a, a], sample[b, b], sample[a, b])
    np.testing.assert_allclose(found[:2], exact[:2], atol=1e-3)
    # The cross-covariance itself is the best of rank two, in the metric of the views; the marginals are the sample's.
    ra, rb = np.linalg.cholesky(sample[a, a]), np.linalg.cholesky(sample[b, b])
    u, s, vt = np.linalg.svd(linalg.solve(ra, linalg.solve(rb, sample[b, a]).T))
    wanted = ra @ (u[:, :2] * s[:2]) @ vt[:2] @ rb.T
    assert np.abs(cov[a, b] - wanted).max() < 1e-2 * np.abs(wanted).max()
    np.testing.assert_allclose(cov[a, a], sample[a, a], rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(model.mean["a"], x["a"].mean(axis=0), atol=1e-6)


PATTERNS = [p for n in range(4) for p in combinations("abc", n)]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_posterior_equals_gaussian_conditioning(pattern: Pattern) -> None:
    """On the joint covariance of z and all views, for every pattern; nothing measured gives the prior."""
    model = truth()
    mean, cov, span = joint(model)
    w = np.vstack([model.loading[m] for m in "abc"])
    at = np.concatenate([np.arange(span[m].start, span[m].stop) for m in pattern] or [np.zeros(0, int)]).astype(int)
    x = np.hstack([np.zeros((4, 0)), *(draw(model, 4)[1][m] for m in pattern)])
    solved = np.linalg.solve(cov[np.ix_(at, at)], w[at]) if len(at) else np.zeros((0, 3))
    gain, offset, covariance = model.posterior(pattern)
    np.testing.assert_allclose(x @ gain + offset, (x - mean[at]) @ solved, atol=1e-8)
    np.testing.assert_allclose(covariance, np.eye(3) - w[at].T @ solved, atol=1e-8)
    np.testing.assert_allclose(model.reliability(pattern), 1 - np.diag(covariance))


def test_more_views_never_widen_the_posterior() -> None:
    model = truth()
    for big in PATTERNS:
        for small in PATTERNS:
            if set(small) < set(big):
                less = model.posterior(small)[2] - model.posterior(big)[2]
                assert np.linalg.eigvalsh(less).min() > -1e-10


@settings(max_examples=40)
@given(
    seed=st.integers(0, 999),
    patterns=st.lists(st.sampled_from([p for p in PATTERNS if p]), min_size=1, max_size=8),
    cut=st.integers(0, 8),
)
def test_moments_equal_direct_sums(seed: int, patterns: list[Pattern], cut: int) -> None:
    """Updates in any order, merged from two halves, and one half taken away again."""
    rng = np.random.default_rng(seed)
    blocks = [(p, rng.standard_normal((int(rng.integers(1, 6)), sum(WIDTH[m] for m in p)))) for p in patterns]
    first, second, whole = Moments(WIDTH), Moments(WIDTH), Moments(WIDTH)
    for i, (p, x) in enumerate(blocks):
        (first if i < cut else second).update(p, x)
        whole.update(p, x)
    merged = first.merge(second)
    assert set(merged.by_pattern) == set(patterns)
    for p in set(patterns):
        x = np.vstack([x for q, x in blocks if q == p])
        for found in (whole, merged):
            n, s_d, s_dd = found.by_pattern[p]
            assert n == len(x)
            np.testing.assert_allclose(s_d, x.sum(axis=0), atol=1e-12)
            np.testing.assert_allclose(s_dd, x.T @ x, atol=1e-12)
    left = whole.merge(second, sign=-1)
    assert set(left.by_pattern) == set(first.by_pattern)
    for p, (n, s_d, s_dd) in first.by_pattern.items():
        assert left.by_pattern[p][0] == n
        np.testing.assert_allclose(left.by_pattern[p][1], s_d, atol=1e-10)
        np.testing.assert_allclose(left.by_pattern[p][2], s_dd, atol=1e-10)
    assert set(whole.by_pattern) == set(patterns)  # neither merge changes what it was given


def test_pooled_covariances_use_the_cells_that_have_both() -> None:
    x = draw(truth(), 800)[1]
    mean, covariance, cross = pooled(moments_of(x, MOSAIC))
    b = np.r_[0:350, 600:650]
    np.testing.assert_allclose(mean["b"], x["b"][b].mean(axis=0))
    np.testing.assert_allclose(covariance["b"], np.cov(x["b"][b].T, bias=True), atol=1e-10)
    ac = np.r_[600:650]
    wanted = np.cov(np.hstack([x["a"][ac], x["c"][ac]]).T, bias=True)[:6, 6:]
    np.testing.assert_allclose(cross["a", "c"], wanted, atol=1e-10)


def test_prune_keeps_the_marginal_covariance_of_each_view() -> None:
    model = truth(k=4)
    rng = np.random.default_rng(3)  # a fifth factor that nothing is known of
    loading = {m: np.hstack([w, 0.02 * rng.standard_normal((len(w), 1))]) for m, w in model.loading.items()}
    model = FactorModel(model.mean, loading, model.noise, [1.0])
    found = prune(model, 0.05)
    assert found.n_latent == 4
    for m, w in model.loading.items():
        np.testing.assert_allclose(
            found.loading[m] @ found.loading[m].T + found.noise[m], w @ w.T + model.noise[m], atol=1e-10
        )
    assert prune(model, 2.0).n_latent == 1  # at least one is kept
    everything = prune(model, 0.0)  # only a rotation
    np.testing.assert_allclose(joint(everything)[1], joint(model)[1], atol=1e-9)
    reliability = everything.reliability(("a", "b", "c"))
    assert (np.diff(reliability) <= 1e-12).all()


def aligned_r2(z: np.ndarray, found: np.ndarray) -> float:
    """Share of the variance of z that a linear map of `found` gives."""
    design = np.column_stack([found, np.ones(len(z))])
    residual = z - design @ np.linalg.lstsq(design, z, rcond=None)[0]
    return float(1 - (residual**2).sum() / ((z - z.mean(axis=0)) ** 2).sum())


def test_recovers_a_simulated_model_with_missing_views() -> None:
    true = truth()
    x = draw(true, 4000)[1]
    patterns: dict[Pattern, slice] = {
        ("a", "b"): slice(0, 1000),
        ("b", "c"): slice(1000, 2000),
        ("a",): slice(2000, 3000),
        ("b",): slice(3000, 3500),
        ("c",): slice(3500, 4000),
    }
    model = prune(fit_factors(moments_of(x, patterns), n_latent=8, ridge=0.001, max_iter=300, tol=1e-7), 0.3)
    assert model.n_latent == 3
    z, new = draw(true, 500, seed=9)
    for pattern in (("a", "b", "c"), ("a",), ("b", "c")):
        gain, offset, _ = model.posterior(pattern)
        best, base, _ = true.posterior(pattern)
        stacked = np.hstack([new[m] for m in pattern])
        reached, possible = aligned_r2(z, stacked @ gain + offset), aligned_r2(z, stacked @ best + base)
        assert reached > possible - 0.02
    # 'a' and 'c' were never measured together: what links them came through 'b'.
    wanted, found = true.loading["a"] @ true.loading["c"].T, model.loading["a"] @ model.loading["c"].T
    assert np.corrcoef(wanted.ravel(), found.ravel())[0, 1] > 0.98


def test_cells_without_a_partner_help() -> None:
    """Prediction of one view from another, with few paired cells and many of one view only."""
    better = []
    for seed in range(6):
        true = truth(k=2, seed=seed, width={"a": 12, "b": 12})
        x = draw(true, 1040, seed=seed + 50)[1]
        paired = moments_of(x, {("a", "b"): slice(0, 40)})
        with_more = moments_of(x, {("a", "b"): slice(0, 40), ("a",): slice(40, 540), ("b",): slice(540, 1040)})
        new = draw(true, 400, seed=seed + 90)[1]
        error = []
        for moments in (paired, with_more):
            model = fit_factors(moments, n_latent=2, ridge=0.01, max_iter=200, tol=1e-6)
            gain, offset, _ = model.posterior(("a",))
            error.append(np.mean((new["b"] - model.mean["b"] - (new["a"] @ gain + offset) @ model.loading["b"].T) ** 2))
        better.append(error[1] / error[0])
    assert np.mean(better) < 0.97
    assert sum(b < 1 for b in better) >= 5


def test_a_start_is_where_em_goes_on() -> None:
    moments = moments_of(draw(truth(), 800)[1], MOSAIC)
    half = fit_factors(moments, n_latent=3, ridge=0.1, max_iter=10, tol=-1)
    rest = fit_factors(moments, n_latent=0, ridge=0.1, max_iter=10, tol=-1, start=half)
    whole = fit_factors(moments, n_latent=3, ridge=0.1, max_iter=20, tol=-1)
    np.testing.assert_allclose(rest.log_likelihood, whole.log_likelihood[10:], rtol=1e-9)


def test_views_with_no_variance_or_few_cells_stay_finite() -> None:
    rng = np.random.default_rng(0)
    flat = {"a": np.zeros((30, 3)), "b": rng.standard_normal((30, 4))}
    few = {"a": rng.standard_normal((3, 20)), "b": rng.standard_normal((3, 15))}
    for x in (flat, few):
        model = prune(fit_factors(moments_of(x, {("a", "b"): slice(None)}), n_latent=30, ridge=0.1), 0.05)
        gain, offset, covariance = model.posterior(("a", "b"))
        assert np.isfinite(np.hstack([x["a"], x["b"]]) @ gain + offset).all()
        assert np.linalg.eigvalsh(covariance).min() > 0
