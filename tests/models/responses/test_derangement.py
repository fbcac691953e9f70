"""The effect of a wrong target is measured, and never of the right one."""

import numpy as np
import pandas as pd

from omicsfm.models.responses import WrongTarget


def fit(make_design, names, seed=0):
    effects = pd.DataFrame(np.eye(len(names)) * np.arange(1, len(names) + 1))
    return WrongTarget(seed=seed).fit_effects(effects, make_design(*names))


def taken(model, design):
    """Which training row each answer is."""
    found = model.respond(design).mean.to_numpy()
    assert ((found != 0).sum(axis=1) == 1).all()
    return found.argmax(axis=1)


def test_never_its_own_nor_that_of_a_perturbation_with_a_common_member(make_design):
    names = ["A", "B", "C", "D", "A+B", "C+D", "B+C"]
    asked = make_design("A", "B", "C", "D", "A+B", "A+C")
    for seed in range(20):
        wrong = [names[i] for i in taken(fit(make_design, names, seed), asked)]
        assert all(
            not set(a.split("+")) & set(w.split("+"))
            for a, w in zip(asked["perturbation"], wrong, strict=True)
            if a != "A+C"
        )
        assert all("+" not in w for w in wrong[:4])  # single for single
        assert wrong[4] == "C+D"  # the only double without A and B


def test_unseen_targets_get_one_each_and_seeds_differ(make_design):
    names = [f"t{i}" for i in range(30)]
    asked = make_design(*[f"new{i}" for i in range(40)])
    one, again, other = (taken(fit(make_design, names, seed), asked) for seed in (0, 0, 1))
    assert (one == again).all() and (one != other).mean() > 0.8
    assert len(set(one.tolist())) > 15  # spread over the panel


def test_prefers_one_that_was_measured_in_the_context(make_design):
    design = make_design(*[(f"t{i}", "x") for i in range(20)], ("t7", "y"))
    model = WrongTarget().fit_effects(pd.DataFrame(np.arange(42.0).reshape(21, 2)), design)
    found = model.respond(make_design(("new", "y"), ("new2", "y"))).mean.to_numpy()
    assert np.allclose(found, [[40, 41], [40, 41]])


def test_alone_it_is_the_mean(make_design):
    model = WrongTarget().fit_effects(pd.DataFrame([[1.0, 2.0]]), make_design("A"))
    assert np.allclose(model.respond(make_design("A", "B")).mean, [[1, 2], [1, 2]])
