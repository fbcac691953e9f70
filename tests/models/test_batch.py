"""The batch step: takes shifts away, leaves differences in composition, touches nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from omicsfm.models._batch import BatchAligner, stack
from omicsfm.models._cells import blocks
from omicsfm.pp import Tokens

N = 2400


def simulate(make_tokens, *, share: tuple[float, float], shift: float, seed: int = 0, paired: bool = True) -> tuple:
    """Two cell types in two batches, `share` of the first type in each; the second batch is shifted in view 'x'."""
    rng = np.random.default_rng(seed)
    batch = np.repeat(["a", "b"], N // 2)
    kind = np.where(rng.random(N) < np.where(batch == "a", share[0], share[1]), 0, 1)
    centre = {"x": np.array([[4.0, 0, 0, 0], [-4.0, 0, 0, 0]]), "y": np.array([[0, 5.0, 0], [0, -5.0, 0]])}
    values = {m: c[kind] + 0.5 * rng.standard_normal((N, c.shape[1])) for m, c in centre.items()}
    values["x"] += (batch == "b")[:, None] * np.array([0, shift, -shift, 0])
    rows = {m: np.arange(N) for m in values}
    if not paired:
        values = {"x": values["x"]}
        rows = {"x": rows["x"]}
    return make_tokens(values, rows, n=N, batch=batch), kind, batch


def aligned(tokens: Tokens, *, using: BatchAligner | None = None) -> dict[str, np.ndarray]:
    aligner = using or BatchAligner.fit(tokens, n_latent=5, ridge=0.1, seed=0)
    out = {m: np.full(x.shape, np.nan) for m, x in tokens.values.items()}
    for block in blocks(tokens):
        for m, x in aligner(tokens, block).items():
            out[m][block.rows[m]] = x
    return out


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_difference_in_composition_is_left_alone(make_tokens, paired: bool, seed: int) -> None:
    """90/10 against 10/90, no shift. Centring each batch would move each type by 0.8 x 8 / 2 = 3.2."""
    tokens, kind, batch = simulate(make_tokens, share=(0.9, 0.1), shift=0.0, seed=seed, paired=paired)
    found = aligned(tokens)["x"]
    for k in (0, 1):
        for b in ("a", "b"):
            here = (kind == k) & (batch == b)
            moved = found[here].mean(axis=0) - tokens.values["x"][here].mean(axis=0)
            assert np.abs(moved).max() < 0.35, (k, b, moved)


def left_over(found: np.ndarray, kind: np.ndarray, batch: np.ndarray) -> float:
    """Largest distance between the batches' means of one type, on the two shifted axes."""
    means = [[found[(kind == k) & (batch == b)].mean(axis=0)[1:3] for b in ("a", "b")] for k in (0, 1)]
    return max(float(np.abs(a - b).max()) for a, b in means)


@pytest.mark.parametrize("share", [(0.5, 0.5), (0.8, 0.2)])
@pytest.mark.parametrize("shift", [0.25, 1.0])
@pytest.mark.parametrize(("paired", "left"), [(True, 0.35), (False, 0.8)])
def test_a_shift_is_removed(make_tokens, share, shift: float, paired: bool, left: float) -> None:
    """Of up to two standard deviations of a type; a modality that no other confirms keeps more of it."""
    tokens, kind, batch = simulate(make_tokens, share=share, shift=shift, paired=paired)
    found = aligned(tokens)["x"]
    assert left_over(found, kind, batch) < left * shift + 0.05
    assert np.linalg.norm(found[kind == 0].mean(axis=0) - found[kind == 1].mean(axis=0)) > 7.5  # types stay apart


@pytest.mark.xfail(strict=True, reason="a shift as large as the distance between types splits the states by batch")
@pytest.mark.parametrize(("shift", "paired"), [(4.0, True), (4.0, False)])
def test_known_limit_a_shift_that_the_states_follow(make_tokens, shift: float, paired: bool) -> None:
    """Of eight standard deviations of a type (5.7 along both axes, the types 8 apart): it stays."""
    tokens, kind, batch = simulate(make_tokens, share=(0.5, 0.5), shift=shift, paired=paired)
    assert left_over(aligned(tokens)["x"], kind, batch) < 0.5 * shift


def test_a_batch_never_seen_gets_no_offset(make_tokens) -> None:
    tokens, _, _ = simulate(make_tokens, share=(0.5, 0.5), shift=2.0)
    aligner = BatchAligner.fit(tokens, n_latent=5, ridge=0.1, seed=0)
    for unknown in ("new", "all"):
        query = make_tokens(tokens.values, tokens.rows, n=N, batch=np.full(N, unknown))
        for m, x in aligned(query, using=aligner).items():
            np.testing.assert_array_equal(x, tokens.values[m].astype(np.float64))


def test_a_known_batch_gets_its_own_offset_in_a_query(make_tokens) -> None:
    """Also where the other batch is not in the query, and whatever the order of the cells."""
    tokens, _, batch = simulate(make_tokens, share=(0.5, 0.5), shift=2.0)
    aligner = BatchAligner.fit(tokens, n_latent=5, ridge=0.1, seed=0)
    cells = np.flatnonzero(batch == "b")[::-1]
    query = make_tokens(
        {m: x[cells] for m, x in tokens.values.items()},
        {m: np.arange(len(cells)) for m in tokens.values},
        n=len(cells),
        batch=batch[cells],
    )
    whole = aligned(tokens, using=aligner)
    for m, x in aligned(query, using=aligner).items():
        np.testing.assert_allclose(x, whole[m][cells], atol=1e-9)


def test_one_batch_is_the_identity(make_tokens) -> None:
    tokens, _, _ = simulate(make_tokens, share=(0.5, 0.5), shift=0.0)
    tokens = make_tokens(tokens.values, tokens.rows, n=N)
    aligner = BatchAligner.fit(tokens, n_latent=5, ridge=0.1, seed=0)
    assert aligner.batches == []
    for m, x in aligned(tokens, using=aligner).items():
        np.testing.assert_array_equal(x, tokens.values[m].astype(np.float64))


def test_a_batch_of_one_cell_is_hardly_moved(make_tokens) -> None:
    """One cell is no evidence of an offset: the ridge holds it."""
    tokens, _, batch = simulate(make_tokens, share=(0.5, 0.5), shift=0.0)
    batch = batch.astype(object)
    batch[0] = "single"
    values = {m: x.copy() for m, x in tokens.values.items()}
    values["x"][0] += 6.0
    tokens = make_tokens(values, tokens.rows, n=N, batch=batch)
    moved = aligned(tokens)["x"][0] - values["x"][0]
    assert np.abs(moved).max() < 1.0


def test_batches_with_different_modalities(make_tokens) -> None:
    """A mosaic: one batch lacks 'y'. Cells are aligned by the views they have."""
    tokens, kind, batch = simulate(make_tokens, share=(0.5, 0.5), shift=1.0)
    keep = np.flatnonzero(np.arange(N) < 1800)
    tokens = make_tokens(
        {"x": tokens.values["x"], "y": tokens.values["y"][keep]}, {"x": np.arange(N), "y": keep}, n=N, batch=batch
    )
    found = aligned(tokens)
    assert np.isfinite(found["x"]).all()
    assert np.isfinite(found["y"]).all()
    assert left_over(found["x"], kind, batch) < 0.5


def test_identical_cells_and_same_seed(make_tokens) -> None:
    """All cells equal: fewer states than asked for, no warning, nothing moves."""
    values = {"x": np.ones((90, 3)), "y": np.zeros((90, 2))}
    tokens = make_tokens(values, {m: np.arange(90) for m in values}, n=90, batch=np.repeat(["a", "b"], 45))
    for m, x in aligned(tokens).items():
        np.testing.assert_allclose(x, values[m], atol=1e-9)
    other, _, _ = simulate(make_tokens, share=(0.5, 0.5), shift=1.0)
    for m, x in aligned(other).items():
        np.testing.assert_array_equal(x, aligned(other)[m])


def test_stack_follows_the_pattern(make_tokens) -> None:
    tokens, _, _ = simulate(make_tokens, share=(0.5, 0.5), shift=0.0)
    block = next(iter(blocks(tokens)))
    assert block.pattern == ("x", "y")
    np.testing.assert_array_equal(stack(tokens, block)[:, 4:], tokens.values["y"].astype(np.float64))
