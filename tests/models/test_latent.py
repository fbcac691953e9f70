"""Cells by pattern, the fitted latent, and the cell state, on simulated tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omicsfm.models._cells import blocks
from omicsfm.models._latent import Latent
from omicsfm.models._state import CellState
from omicsfm.pp import Tokens


def simulate(make_tokens, n: int = 400, *, seed: int = 0, protein: np.ndarray | None = None, batch=None) -> tuple:
    """Two shared factors; RNA tokens have two of their own; `protein` says which cells have it."""
    rng = np.random.default_rng(seed)
    weights = np.random.default_rng(7)
    z = rng.standard_normal((n, 2))
    rna = np.hstack([z @ weights.standard_normal((2, 4)), rng.standard_normal((n, 2))]) * [3, 3, 2, 2, 2, 2]
    pro = z @ weights.standard_normal((2, 3)) * 2
    rna, pro = rna + 0.3 * rng.standard_normal(rna.shape), pro + 0.3 * rng.standard_normal(pro.shape)
    rows = np.arange(n) if protein is None else protein
    tokens = make_tokens({"rna": rna, "protein": pro[rows]}, {"rna": np.arange(n), "protein": rows}, n=n, batch=batch)
    return tokens, z, pro


def fit(tokens: Tokens, n_landmarks: int = 0) -> Latent:
    return Latent.fit(tokens, n_latent=6, n_landmarks=n_landmarks, ridge=0.1, seed=0)


@settings(max_examples=30)
@given(seed=st.integers(0, 999), n_rows=st.sampled_from([1, 3, 100]), subset=st.booleans())
def test_blocks_visit_every_cell_once_with_its_own_rows(seed: int, n_rows: int, subset: bool) -> None:
    rng = np.random.default_rng(seed)
    n = 20
    rows = {m: rng.permutation(n)[: rng.integers(0, n + 1)] for m in "abc"}
    values = {m: r[:, None].astype(np.float32) for m, r in rows.items()}  # the value is the position of the cell
    tokens = Tokens(values=values, rows=rows, obs_names=np.arange(n), batch=np.full(n, "a"))
    obs = np.sort(rng.permutation(n)[:9]) if subset else None
    visited = []
    for block in blocks(tokens, obs=obs, n_rows=n_rows):
        assert len(block.obs) <= n_rows
        visited.extend(block.obs)
        for m in "abc":
            assert (m in block.pattern) == bool(np.isin(block.obs, rows[m]).all())
            if m in block.pattern:
                np.testing.assert_array_equal(tokens.values[m][block.rows[m], 0], block.obs)
            else:
                assert not np.isin(block.obs, rows[m]).any()
        for m in block.pattern:
            assert m not in block.without(m)
            assert block.only((m,)).pattern == (m,)
    assert sorted(visited) == list(range(n) if obs is None else obs)


@pytest.mark.parametrize("n_landmarks", [0, 60])
def test_the_latent_finds_what_views_share(make_tokens, n_landmarks: int) -> None:
    tokens, z, _ = simulate(make_tokens, 600, protein=np.arange(300))
    latent = fit(tokens, n_landmarks)
    assert (latent.lift["rna"].n_out > 6) == (n_landmarks > 0)
    new, z_new, _ = simulate(make_tokens, 300, seed=5)
    block = next(iter(blocks(new)))
    for pattern in (("protein", "rna"), ("rna",), ("protein",)):
        found = latent.posterior(new, block, pattern=pattern)[0]
        design = np.column_stack([found, np.ones(300)])
        residual = z_new - design @ np.linalg.lstsq(design, z_new, rcond=None)[0]
        assert 1 - residual.var() / z_new.var() > (0.8 if n_landmarks else 0.9)


def test_a_few_cells_with_a_second_modality_among_many(make_tokens) -> None:
    """Steps that look at a sample of cells must not overlook a rare modality."""
    n = 70_000
    sample = np.random.default_rng(0).permutation(n)[:20_000]  # what a sample by seed 0 would take
    for rare in (
        np.setdiff1d(np.arange(n), sample)[:200],
        np.r_[np.setdiff1d(np.arange(n), sample)[:230], sample[:20]],
    ):
        tokens, z, _ = simulate(make_tokens, n, protein=np.sort(rare))
        latent = Latent.fit(tokens, n_latent=4, n_landmarks=100, ridge=0.1, seed=0)
        block = next(b for b in blocks(tokens, obs=np.sort(rare)) if len(b.pattern) == 2)
        found = latent.posterior(tokens, block)[0]
        assert np.isfinite(found).all()
        assert np.linalg.norm(np.corrcoef(found.T, z[block.obs].T)[-2:, :-2], axis=1).min() > 0.8


def test_nothing_measured_gives_the_prior(make_tokens) -> None:
    tokens, _, _ = simulate(make_tokens)
    latent = fit(tokens)
    block = next(iter(blocks(tokens))).only(())
    z, covariance = latent.posterior(tokens, block, pattern=())
    assert (z == 0).all()
    np.testing.assert_array_equal(covariance, np.eye(latent.factors.n_latent))


def test_predicted_tokens_match_the_hidden_ones_and_say_how_unsure_they_are(make_tokens) -> None:
    """Every cell had RNA in training: a query without it gets its tokens predicted, with an sd that holds."""
    tokens, _, _ = simulate(make_tokens, 600, protein=np.arange(300))
    latent = fit(tokens)
    state = CellState.fit(latent, tokens, {"rna": 1.0, "protein": 1.0})
    assert list(state.tokens) == ["rna"]
    new, _, _ = simulate(make_tokens, 500, seed=3)
    block = next(iter(blocks(new)))
    whole, sd = state(latent, new, block, pattern=("protein", "rna"))
    assert whole.shape == sd.shape == (500, state.n_out)
    part, wider = state(latent, new, block, pattern=("protein",))
    at = slice(len(state.axis_k), None)
    assert (sd[:, at] == 0).all()
    error = part[:, at] - whole[:, at]
    # The ridge makes the model careful, never too sure.
    assert (error.std(axis=0) < 1.1 * wider[0, at]).all()
    assert (error.std(axis=0) > 0.3 * wider[0, at]).all()
    assert (wider[:, : len(state.axis_k)] > sd[:, : len(state.axis_k)]).all()


def test_the_state_of_a_mosaic_does_not_tell_what_was_measured(make_tokens) -> None:
    """Shared factors have the same variance from any subset of views: posterior means alone would not."""
    protein = np.arange(200, 600)
    tokens, _, _ = simulate(make_tokens, 600, protein=protein)
    rna = np.arange(400)
    tokens = make_tokens(
        {"rna": tokens.values["rna"][rna], "protein": tokens.values["protein"]},
        {"rna": rna, "protein": protein},
        n=600,
    )
    latent = fit(tokens)
    state = CellState.fit(latent, tokens, {"rna": 1.0, "protein": 1.0})
    assert state.tokens == {}
    new, _, _ = simulate(make_tokens, 3000, seed=3)
    block = next(iter(blocks(new)))
    patterns = (("protein", "rna"), ("rna",), ("protein",))
    raw = [latent.posterior(new, block, pattern=p)[0].std(axis=0) for p in patterns]
    size = [state(latent, new, block, pattern=p)[0].std(axis=0) for p in patterns]
    for i in (1, 2):
        assert size[i][0] == pytest.approx(size[0][0], rel=0.1)
        assert (np.abs(np.log(size[i] / size[0])) < 0.7 * np.abs(np.log(raw[i] / raw[0]))).all()


def test_one_modality_keeps_its_tokens(make_tokens) -> None:
    tokens, _, _ = simulate(make_tokens)
    tokens = make_tokens({"rna": tokens.values["rna"]}, {"rna": np.arange(400)}, n=400)
    latent = fit(tokens)
    state = CellState.fit(latent, tokens, {"rna": 1.0})
    block = next(iter(blocks(tokens)))
    found = state(latent, tokens, block, pattern=("rna",))[0]
    assert found.shape == (400, 6)
    np.testing.assert_allclose(
        found / found.std(), tokens.values["rna"] / tokens.values["rna"].std(), rtol=1e-4, atol=1e-6
    )
