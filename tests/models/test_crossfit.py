"""Held-out predictions are held out: of the cell, of its own modality, and of its batch where there are several."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from omicsfm.models import _crossfit
from omicsfm.models._crossfit import _folds, _held_out, _links_remain, fit_decoder
from omicsfm.models._latent import Latent
from omicsfm.pp import Tokens

N, G = 300, 12


@pytest.fixture(scope="module")
def data(make_tokens) -> tuple[Tokens, np.ndarray]:
    """Two views of two factors; the features are those of the second view."""
    rng, weights = np.random.default_rng(0), np.random.default_rng(7)
    z = rng.standard_normal((N, 2))
    a = z @ weights.standard_normal((2, 5)) * 2 + 0.5 * rng.standard_normal((N, 5))
    b = z @ weights.standard_normal((2, 4)) * 2 + 0.5 * rng.standard_normal((N, 4))
    x_ng = z @ weights.standard_normal((2, G)) + rng.standard_normal((N, G))
    return make_tokens({"a": a, "b": b}, {"a": np.arange(N), "b": np.arange(N)}, n=N), x_ng


def fit(tokens: Tokens) -> Latent:
    return Latent.fit(tokens, n_latent=4, n_landmarks=0, ridge=0.1, seed=0)


def held_out(latent: Latent, tokens: Tokens, x_ng: np.ndarray, folds: list[np.ndarray]) -> _crossfit._HeldOut:
    return _held_out(
        latent,
        tokens,
        "b",
        lambda obs: x_ng[obs],
        np.arange(N),
        np.ones(N, dtype=bool),
        folds,
        ridge=0.1,
        rng=np.random.default_rng(0),
    )


def test_a_cell_is_predicted_without_its_own_modality_and_values(data) -> None:
    tokens, x_ng = data
    latent = fit(tokens)
    folds = list(_folds(None, N, np.random.default_rng(1)))
    wanted = held_out(latent, tokens, x_ng, folds)
    inside = folds[0]
    rng = np.random.default_rng(2)
    values = {m: x.copy() for m, x in tokens.values.items()}
    values["b"][inside] = rng.permutation(values["b"][inside])
    other_x = x_ng.copy()
    other_x[inside] += 5 * rng.standard_normal((len(inside), G))
    found = held_out(latent, replace(tokens, values=values), other_x, folds)
    np.testing.assert_allclose(found.predicted_ng[inside], wanted.predicted_ng[inside], atol=1e-4)
    # The other folds learn from these cells, so there it does matter: the test above can fail.
    assert np.abs(found.predicted_ng[folds[1]] - wanted.predicted_ng[folds[1]]).max() > 1e-2
    # What is compared is what was measured, row by row.
    apart = (found.deviation_ng - wanted.deviation_ng)[inside]
    np.testing.assert_allclose(apart, (other_x - x_ng)[inside], atol=1e-4)


def test_predictions_are_those_of_a_regression_on_the_other_folds(data) -> None:
    tokens, x_ng = data
    found = held_out(fit(tokens), tokens, x_ng, list(_folds(None, N, np.random.default_rng(1))))
    reached = np.corrcoef(found.predicted_ng.ravel(), found.deviation_ng.ravel())[0, 1]
    design = np.column_stack([tokens.values["a"], np.ones(N)])
    in_sample = design @ np.linalg.lstsq(design, x_ng, rcond=None)[0]
    best = np.corrcoef((in_sample - x_ng.mean(axis=0)).ravel(), (x_ng - x_ng.mean(axis=0)).ravel())[0, 1]
    assert best - 0.03 < reached < best


def test_folds_are_batches_or_fifths() -> None:
    batch = np.array(["x", "y", "x", "z", "y"])
    folds = list(_folds(batch, 5, np.random.default_rng(0)))
    assert [set(batch[f]) for f in folds] == [{"x"}, {"y"}, {"z"}]
    fifths = list(_folds(None, 23, np.random.default_rng(0)))
    assert sorted(np.concatenate(fifths)) == list(range(23))
    assert {len(f) for f in fifths} == {4, 5}
    many = list(_folds(np.repeat([f"b{i:02}" for i in range(12)], 2), 24, np.random.default_rng(0)))
    assert len(many) == 5
    assert sorted(np.concatenate(many)) == list(range(24))


def test_links_that_only_one_batch_has(make_tokens) -> None:
    i = np.arange(90)

    def tokens(a: np.ndarray, b: np.ndarray, batch: np.ndarray) -> Tokens:
        return make_tokens(
            {"a": np.zeros((len(a), 2)), "b": np.zeros((len(b), 2))}, {"a": a, "b": b}, n=90, batch=batch
        )

    thirds = np.repeat(["x", "y", "z"], 30)
    assert _links_remain(tokens(i, i[:60], thirds), i[:60])
    assert not _links_remain(tokens(i, i[:30], thirds), i[:30])
    assert not _links_remain(tokens(i, i[:35], thirds), i[:35])  # five cells are no link to learn from


def test_what_does_not_hold_is_not_promised(data) -> None:
    """Features that are noise: the predicted differences shrink to nothing; real ones stay."""
    tokens, x_ng = data
    latent = fit(tokens)
    noise = np.random.default_rng(5).standard_normal((N, G))
    sizes = {}
    for name, values in (("real", x_ng), ("noise", noise)):
        decoder = fit_decoder(latent, tokens, "b", lambda obs, v=values: v[obs], ridge=0.1, level=0.9, seed=0)
        sizes[name] = np.linalg.norm(decoder.loading)
        assert decoder.n_calibration == N
    plain = _crossfit._regress(latent, tokens, "b", lambda obs: noise[obs], np.arange(N), latent.factors).finish()[1]
    assert sizes["noise"] < 0.5 * np.linalg.norm(plain)
    assert sizes["real"] > 10 * sizes["noise"]


@pytest.mark.parametrize("n_batches", [1, 4])
def test_intervals_cover_new_cells_of_a_new_batch(make_tokens, n_batches: int) -> None:
    """Features shift between batches, tokens do not tell: with several paired batches the held-out error holds it."""
    cover = []
    for seed in range(8):
        rng, weights = np.random.default_rng(seed), np.random.default_rng(7)
        n = 400
        z = rng.standard_normal((2 * n, 2))
        a = z @ weights.standard_normal((2, 5)) * 2 + 0.5 * rng.standard_normal((2 * n, 5))
        b = z @ weights.standard_normal((2, 4)) * 2 + 0.5 * rng.standard_normal((2 * n, 4))
        batch = np.concatenate([rng.integers(0, n_batches, n), np.full(n, n_batches)])
        shift = 0.7 * rng.standard_normal((n_batches + 1, 40)) * (n_batches > 1)
        x_ng = z @ weights.standard_normal((2, 40)) + rng.standard_normal((2 * n, 40)) + shift[batch]
        rows = np.arange(n)
        tokens = make_tokens({"a": a[:n], "b": b[:n]}, {"a": rows, "b": rows}, n=n, batch=batch[:n])
        latent = fit(tokens)
        decoder = fit_decoder(latent, tokens, "b", lambda obs, x=x_ng: x[obs], ridge=0.1, level=0.9, seed=0)
        new = make_tokens({"a": a[n:]}, {"a": rows}, n=n, batch=np.full(n, "new"))
        block = next(iter(_crossfit.blocks(new)))
        mean, sd = decoder.predict(*latent.posterior(new, block))
        cover.append((np.abs(x_ng[n:][block.obs] - mean) <= sd * decoder.quantile_g).mean())
    assert 0.86 < np.mean(cover) < 0.94
