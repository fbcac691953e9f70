"""The nearest contexts: alike by their controls, as many as training rows bear out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from omicsfm.models import MatchedContext, NearestContext


def kinds(noise: float, n_kinds: int = 3, n_each: int = 4, n_genes: int = 40, seed: int = 0):
    """Contexts of a few kinds: their controls and effects are alike within a kind."""
    rng = np.random.default_rng(seed)
    names = [f"{kind}{i}" for kind in "abc"[:n_kinds] for i in range(n_each)]
    own = np.repeat(np.arange(n_kinds), n_each)
    controls = rng.normal(size=(n_kinds, n_genes))[own] + 0.1 * rng.normal(size=(len(names), n_genes))
    truth = rng.normal(size=(n_kinds, n_genes))[own]
    effects = truth + noise * rng.normal(size=truth.shape)
    columns = [f"g{i}" for i in range(n_genes)]
    design = pd.DataFrame({"perturbation": "P", "context": names})
    table = pd.DataFrame(controls, index=names, columns=columns)
    return pd.DataFrame(effects, columns=columns), design, table, truth


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_contexts_of_the_same_kind_are_found(noise):
    effects, design, controls, truth = kinds(noise)
    held = np.array([0, 5])
    kept = np.setdiff1d(np.arange(len(design)), held)
    train = (effects.iloc[kept], design.iloc[kept])
    near = NearestContext().fit_effects(*train, controls=controls)
    assert near.n_contexts_ in ((1, 2, 3) if noise == 0 else (2, 3))
    asked = design.iloc[held]
    all_ = MatchedContext().fit_effects(*train, controls=controls).respond(asked).mean
    error, worse = (np.square(m.to_numpy() - truth[held]).mean() for m in (near.respond(asked).mean, all_))
    assert error < 0.3 * worse


def test_where_controls_say_nothing_all_contexts_are_averaged():
    effects, design, controls, _ = kinds(1.0, n_kinds=1, n_each=12)
    rng = np.random.default_rng(1)
    controls = pd.DataFrame(rng.normal(size=controls.shape), controls.index, controls.columns)
    near = NearestContext().fit_effects(effects, design, controls=controls)
    assert near.n_contexts_ in (0, 10)


@pytest.mark.parametrize("given", [True, False])
def test_without_controls_to_compare_it_is_the_matched_context(given):
    effects, design, controls, _ = kinds(0.5)
    some = controls.iloc[:2] if given else None
    asked = pd.DataFrame({"perturbation": ["P", "P", "Q", "P+Q"], "context": ["a0", "new", "a1", "a1"]})
    found = [
        m().fit_effects(effects, design, controls=some).respond(asked).mean for m in (NearestContext, MatchedContext)
    ]
    pd.testing.assert_frame_equal(*found)
