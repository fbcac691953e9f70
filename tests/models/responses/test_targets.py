"""Regressions on targets against scikit-learn and explicit loops."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import RidgeCV
from sklearn.metrics.pairwise import cosine_similarity

from omicsfm import InputError
from omicsfm.models.responses import BilinearLM, KNNPrior, MeanResponse, RandomForestGO, RidgePrior
from omicsfm.models.responses._components import top_svd
from omicsfm.models.responses.random_forest import Forest
from omicsfm.models.responses.ridge_prior import PENALTIES, fit_dual_ridge

PRIOR_MODELS = (KNNPrior, RidgePrior, RandomForestGO)


def features(priors, targets):
    """Concatenated priors at unit norm, zeros where unknown."""
    blocks = []
    for name in sorted(priors):
        block = np.zeros((len(targets), priors[name].shape[1]))
        for i, target in enumerate(targets):
            if target in priors[name].index:
                row = priors[name].loc[target].to_numpy()
                block[i] = row / np.linalg.norm(row)
        blocks.append(block)
    return np.hstack(blocks)


def answer(model, design):
    return model.respond(design).mean.to_numpy()


@pytest.fixture
def known(make_screen):
    """A screen, and which of its targets some prior knows (g3 is in none, g5 in one)."""
    effects, design, priors = make_screen()
    kept = [i for i, name in enumerate(design["perturbation"]) if name != "g3"]
    return effects, design, priors, kept, features(priors, design["perturbation"].iloc[kept].tolist())


def test_knn_is_the_mean_of_the_nearest_by_cosine(known, make_design):
    effects, design, priors, kept, x = known
    model = KNNPrior(k=4).fit_effects(effects, design, priors=priors)
    for target in ("new1", "new3", "g5"):
        similarity = cosine_similarity(features(priors, [target]), x)[0]
        nearest = np.argsort(-similarity)[:4]
        wanted = effects.to_numpy()[kept][nearest].mean(axis=0)
        assert np.allclose(answer(model, make_design(target)), wanted)
    everyone = KNNPrior(k=99).fit_effects(effects, design, priors=priors)
    assert np.allclose(answer(everyone, make_design("new1")), effects.to_numpy()[kept].mean(axis=0))


def test_knn_does_not_favour_targets_that_more_priors_know(make_design):
    """A, in one prior, has cosine .9 / sqrt(2) with the query; B, in both, (.5 + .5) / 2; C and D have none."""
    half, most = np.sqrt(0.75), np.sqrt(1 - 0.9**2)
    priors = {
        "a": pd.DataFrame([[0.9, most], [0.5, half], [0, 1], [0, 1], [1, 0]], index=["A", "B", "C", "D", "new"]),
        "b": pd.DataFrame([[0.5, half], [0, 1], [0, 1], [1, 0]], index=["B", "C", "D", "new"]),
    }
    model = KNNPrior(k=1).fit_effects(pd.DataFrame(np.eye(4)), make_design("A", "B", "C", "D"), priors=priors)
    assert np.allclose(answer(model, make_design("new")), [[1, 0, 0, 0]])


def test_ridge_leaves_one_out_exactly(known):
    effects, _, _, kept, x = known
    y = effects.to_numpy()[kept]
    fit = fit_dual_ridge(x, y)
    centred = x - x.mean(axis=0)
    alphas = PENALTIES * np.linalg.eigvalsh(centred @ centred.T).mean()
    errors = []
    for alpha in alphas:
        total = 0.0
        for i in range(len(x)):
            rest = np.arange(len(x)) != i
            mean_x, mean_y = x[rest].mean(axis=0), y[rest].mean(axis=0)
            regression = KernelRidge(alpha=alpha).fit(x[rest] - mean_x, y[rest] - mean_y)
            total += np.square(regression.predict([x[i] - mean_x])[0] + mean_y - y[i]).sum()
        errors.append(total)
    assert fit.penalty == pytest.approx(alphas[int(np.argmin(errors))])
    assert 0 < int(np.argmin(errors)) < len(alphas) - 1  # else the choice shows nothing


def test_ridge_prior_is_scikit_learns(known, make_design):
    effects, design, priors, kept, x = known
    y = effects.to_numpy()[kept]
    centred = x - x.mean(axis=0)
    reference = RidgeCV(alphas=PENALTIES * np.linalg.eigvalsh(centred @ centred.T).mean()).fit(x, y)
    model = RidgePrior().fit_effects(effects, design, priors=priors)
    assert model.anywhere_.penalty == pytest.approx(reference.alpha_)
    asked = ["new1", "new4", "g5"]
    assert np.allclose(answer(model, make_design(*asked)), reference.predict(features(priors, asked)))


def test_useless_priors_give_the_mean(make_design):
    rng = np.random.default_rng(0)
    names = [f"t{i}" for i in range(60)]
    effects = pd.DataFrame(rng.normal(size=(60, 200)) + 1)
    priors = {"noise": pd.DataFrame(rng.normal(size=(61, 10)), index=[*names, "new"])}
    model = RidgePrior().fit_effects(effects, make_design(*names), priors=priors)
    assert np.abs(answer(model, make_design("new")) - effects.to_numpy().mean(axis=0)).max() < 0.02


def test_forest_is_scikit_learns(known, make_design):
    effects, design, priors, kept, x = known
    order = np.argsort(design["perturbation"].to_numpy(dtype=str)[kept])  # trees draw rows in the order of names
    x, y = x[order], effects.to_numpy()[kept][order]
    model = RandomForestGO(n_trees=20, n_inputs=3, n_components=4, seed=7).fit_effects(effects, design, priors=priors)
    x_axes = top_svd(x - x.mean(axis=0), 3)[1]
    y_axes = top_svd(y - y.mean(axis=0), 4)[1]
    forest = RandomForestRegressor(20, random_state=7).fit(
        ((x - x.mean(axis=0)) @ x_axes.T).astype(np.float32), (y - y.mean(axis=0)) @ y_axes.T
    )
    asked = ["new1", "new2", "g5", "g0"]
    inputs = ((features(priors, asked) - x.mean(axis=0)) @ x_axes.T).astype(np.float32)
    wanted = forest.predict(inputs) @ y_axes + y.mean(axis=0)
    assert np.allclose(answer(model, make_design(*asked)), wanted)


@pytest.mark.parametrize(("value", "threshold", "leaf"), [(0.5, 0.5, 1), (0.1, 0.1, 2)])
def test_trees_compare_single_precision_with_double(value, threshold, leaf):
    """As scikit-learn does: equal goes left, and 0.1 in single precision is more than 0.1."""
    leaves = np.array([1, -1, -1]), np.array([2, -1, -1]), np.array([0, -2, -2])
    one = np.ones((1, 1))
    forest = Forest(
        np.array([0]),
        *leaves,
        np.array([threshold, -2, -2]),
        np.array([[0.0], [1], [2]]),
        np.zeros(1),
        one,
        np.zeros(1),
        one,
    )
    assert forest(np.array([[value]])) == leaf


def test_forests_of_two_seeds_differ(known, make_design):
    effects, design, priors, *_ = known
    one, other = (RandomForestGO(n_trees=3, seed=s).fit_effects(effects, design, priors=priors) for s in (0, 1))
    assert not np.allclose(answer(one, make_design("new1")), answer(other, make_design("new1")))


def test_bilinear_is_the_closed_form(make_screen, make_design):
    """vec(W) solves kron(P'P + l I, G'G + l I) vec(W) = vec(G' Y P)."""
    effects, design, _ = make_screen(8, 20)
    y = effects.to_numpy().T
    columns = y - y.mean(axis=0)
    u, s, _ = np.linalg.svd(columns, full_matrices=False)
    g = u[:, :3] * s[:3]
    p, center = g[:8], y.mean(axis=1)
    eye = 0.1 * np.eye(3)
    left = np.kron(p.T @ p + eye, g.T @ g + eye)
    w = np.linalg.solve(left, (g.T @ (y - center[:, None]) @ p).ravel(order="F")).reshape(3, 3, order="F")
    model = BilinearLM(n_components=3).fit_effects(effects, design)
    wanted = (g @ w @ g[[1, 15, 19]].T).T + center
    assert np.allclose(answer(model, make_design("g1", "g15", "g19")), wanted)


def test_bilinear_knows_only_genes(make_screen, make_design):
    effects, design, _ = make_screen(8, 20)
    model = BilinearLM().fit_effects(effects, design)
    assert np.allclose(answer(model, make_design("drug")), effects.to_numpy().mean(axis=0))
    other = design.assign(perturbation=[f"drug{i}" for i in range(8)])
    none = BilinearLM().fit_effects(effects, other)
    assert np.allclose(answer(none, make_design("g1", "drug1")), effects.to_numpy().mean(axis=0))


@pytest.mark.parametrize("model", PRIOR_MODELS)
def test_target_without_priors_has_the_mean_and_no_priors_at_all_is_an_error(model, known, make_design):
    effects, design, priors, *_ = known
    fitted = model().fit_effects(effects, design, priors=priors)
    mean = MeanResponse().fit_effects(effects, design)
    for target in ("never", "g3"):
        assert np.allclose(answer(fitted, make_design(target)), answer(mean, make_design(target)))
    with pytest.raises(InputError, match=rf"{model.__name__}.fit: priors.*Fix: ofm.pp.add_priors"):
        model().fit_effects(effects, design)


@pytest.mark.parametrize("model", [*PRIOR_MODELS, BilinearLM])
def test_combination_is_the_sum_of_its_members(model, known, make_design):
    effects, design, priors, *_ = known
    fitted = model().fit_effects(effects, design, priors=priors)
    parts = answer(fitted, make_design("g20" if model is BilinearLM else "new1", "never", "g2"))
    name = "g20" if model is BilinearLM else "new1"
    assert np.allclose(answer(fitted, make_design(f"never+g2+{name}")), parts.sum(axis=0))


@pytest.mark.parametrize("model", [*PRIOR_MODELS, BilinearLM])
def test_each_context_has_its_own_fit_and_a_new_one_that_of_the_means(model, make_screen, make_design):
    effects, design, priors = make_screen(contexts=("x", "y"))
    fitted = model().fit_effects(effects, design, priors=priors)
    target = "g20" if model is BilinearLM else "new1"
    here = (design["context"] == "y").to_numpy()
    alone = model().fit_effects(effects[here], design[here], priors=priors)
    assert np.allclose(answer(fitted, make_design((target, "y"))), answer(alone, make_design((target, "y"))))
    averaged = (effects[here].to_numpy() + effects[~here].to_numpy()) / 2
    both = model().fit_effects(pd.DataFrame(averaged, columns=effects.columns), design[here], priors=priors)
    assert np.allclose(answer(fitted, make_design((target, "new"))), answer(both, make_design((target, "new"))))


@pytest.mark.parametrize("model", PRIOR_MODELS)
def test_context_with_two_targets_is_answered_by_the_means(model, make_screen, make_design):
    effects, design, priors = make_screen(contexts=("x", "y"))
    few = (design["context"] == "x").to_numpy() | design["perturbation"].isin(["g1", "g2"]).to_numpy()
    fitted = model().fit_effects(effects[few], design[few], priors=priors)
    assert sorted(fitted.fits_) == ["x"]
    assert np.allclose(answer(fitted, make_design(("new1", "y"))), answer(fitted, make_design(("new1", "unseen"))))
