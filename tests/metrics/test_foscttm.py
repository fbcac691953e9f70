from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ortho_group

import omicsfm.metrics._foscttm as module
from omicsfm import InputError
from omicsfm.metrics import foscttm


def brute(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    n = len(x)
    out = np.zeros(n)
    for a, b in ((x, y), (y, x)):
        for i in range(n):
            far = np.square(a[i] - b).sum(axis=1)
            others = np.delete(far, i)
            out[i] += ((others < far[i]).sum() + 0.5 * (others == far[i]).sum()) / (n - 1) / 2
    return out


def pair(n: int, d: int, *, seed: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return x, x + noise * rng.normal(size=(n, d))


@given(st.integers(2, 40), st.integers(1, 8), st.integers(0, 99))
def test_parity_with_brute_force(n, d, seed):
    x, y = pair(n, d, seed=seed)
    np.testing.assert_allclose(foscttm(x, y), brute(x, y), atol=1e-12)


@given(st.integers(2, 30), st.integers(1, 3), st.integers(0, 99))
def test_parity_with_brute_force_with_many_ties(n, d, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(-2, 3, (n, d)), rng.integers(-2, 3, (n, d))
    np.testing.assert_allclose(foscttm(x, y), brute(x, y), atol=1e-12)


@given(st.integers(2, 40), st.integers(1, 8), st.integers(0, 99))
def test_invariant_to_joint_rotation_shift_and_scale(n, d, seed):
    x, y = pair(n, d, seed=seed)
    turn = ortho_group.rvs(d, random_state=seed) if d > 1 else np.array([[-1.0]])
    np.testing.assert_allclose(foscttm(3 * x @ turn + 100, 3 * y @ turn + 100), foscttm(x, y), atol=1e-12)


@given(st.integers(2, 40), st.integers(0, 99))
def test_bounds_and_symmetry(n, seed):
    x, y = pair(n, 3, seed=seed)
    values = foscttm(x, y)
    assert values.min() >= 0
    assert values.max() <= 1
    np.testing.assert_array_equal(foscttm(y, x), values)


def test_known_values():
    x, _ = pair(50, 4, seed=0)
    assert (foscttm(x, x) == 0).all()
    assert (foscttm(np.zeros((50, 4)), np.zeros((50, 4))) == 0.5).all()  # a collapsed embedding is chance, not 0
    line = np.arange(2.0)[:, None]
    assert (foscttm(line, line[::-1]) == 1).all()
    far, _ = pair(2000, 5, seed=1)
    assert foscttm(far, pair(2000, 5, seed=2)[0]).mean() == pytest.approx(0.5, abs=0.03)


def test_rounding_does_not_break_ties():
    x = np.full((40, 7), 0.1) * np.linspace(1, 3, 7)  # one point, at which the expanded square is not exactly 0
    assert (foscttm(x + 1e3, x + 1e3) == 0.5).all()


def test_chunks_change_nothing(monkeypatch):
    x, y = pair(101, 5, seed=0)
    whole = foscttm(x, y)
    monkeypatch.setattr(module, "_CHUNK", 700)
    np.testing.assert_array_equal(foscttm(x, y), whole)


def test_memory_grows_with_n_not_with_n_squared():
    import tracemalloc

    x, y = pair(6000, 2, seed=0)
    tracemalloc.start()
    foscttm(x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6  # the whole matrix alone is 288 MB


def test_one_cell_is_an_error():
    with pytest.raises(InputError, match=r"at least 2 cells are needed, found shape \(1, 3\)"):
        foscttm(np.zeros((1, 3)), np.zeros((1, 3)))
