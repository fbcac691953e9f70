"""Labels: calibrated probabilities, any number of classes, cells that never straddle a fold, and not knowing."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from omicsfm.models import _labels
from omicsfm.models._labels import LabelHead


def simulate(
    n: int, *, n_classes: int = 4, k: int = 5, spread: float = 1.5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping Gaussian classes: even the best classifier errs and knows it."""
    rng = np.random.default_rng(seed)
    centre = np.random.default_rng(99).normal(0, 1.2, (n_classes, k))
    kind = rng.integers(0, n_classes, n)
    return centre[kind] + spread * rng.standard_normal((n, k)) / np.sqrt(2), np.array(
        [f"t{c}" for c in kind], dtype=object
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_probabilities_are_calibrated(seed: int) -> None:
    z, label = simulate(1500, seed=seed)
    head = LabelHead.fit(z, label, np.arange(len(z)), seed=0)
    new, truth = simulate(6000, seed=seed + 10)
    found = head.predict(new, min_confidence=0.5)
    right = (found["label"] == truth).to_numpy()
    edges = np.quantile(found["confidence"], np.linspace(0, 1, 11))
    bin_n = np.clip(np.searchsorted(edges, found["confidence"]) - 1, 0, 9)
    error = sum(
        (bin_n == b).mean() * abs(right[bin_n == b].mean() - found["confidence"][bin_n == b].mean()) for b in range(10)
    )
    assert 0.6 < right.mean() < 0.95
    assert error < 0.03


def test_overconfidence_on_few_cells_is_tempered() -> None:
    """Eighty cells in 30 dimensions: the plain regression is too sure of itself."""
    z, label = simulate(80, k=30, spread=6.0)
    new, truth = simulate(4000, k=30, spread=6.0, seed=5)
    head = LabelHead.fit(z, label, np.arange(80), seed=0)
    plain = LogisticRegression(max_iter=500).fit(z, label)
    sure = plain.predict_proba(new).max(axis=1)
    found = head.predict(new, min_confidence=0.5)
    right = (found["label"] == truth).to_numpy()
    assert head.temperature > 1
    assert abs(found["confidence"].mean() - right.mean()) < 0.5 * abs(sure.mean() - right.mean())


def test_two_classes_equal_scikit_learn() -> None:
    z, label = simulate(400, n_classes=2)
    head = LabelHead.fit(z, label, np.arange(400), seed=0)
    peer = LogisticRegression(max_iter=500).fit(z, label)
    found = head.predict(z, min_confidence=0.0)
    np.testing.assert_array_equal(found["label"].to_numpy(), peer.predict(z))
    logit = peer.decision_function(z) / head.temperature
    np.testing.assert_allclose(found["confidence"], 1 / (1 + np.exp(-np.abs(logit))), atol=1e-6)


def test_one_class_is_certain_of_its_own_and_unsure_far_away() -> None:
    z, _ = simulate(100)
    head = LabelHead.fit(z, np.full(100, "only", dtype=object), np.arange(100), seed=0)
    found = head.predict(np.vstack([z.mean(axis=0), z.mean(axis=0) + 50]), min_confidence=0.5)
    assert (found["label"] == "only").all()
    np.testing.assert_allclose(found["confidence"], 1)
    assert list(found["unknown"]) == [False, True]


def test_a_class_of_one_cell() -> None:
    """It cannot be in both train and test: no temperature, no crash; the other classes are predicted as before."""
    z, label = simulate(200)
    without = LabelHead.fit(z, label, np.arange(200), seed=0).predict(z, min_confidence=0.0)
    z, label = np.vstack([z, np.full((1, 5), 9.0)]), np.append(label, "rare")
    head = LabelHead.fit(z, label, np.arange(201), seed=0)
    found = head.predict(z, min_confidence=0.0)
    assert found["label"].iloc[-1] == "rare"
    assert np.isfinite(found[["confidence", "novelty"]].to_numpy(dtype=float)).all()
    assert (found["label"].iloc[:200] == without["label"]).mean() > 0.95


def test_a_class_of_two_cells_and_a_fold_of_each() -> None:
    z, label = simulate(200)
    label[:2] = "rare"
    z[:2] += 8
    found = LabelHead.fit(z, label, np.arange(200), seed=0).predict(z, min_confidence=0.0)
    assert list(found["label"].iloc[:2]) == ["rare", "rare"]


def test_rows_of_a_cell_stay_in_one_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell comes once with all its modalities and once with each alone; its other rows would give it away."""
    seen = []

    def spy(model, z_nk, code, *, cv, method):
        seen.extend(cv)
        return original(model, z_nk, code, cv=cv, method=method)

    original = _labels.cross_val_predict
    monkeypatch.setattr(_labels, "cross_val_predict", spy)
    z, label = simulate(300)
    cell = np.random.default_rng(0).permutation(np.tile(np.arange(100), 3))
    LabelHead.fit(z, label[cell], cell, seed=0)
    assert len(seen) == 5
    for train, test in seen:
        assert not set(cell[train]) & set(cell[test])
        assert len(train) + len(test) == 300


def test_repeated_rows_do_not_make_it_surer() -> None:
    """Three identical rows a cell: the temperature must be that of unseen cells."""
    z, label = simulate(80, k=20, spread=3.0)
    once = LabelHead.fit(z, label, np.arange(80), seed=0)
    thrice = LabelHead.fit(np.tile(z, (3, 1)), np.tile(label, 3), np.tile(np.arange(80), 3), seed=0)
    leaky = LabelHead.fit(np.tile(z, (3, 1)), np.tile(label, 3), np.arange(240), seed=0)
    assert thrice.temperature > 0.9 * once.temperature
    assert thrice.temperature > 1.5 * leaky.temperature


def test_a_held_out_class_is_unknown_more_often() -> None:
    rng = np.random.default_rng(0)
    centre = np.eye(4, 6) * 8
    kind = rng.integers(0, 4, 1200)
    z = centre[kind] + rng.standard_normal((1200, 6))
    known = kind != 3
    head = LabelHead.fit(
        z[known][:600], np.array([f"t{c}" for c in kind[known][:600]], dtype=object), np.arange(600), seed=0
    )
    fresh = head.predict(z[known][600:], min_confidence=0.5)
    novel = head.predict(z[~known], min_confidence=0.5)
    assert fresh["unknown"].mean() < 0.05
    assert novel["unknown"].mean() > 0.9
    assert novel["novelty"].median() > 1 > fresh["novelty"].median()


def test_min_confidence_and_text_labels() -> None:
    z, label = simulate(300)
    head = LabelHead.fit(z, label, np.arange(300), seed=0)
    strict, loose = head.predict(z, min_confidence=0.99), head.predict(z, min_confidence=0.0)
    assert strict["unknown"].sum() > loose["unknown"].sum()
    np.testing.assert_array_equal(strict["label"].to_numpy(), loose["label"].to_numpy())
    assert set(loose["label"]) == {"t0", "t1", "t2", "t3"}


def test_same_seed_same_bits_and_bounded_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_labels, "MAX_ROWS", 100)
    z, label = simulate(400)
    a, b = (LabelHead.fit(z, label, np.arange(400), seed=1) for _ in range(2))
    assert np.array_equal(a.coefficient, b.coefficient)
    assert a.temperature == b.temperature


def test_a_class_with_one_cell_does_not_make_its_neighbours_unknown() -> None:
    rng = np.random.default_rng(0)
    z = np.vstack([rng.standard_normal((100, 3)), rng.standard_normal((100, 3)) + 6, [[0.0, 12.0, 0.0]]])
    label = np.array(["a"] * 100 + ["b"] * 100 + ["rare"], dtype=object)
    head = LabelHead.fit(z, label, np.arange(201), seed=0)
    near = np.array([[0.3, 12.2, -0.2], [-0.5, 11.6, 0.4]])
    found = head.predict(near, min_confidence=0.0)
    assert not found["unknown"].any()
    assert head.predict(near + 40, min_confidence=0.0)["unknown"].all()
