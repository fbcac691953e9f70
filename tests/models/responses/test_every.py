"""What every baseline must keep to."""

import inspect

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import omicsfm as ofm
from omicsfm.models import responses
from omicsfm.models._responder import Responds
from omicsfm.models.responses import MeanResponse

MODELS = [getattr(responses, name) for name in responses.__all__]
FAST = {responses.RandomForestGO: {"n_trees": 5}}
ASKED = [
    ("g1", "x"),
    ("control", "x"),
    ("g2+g1", "y"),
    ("never", "x"),
    ("new1+never", "z"),
    ("g0+g5", "y"),
    ("new2", "z"),
]


def doubles(make_screen, make_design):
    """A screen of singles in two contexts and three doubles in one."""
    effects, design, priors = make_screen(contexts=("x", "y"))
    pairs = make_design(("g0+g1", "x"), ("g2+g3", "x"), ("g4+g5", "x"))
    more = pd.DataFrame(np.random.default_rng(1).normal(size=(3, effects.shape[1])), columns=effects.columns)
    return pd.concat([effects, more], ignore_index=True), pd.concat([design, pairs], ignore_index=True), priors


@pytest.fixture(params=MODELS, ids=lambda model: model.__name__)
def model(request):
    return request.param


@pytest.fixture
def fitted(model, make_screen, make_design):
    effects, design, priors = doubles(make_screen, make_design)
    return model(seed=3, **FAST.get(model, {})).fit_effects(effects, design, priors=priors)


def answer(fitted, design):
    return fitted.respond(design).mean


def test_control_does_nothing_and_rows_stay_in_order(fitted, make_design):
    design = make_design(*ASKED).set_axis(list("gfedcba"), axis=0)
    found = fitted.respond(design)
    assert isinstance(fitted, Responds)
    assert found.mean.index.equals(design.index) and found.mean.columns.equals(fitted.genes_)
    assert (found.mean.loc["f"] == 0).all() and np.isfinite(found.mean.to_numpy()).all()
    turned = answer(fitted, design.iloc[::-1])
    assert np.allclose(turned.loc[design.index], found.mean, rtol=0, atol=1e-12)
    for label in design.index:  # and no row depends on which others are asked
        assert np.allclose(answer(fitted, design.loc[[label]]), found.mean.loc[[label]], rtol=0, atol=1e-12)


def test_order_of_members_does_not_matter(fitted, make_design):
    one, other = (answer(fitted, make_design((name, "y"))) for name in ("g7+g6", "g6+g7"))
    assert one.equals(other)


def test_order_of_training_rows_does_not_matter(model, make_screen, make_design):
    effects, design, priors = doubles(make_screen, make_design)
    order = np.random.default_rng(5).permutation(len(design))
    there = model(seed=3, **FAST.get(model, {})).fit_effects(effects, design, priors=priors)
    turned = model(seed=3, **FAST.get(model, {})).fit_effects(effects.iloc[order], design.iloc[order], priors=priors)
    assert np.allclose(answer(there, make_design(*ASKED)), answer(turned, make_design(*ASKED)), atol=1e-6)


def test_same_seed_same_bits(model, make_screen, make_design):
    effects, design, priors = doubles(make_screen, make_design)
    first = model(seed=3, **FAST.get(model, {})).fit_effects(effects, design, priors=priors)
    again = clone(first).fit_effects(effects, design, priors=priors)
    assert answer(first, make_design(*ASKED)).equals(answer(again, make_design(*ASKED)))


def test_saved_and_loaded_is_the_same_to_the_bit(fitted, make_design, tmp_path):
    loaded = ofm.load(fitted.save(tmp_path / "model"))
    assert type(loaded) is type(fitted) and loaded.get_params() == fitted.get_params()
    before, after = fitted.respond(make_design(*ASKED)), loaded.respond(make_design(*ASKED))
    assert before.mean.equals(after.mean) and before.sd.equals(after.sd)


def test_unfitted_is_not_saved(model, tmp_path):
    with pytest.raises(NotFittedError):
        model().save(tmp_path / "model")


def test_every_model_takes_a_seed_and_says_so(model):
    assert "seed" in inspect.signature(model).parameters and "seed" in model.__doc__
    assert all(p.kind is p.KEYWORD_ONLY for p in inspect.signature(model).parameters.values())


def test_few_rows_are_enough(model, make_design):
    prior = {"p": pd.DataFrame(np.eye(3), index=["A", "B", "C"])}
    for names in (["A"], ["A+B"], ["A", "B"], ["A", "B", "C"]):
        effects = pd.DataFrame(np.ones((len(names), 4)))
        one = model(**FAST.get(model, {})).fit_effects(effects, make_design(*names), priors=prior)
        assert np.isfinite(answer(one, make_design("A", "C", "A+C", "Z")).to_numpy()).all(), names


def test_a_held_out_target_is_not_known_but_from_its_priors(model, make_screen, make_design):
    """Rows outside of the training part cannot matter; what was asked may not change what was learnt."""
    effects, design, priors = doubles(make_screen, make_design)
    kept = ~design["perturbation"].str.split("+").apply(lambda parts: "g4" in parts)
    found = model(seed=1, **FAST.get(model, {})).fit_effects(effects[kept], design[kept], priors=priors)
    without = {name: table.drop(index="g4") for name, table in priors.items()}
    blind = model(seed=1, **FAST.get(model, {})).fit_effects(effects[kept], design[kept], priors=without)
    asked = make_design(("g4", "x"), ("g4", "y"))
    if model in (responses.KNNPrior, responses.RidgePrior, responses.RandomForestGO):
        assert np.allclose(
            answer(blind, asked),
            answer(
                MeanResponse().fit_effects(effects[kept & (design.index < 24)], design[kept & (design.index < 24)]),
                asked,
            ),
        )
        assert not np.allclose(answer(found, asked), answer(blind, asked))
    else:
        assert answer(found, asked).equals(answer(blind, asked))
