"""BatchMoments: what is selected depends on cells inside batches, not on blocks or offsets."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from omicsfm.pp import BatchMoments


def simulate(n: int = 200, n_vars: int = 150, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The first 20 features vary between two cell types; the rest is noise, with means on both sides of theirs."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, n)
    x_ng = np.abs(rng.normal(rng.uniform(1, 6, n_vars), 0.3, (n, n_vars)))
    x_ng[:, :20] += kind[:, None] * 2.0
    return x_ng, rng.choice(np.array(["a", "b", "c"]), n)


def selected(x_ng: object, batch: np.ndarray, k: int | None, edges: list[int] | None = None) -> np.ndarray:
    moments = BatchMoments()
    for i, j in pairwise([0, *sorted(set(edges or [])), x_ng.shape[0]]):
        moments.update(x_ng[i:j], batch[i:j])
    return moments.select(k)


def test_finds_what_varies_inside_batches() -> None:
    x_ng, batch = simulate()
    np.testing.assert_array_equal(selected(x_ng, batch, 20), np.arange(20))
    np.testing.assert_array_equal(selected(sp.csr_matrix(x_ng), batch, 20), np.arange(20))


def test_is_not_driven_by_a_batch_offset() -> None:
    """Features 20-59 differ between batches more than anything else; inside a batch they say nothing."""
    x_ng, batch = simulate()
    x_ng[:, 20:60] += (batch == "b")[:, None] * 50.0
    x_ng[:, 60] = (batch == "b") * 9.0  # constant in every batch
    np.testing.assert_array_equal(selected(x_ng, batch, 20), np.arange(20))
    assert 60 not in selected(x_ng, batch, None)


@settings(max_examples=20)
@given(edges=st.lists(st.integers(1, 199), max_size=6), sparse=st.booleans())
def test_block_splits_do_not_matter(edges: list[int], sparse: bool) -> None:
    x_ng, batch = simulate(seed=5)
    x = sp.csr_matrix(x_ng) if sparse else x_ng
    np.testing.assert_array_equal(selected(x, batch, 30, edges), selected(x_ng, batch, 30))


def test_the_batch_with_most_cells_does_not_decide_alone() -> None:
    """Variable in two small batches of three beats variable in one large one."""
    rng = np.random.default_rng(0)
    batch = np.repeat(["big", "s1", "s2"], [500, 60, 60])
    x_ng = np.abs(rng.normal(rng.uniform(1, 6, 120), 0.3, (620, 120)))
    x_ng[:500, :10] += rng.integers(0, 2, (500, 1)) * 2.0
    x_ng[500:, 10:20] += rng.integers(0, 2, (120, 1)) * 2.0
    np.testing.assert_array_equal(selected(x_ng, batch, 10), np.arange(10, 20))


def test_all_informative_where_there_is_room() -> None:
    x_ng, batch = simulate()
    x_ng[:, 7] = 0.1
    for k in (None, 149, 5000):
        np.testing.assert_array_equal(selected(x_ng, batch, k), np.setdiff1d(np.arange(150), [7]))


def test_features_that_a_batch_lacks_give_way() -> None:
    """Features outside of one batch's panel are used only if too few remain without them."""
    x_ng, batch = simulate()
    x_ng[np.ix_(batch == "c", np.arange(20))] = np.nan
    assert selected(x_ng, batch, 40).min() >= 20
    narrow = x_ng[:, :60]  # 40 common features are not enough for a token
    assert np.array_equal(selected(narrow, batch, 50), np.arange(60))


@pytest.mark.parametrize("value", [0.0, 0.1, 1e8])
def test_rounding_is_not_variance(value: float) -> None:
    x_ng = np.full((60, 3), value)
    x_ng[:, 2] += np.arange(60) % 2 * max(value, 1.0)
    np.testing.assert_array_equal(selected(x_ng, np.full(60, "a"), None), [2])
