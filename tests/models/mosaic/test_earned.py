"""What a correction earned: as brute force says, not by chance, and never by looking at what it learnt from."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from omicsfm.models import Mosaic
from omicsfm.models._correction import Earned, gates, weight_of
from omicsfm.models._correction._earned import WEIGHTS, Z, interval, weigh_match, weigh_tokens


@pytest.mark.parametrize("share", [0.3, 1.0, 3.0, -1.0])
def test_tokens_against_brute_force(share: float) -> None:
    """A correction of `share` of the truth is best applied with weight 1 / share, at most 1, at least 0."""
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(400, 5))
    residual, correction = signal + 0.1 * rng.normal(size=(400, 5)), share * signal
    row = weigh_tokens("a", "b", residual, correction)
    grid = np.linspace(0, 1, 1001)
    error = [((residual - w * correction) ** 2).mean() for w in grid]
    best = grid[int(np.argmin(error))]
    assert row.weight == pytest.approx(best, abs=1e-3)
    assert row.closed_form == pytest.approx((residual**2).mean())
    assert row.corrected == pytest.approx(min(error), rel=1e-3)
    gain = (residual**2).mean(axis=1) - ((residual - row.weight * correction) ** 2).mean(axis=1)
    assert row.gain == pytest.approx(gain.mean())
    assert row.upper - row.gain == pytest.approx(Z * gain.std(ddof=1) / 20)
    assert (row.what, row.source, row.target, row.n) == ("tokens", "a", "b", 400)


def test_match_against_brute_force() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(2, 40, 3))
    noise = 2 * rng.normal(size=(2, 2, 40, 3))
    folds = [(t + n[0], t + n[1], -0.9 * n[0], -0.9 * n[1]) for t, n in zip(truth, noise, strict=True)]

    def foscttm(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        far = np.linalg.norm(a[:, None] - b[None], axis=2)
        own = np.diag(far)
        rows = ((far < own[:, None]).sum(axis=1) + (far < own[None]).sum(axis=0)) / (2 * (len(a) - 1))
        return rows

    (row,) = weigh_match({("x", "y"): folds})
    before = np.concatenate([foscttm(a, b) for a, b, _, _ in folds])
    after = {w: np.concatenate([foscttm(a + w * da, b + w * db) for a, b, da, db in folds]) for w in WEIGHTS}
    assert row.weight == max(after, key=lambda w: (before - after[w]).mean())
    assert row.closed_form == pytest.approx(before.mean())
    assert row.corrected == pytest.approx(after[row.weight].mean())
    assert row.n == 80
    worse = [(a, b, 5 * n[0], 5 * n[1]) for (a, b, _, _), n in zip(folds, noise, strict=True)]
    assert weigh_match({("x", "y"): worse})[0].weight == 0
    # One weight serves all pairs; it is judged on all of them together.
    both = weigh_match({("x", "y"): folds, ("x", "z"): worse})
    assert len({r.weight for r in both}) == 1


def test_a_correction_of_noise_earns_nothing_by_chance() -> None:
    """The weight is chosen on the cells that judge it: that alone must not open the gate."""
    rng = np.random.default_rng(2)
    opened = sum(weigh_tokens("a", "b", *rng.normal(size=(2, 200, 8))).weight > 0 for _ in range(300))
    assert opened <= 3
    matched = 0
    for _ in range(60):
        a, b, da, db = rng.normal(size=(4, 60, 4))
        matched += weigh_match({("a", "b"): [(a, b, da, db)]})[0].weight > 0
    assert matched <= 2


def test_one_cell_says_nothing() -> None:
    assert interval(np.array([5.0])) == (0.0, np.inf)
    assert weigh_tokens("a", "b", np.ones((1, 2)), np.ones((1, 2))).weight == 0.0


def test_weight_of_a_pattern() -> None:
    row = {"n": 1, "closed_form": 1.0, "corrected": 0.5, "gain": 0.5, "lower": 0.1, "upper": 0.9}
    found = gates(
        [
            Earned(what="tokens", source="a", target="c", weight=0.2, **row),
            Earned(what="tokens", source="b", target="c", weight=0.5, **row),
            Earned(what="tokens", source="a+b", target="c", weight=0.9, **row),
            Earned(what="match", source="a", target="b", weight=0.75, **row),
        ]
    )
    assert found == {"a->c": 0.2, "b->c": 0.5, "a+b->c": 0.9, "state": 0.75}
    assert weight_of(found, ("a", "b"), "c") == 0.9
    assert weight_of(found, ("b",), "c") == 0.5
    del found["a+b->c"]
    assert weight_of(found, ("a", "b"), "c") == 0.2  # not measured together: the least
    assert weight_of(found, ("a", "d"), "c") == 0.0
    assert weight_of(found, (), "c") == 0.0


# ---- who saw what


@pytest.fixture(scope="module")
def spied(tools: SimpleNamespace) -> SimpleNamespace:
    """A fit with paired and unpaired, labelled and unlabelled cells, and every training it ran."""
    from omicsfm.models import mosaic
    from omicsfm.models._correction import _fit, _run

    n = 360
    has = {"rna": np.arange(n) % 6 != 1, "protein": np.arange(n) % 6 != 2}
    mdata = tools.crossed(n, has=has)
    known = np.arange(n) % 4 == 0
    mdata.obs["kind"] = mdata.obs["kind"].astype(object).where(known)
    calls, judged, fitted = [], [], []
    with pytest.MonkeyPatch.context() as patch:
        run, read, weigh, fit = _run.run, _fit._read, _fit._weigh, mosaic.fit_correction
        weighing = [False]

        def spy_run(frame, inputs, shared, **more):
            calls.append({"obs": inputs.obs, **more})
            return run(frame, inputs, shared, **more)

        def spy_read(problem, correction, obs, source):
            if weighing[0]:
                judged.append((correction, obs))
            return read(problem, correction, obs, source)

        def spy_weigh(*args):
            weighing[0] = True
            try:
                return weigh(*args)
            finally:
                weighing[0] = False

        def spy_fit(problem, **more):
            fitted.append((problem, fit(problem, **more)))
            return fitted[-1][1]

        patch.setattr(_run, "run", spy_run)
        patch.setattr(_fit, "_read", spy_read)
        patch.setattr(_fit, "_weigh", spy_weigh)
        patch.setattr(mosaic, "fit_correction", spy_fit)
        model = Mosaic(**tools.net, max_epochs=3, label_weight=0.5).fit(mdata)
    paired = np.flatnonzero(has["rna"] & has["protein"])
    return SimpleNamespace(
        calls=calls, judged=judged, fitted=fitted[0], paired=paired, known=known, mdata=mdata, model=model
    )


def test_held_out_cells_are_held_out(spied: SimpleNamespace) -> None:
    folds = [c for c in spied.calls if c["words"].startswith("fold")]
    assert len(folds) == 3
    stopping, judging = [], []
    for call in folds:
        train, stop = call["obs"][call["train_rows"]], call["obs"][call["stop_rows"]]
        held = np.setdiff1d(spied.paired, train)
        assert len(np.intersect1d(train, stop)) == 0
        assert set(stop) < set(held)
        stopping.append(stop)
        judging.append(np.setdiff1d(held, stop))
    everyone = np.sort(np.concatenate(stopping + judging))
    np.testing.assert_array_equal(everyone, spied.paired)  # each once
    # Weighed by the other half alone, each cell by the network of its own fold.
    by_network: dict[int, set] = {}
    for correction, obs in spied.judged:
        by_network.setdefault(id(correction), set()).update(obs.tolist())
    assert list(by_network.values()) == [set(rows.tolist()) for rows in judging]


def test_unlabelled_cells_have_no_label_in_training(spied: SimpleNamespace) -> None:
    for call in spied.calls:
        np.testing.assert_array_equal(call["label"] >= 0, spied.known[call["obs"]])
        # Labelled cells of one modality are learnt from too; unlabelled ones of one modality teach nothing.
        train = call["obs"][call["train_rows"]]
        single = np.setdiff1d(train, spied.paired)
        assert len(single) and spied.known[single].all()


def test_out_of_fold_steps_come_from_networks_that_did_not_see_the_cell(spied: SimpleNamespace) -> None:
    """Each equals what the fold's own network says; the final network, which saw the cell, says otherwise."""
    problem, found = spied.fitted
    obs, step = found.out_of_fold["protein"]
    np.testing.assert_array_equal(obs, spied.paired)
    networks = list({id(c): c for c, _ in spied.judged}.values())
    folds = [np.setdiff1d(spied.paired, c["obs"][c["train_rows"]]) for c in spied.calls[:3]]
    tokens, latent = problem.tokens, problem.latent
    from omicsfm.models._cells import blocks

    for network, held in zip(networks, folds, strict=True):
        for block in blocks(tokens, obs=held):
            said = network(latent, tokens, block.only(("rna",)), ("rna",))[2]["protein"]
            np.testing.assert_allclose(step[np.searchsorted(obs, block.obs)], said, atol=1e-5)
            final = found.correction(latent, tokens, block.only(("rna",)), ("rna",))[2]["protein"]
            assert np.abs(final - said).max() > 1e-3
