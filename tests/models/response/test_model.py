"""The response model as a whole, on screens of which every true effect is known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.stats import spearmanr
from sklearn.exceptions import NotFittedError

import omicsfm as ofm
from omicsfm import _compat, pp
from omicsfm.models import ResponseModel
from omicsfm.models._response import _simple
from omicsfm.models._response._elsewhere import effects_elsewhere, kernels
from omicsfm.models._response._kinds import KNOWN, rehearsals
from omicsfm.models._response._process import condition

TABLES = ("mean", "sd", "lower", "upper")


def fit(effects, design, **told):
    return ResponseModel().fit_effects(effects, design, **told)


def error(response, truth):
    return float(np.square(response.mean.to_numpy() - truth.to_numpy()).sum())


def assert_alike(one, other, tolerance=1e-6, unit=1.0):
    for name in TABLES:
        a, b = getattr(one, name), getattr(other, name)
        np.testing.assert_allclose(b[a.columns] / unit, a, atol=tolerance * float(np.abs(a).to_numpy().max()))
    np.testing.assert_allclose(other.reliability, one.reliability, atol=max(tolerance, 1e-9))


@pytest.fixture(scope="module")
def two_way(simulate, grid):
    """Two contexts, combinations, a prior; some of the grid was never measured."""
    screen = simulate(22, ("c1", "c2"), own=0.3)
    targets = screen.z.index
    pairs = [f"{a}+{b}" for a, b in zip(targets[:6], targets[6:12], strict=True)]
    design = pd.concat([grid(targets[:18], ("c1",)), grid(targets[:10], ("c2",)), grid(pairs[:5])], ignore_index=True)
    effects = screen.measure(design)
    asked = pd.concat(
        [
            grid(targets[18:], ("c1", "c2")),
            grid(targets[10:18], ("c2",)),
            grid(pairs[5:], ("c1", "c2")),
            grid([pairs[0]], ("c2",)),
            grid([targets[0], "nobody", f"{targets[0]}+nobody"], ("new",)),
        ],
        ignore_index=True,
    )
    return screen, effects, design, asked, fit(effects, design, priors={"z": screen.z})


# -- what it learns


def test_a_target_known_elsewhere_is_predicted_better_than_by_its_effect_there(simulate, grid):
    model, matched = 0.0, 0.0
    for seed in range(2):
        screen = simulate(26, ("c1", "c2"), seed=seed, own=0.4, context=1.0)
        design = grid(screen.z.index, ("c1", "c2"))
        there = ~((design["context"] == "c2") & (design.index % 3 == 0))
        effects = screen.measure(design)
        asked = design[~there]
        truth = screen.truth(asked)
        model += error(fit(effects[there], design[there]).respond(asked), truth)
        elsewhere = effects[: len(screen.z)].set_axis(screen.z.index).loc[asked["perturbation"]]
        matched += float(np.square(elsewhere.to_numpy() - truth.to_numpy()).sum())
    assert model < 0.6 * matched


def test_an_unseen_target_with_a_prior_is_predicted_better_than_the_mean(two_way):
    screen, effects, design, asked, model = two_way
    new = asked[asked["perturbation"].isin(screen.z.index[18:])]
    truth = screen.truth(new)
    mean = [effects[(design["context"] == c) & (design.index < 28)].mean() for c in new["context"]]
    assert error(model.respond(new), truth) < 0.3 * np.square(np.array(mean) - truth.to_numpy()).sum()


def test_an_unseen_target_without_a_prior_is_the_mean_of_its_context(simulate, grid):
    screen = simulate(20)
    design = grid(screen.z.index)
    effects = screen.measure(design)
    found = fit(effects, design).respond(pd.DataFrame({"perturbation": ["new"]})).mean
    assert np.square(found - effects.mean()).to_numpy().sum() < 0.03 * np.square(effects.mean()).sum()


def test_combinations_that_saturate_are_predicted_better_than_by_the_sum(simulate, grid):
    screen = simulate(14, saturation=0.6)
    targets = list(screen.z.index)
    pairs = [f"{a}+{b}" for i, a in enumerate(targets) for b in targets[i + 1 :]][::3]
    design = pd.concat([grid(targets), grid(pairs[:14])], ignore_index=True)
    effects = screen.measure(design)
    new = grid(pairs[14:])
    single = effects[:14].set_axis(targets)
    added = np.array([single.loc[p.split("+")].sum() for p in new["perturbation"]])
    truth = screen.truth(new)
    assert error(fit(effects, design).respond(new), truth) < 0.4 * np.square(added - truth.to_numpy()).sum()


def test_combinations_that_add_up_are_predicted_as_well_as_by_the_sum(simulate, grid):
    screen = simulate(14, saturation=1.0)
    targets = list(screen.z.index)
    pairs = [f"{a}+{b}" for i, a in enumerate(targets) for b in targets[i + 1 :]][::3]
    design = pd.concat([grid(targets), grid(pairs[:14])], ignore_index=True)
    effects = screen.measure(design)
    new = grid(pairs[14:])
    single = effects[:14].set_axis(targets)
    added = np.array([single.loc[p.split("+")].sum() for p in new["perturbation"]])
    truth = screen.truth(new)
    assert error(fit(effects, design).respond(new), truth) < 1.1 * np.square(added - truth.to_numpy()).sum()


def test_rows_of_which_the_error_is_known_to_be_large_count_less(simulate, grid):
    plain, told = 0.0, 0.0
    for seed in range(2):
        screen = simulate(50, seed=seed)
        design = grid(screen.z.index)
        effects = screen.measure(design)
        poor = np.arange(50) % 2 == 1
        effects[poor] += 5 * np.random.default_rng(seed).normal(size=(25, 40))
        se = pd.DataFrame(np.where(poor[:, None], 5.0, np.full(40, 0.3)), index=effects.index, columns=effects.columns)
        train = np.arange(50) < 36
        truth = screen.truth(design[~train])
        prior = {"priors": {"z": screen.z}}
        plain += error(fit(effects[train], design[train], **prior).respond(design[~train]), truth)
        told += error(fit(effects[train], design[train], se=se[train], **prior).respond(design[~train]), truth)
    assert told < 0.8 * plain


def test_a_dose_between_those_tried_is_predicted_better_than_by_the_nearest(simulate, grid):
    screen = simulate(12, noise=0.15)
    design = grid(screen.z.index, doses=(0.1, 0.5, 4, 20))
    left = design["dose"].eq(0.5) & (design.index // 4 % 2 == 0)
    effects = screen.measure(design)
    asked = design[left]
    near = effects[design["dose"].eq(0.1) & (design.index // 4 % 2 == 0)]  # nearer in the logarithm than 4
    truth = screen.truth(asked)
    found = error(fit(effects[~left], design[~left]).respond(asked), truth)
    assert found < 0.5 * np.square(near.to_numpy() - truth.to_numpy()).sum()
    new = asked.assign(dose=1.5)  # no row of the training has it
    truth = screen.truth(new)
    near = effects[design["dose"].eq(4) & (design.index // 4 % 2 == 0)]
    found = error(fit(effects[~left], design[~left]).respond(new), truth)
    assert found < 0.8 * np.square(near.to_numpy() - truth.to_numpy()).sum()


def test_a_dose_at_which_effects_peak_is_learnt_from_other_targets(simulate, grid):
    screen = simulate(14, noise=0.15)
    doses = (0.01, 0.1, 1, 10, 100)
    design = grid(screen.z.index, doses=doses)
    truth = screen.truth(design.drop(columns="dose")).mul(
        design["dose"].map(dict(zip(doses, (0, 0.4, 1, 0.4, 0), strict=False))), axis=0
    )
    effects = truth + 0.15 * np.random.default_rng(0).normal(size=truth.shape)
    half = (design.index // 5) % 2 == 0
    left = half & design["dose"].eq(1).to_numpy()
    found = error(fit(effects[~left], design[~left]).respond(design[left]), truth[left])
    near = effects[half & design["dose"].eq(0.1).to_numpy()]
    assert found < 0.85 * np.square(near.to_numpy() - truth[left].to_numpy()).sum()


def test_the_unit_of_the_dose_does_not_matter(simulate, grid):
    screen = simulate(10)
    design = grid(screen.z.index, doses=(1, 10, 100))
    effects = screen.measure(design)
    one = fit(effects, design).respond(design)
    other = fit(effects, design.assign(dose=design["dose"] * 1e-3)).respond(design.assign(dose=design["dose"] * 1e-3))
    assert np.abs(one.mean - other.mean).to_numpy().max() < 0.02 * np.abs(one.mean).to_numpy().max()


def test_a_new_context_is_predicted_from_contexts_with_like_controls(simulate, grid):
    """Contexts fall in two groups, which their controls show; the new one is of the second."""
    contexts = [f"c{i}" for i in range(7)]
    screen = simulate(8, contexts, context=0.0, noise=0.2)
    rng = np.random.default_rng(1)
    kind, look = rng.normal(size=(2, 40)) * 1.5, rng.normal(size=(2, 40)) * 2
    for i, c in enumerate(contexts):
        screen.contexts[c] = kind[i % 2]
    controls = pd.DataFrame(
        [look[i % 2] + 0.2 * rng.normal(size=40) for i in range(7)],
        index=contexts,
        columns=[f"g{i}" for i in range(40)],
    )
    design = grid(screen.z.index, contexts[:6])
    effects = screen.measure(design)
    new = grid(screen.z.index, [contexts[6]])  # like c0, c2, c4
    model = fit(effects, design, controls=controls)
    assert set(model.contexts_) == set(contexts)
    truth = screen.truth(new)
    blind = fit(effects, design).respond(new)
    assert error(model.respond(new), truth) < 0.3 * error(blind, truth)


@pytest.mark.parametrize("known", ["all", "half", "none"])
def test_intervals_hold_on_rows_never_seen(simulate, grid, known):
    """Nothing of these rows was there when the widths were chosen."""
    inside, ratio, found, explained = [], [], [], []
    for seed in range(5):
        screen = simulate(120, seed=seed, n_features=12, noise=0.5)
        screen.z *= np.random.default_rng(seed).lognormal(0, 0.5, (120, 1))  # some do more than others
        prior = {"all": {"z": screen.z}, "half": {"z": screen.z.iloc[::2]}, "none": {}}[known]
        design = grid(screen.z.index)
        effects = screen.measure(design)
        train = np.arange(120) < 55
        r = fit(effects[train], design[train], priors=prior).respond(design[~train])
        observed = effects[~train]
        inside.append(((observed >= r.lower) & (observed <= r.upper)).to_numpy().mean())
        ratio.append(np.square((observed - r.mean) / r.sd).to_numpy().mean())
        found.append(r.reliability)
        reference = np.square(observed - effects[train].mean()).sum(axis=1)
        explained.append(1 - np.square(observed - r.mean).sum(axis=1) / reference)
    assert 0.87 <= np.mean(inside) <= 0.93
    assert np.sqrt(np.mean(ratio)) == pytest.approx(1, abs=0.2)
    found, explained = np.concatenate(found), np.concatenate(explained)
    assert found.mean() == pytest.approx(explained.mean(), abs=0.15)
    if known == "half":  # the other two say of every row about the same
        assert spearmanr(found, explained).statistic > 0.4


@pytest.mark.parametrize("pairs", [False, True])
def test_intervals_hold_against_controls_never_seen(simulate, grid, pairs):
    """Training effects share a few controls: rows left out among them do not show that noise."""
    inside = {True: [], False: []}
    for seed in range(6):
        rng = np.random.default_rng(seed)
        screen = simulate(40, seed=seed, noise=0.2, n_features=2, saturation=0.9)
        names = list(screen.z.index)
        twos = [f"{a}+{b}" for a, b in combinations(names[:9], 2)]
        train = grid([*names[:30], *twos[:18]] if pairs else names[:30])
        new = grid(twos[18:] if pairs else names[30:])
        se = pd.DataFrame(0.4, index=["c1"], columns=[f"g{i}" for i in range(40)])
        seen, unseen = (pd.Series(rng.normal(0, 0.4, 40), se.columns) for _ in range(2))
        prior = {"z": screen.z}
        controls = se * 0
        effects, observed = screen.measure(train) - seen, screen.measure(new) - unseen
        for told in inside:
            more = {"controls_se": se} if told else {}
            r = fit(effects, train, priors=prior, controls=controls, **more).respond(new)
            inside[told].append(((observed >= r.lower) & (observed <= r.upper)).to_numpy().mean())
    assert 0.86 <= np.mean(inside[True]) <= 0.95
    assert np.mean(inside[False]) < 0.75


def test_intervals_hold_where_a_network_was_tried(simulate, grid):
    screen = simulate(120, seed=3, n_features=12)
    design = grid(screen.z.index)
    effects = screen.measure(design)
    train = np.arange(120) < 70
    r = fit(effects[train], design[train]).respond(design[~train])
    inside = (effects[~train] >= r.lower) & (effects[~train] <= r.upper)
    assert 0.86 <= inside.to_numpy().mean() <= 0.95


# -- no leaks


def test_in_pure_noise_no_kind_of_question_seems_to_be_answered(grid):
    """An answer that saw the row it was asked for would err less than the noise."""
    targets = [f"t{i}" for i in range(8)]
    pairs = [f"{a}+{b}" for a, b in zip(targets, targets[1:], strict=False)]
    design = pd.concat([grid(targets, ("c1", "c2", "c3")), grid(pairs)], ignore_index=True)
    rng = np.random.default_rng(0)
    prior = pd.DataFrame(rng.normal(size=(8, 3)), index=targets)
    model = fit(pd.DataFrame(rng.normal(size=(len(design), 60))), design, priors={"z": prior})
    assert set(model.errors_) == {"target", "known", "context", "combination"}
    for kind, errors in model.errors_.items():
        size = errors.variance[""].mean() * model.unit_**2
        assert size > 0.8, kind
        assert model.blends_[kind].gain < (0.8 if kind == "combination" else 0.6), kind


def test_what_the_translation_says_of_a_row_left_out_is_what_it_says_without_it(two_way):
    _, _, _, _, model = two_way
    known, y = model.rows_, model.y_
    way = rehearsals(known)[KNOWN]
    found = model.elsewhere_.left_out(y, way)[0]
    ends = np.cumsum([0] + [part.alpha.shape[1] for part in model.elsewhere_.parts])
    for i in way.rows[::5]:
        rest = np.setdiff1d(np.arange(len(known)), [i])
        part, asked = known.take(rest), known.take(np.array([i]))
        everything = ~np.eye(len(rest), dtype=bool)
        departs = y[rest] - _simple.mean_response(part, y[rest], part, everything)
        z, za = effects_elsewhere(part, departs, part), effects_elsewhere(part, departs, asked)
        told = {"width": model.widths_[0], "size": model.widths_[1]}
        among = kernels(model.priors_, part, part, z, z, **told)
        cross, own = (kernels(model.priors_, asked, b, za, zb, **told) for b, zb in ((part, z), (asked, za)))
        for process, start, end in zip(model.elsewhere_.parts, ends, ends[1:], strict=False):
            without = condition(process.weights, among, process.noise[rest], y[rest, start:end])
            np.testing.assert_allclose(without.predict(cross, own)[0][0], found[i, start:end], atol=1e-8)


def test_a_prior_that_says_nothing_of_a_target_leaves_it_at_the_mean(two_way):
    screen, effects, design, _, _ = two_way
    unknown = screen.z.index[-1]
    short = fit(effects, design, priors={"z": screen.z.drop(unknown)})
    none = short.respond(pd.DataFrame({"perturbation": [unknown, "nobody"], "context": "c1"})).mean
    np.testing.assert_allclose(none.iloc[0], none.iloc[1], atol=1e-10)


@pytest.mark.parametrize("name", ["mean", "target", "context mean", "dose", "elsewhere", "a/b"])
def test_what_a_prior_is_called_says_nothing(two_way, name):
    screen, effects, design, asked, model = two_way
    assert_alike(model.respond(asked), fit(effects, design, priors={name: screen.z}).respond(asked))


# -- the answer


def test_rows_do_not_depend_on_each_other_or_their_order(two_way):
    *_, asked, model = two_way
    together = model.respond(asked)
    order = np.random.default_rng(0).permutation(len(asked))
    mixed = model.respond(asked.iloc[order])
    assert mixed.mean.index.tolist() == asked.index[order].tolist()
    many = model.respond(pd.concat([asked] * 30, ignore_index=True))
    for name in (*TABLES, "reliability"):
        one = getattr(together, name)
        np.testing.assert_allclose(getattr(mixed, name).loc[one.index], one, atol=1e-9)
        np.testing.assert_allclose(getattr(many, name)[-len(asked) :], one, atol=1e-9)
        for i in (0, 7, len(asked) - 1):
            np.testing.assert_allclose(getattr(model.respond(asked.iloc[[i]]), name), one.iloc[[i]], atol=1e-9)


def test_the_index_of_the_design_is_kept_and_the_design_given_back(two_way):
    *_, model = two_way
    design = pd.DataFrame({"perturbation": [" t01 + t00 ", "t03"], "context": ["c1", "c2"]}, index=["x", "x"])
    r = model.respond(design)
    for table in (r.design, *(getattr(r, name) for name in TABLES), r.reliability):
        assert table.index.tolist() == ["x", "x"]
    assert r.design["perturbation"].tolist() == ["t00+t01", "t03"]
    assert r.mean.columns.tolist() == [f"g{i}" for i in range(40)]
    assert design["perturbation"].tolist() == [" t01 + t00 ", "t03"]  # yours stays
    assert model.respond(design.iloc[:0]).mean.shape == (0, 40)


def test_names_are_read_as_everywhere_else(two_way):
    *_, model = two_way
    names = ["t00+t06", "t06+t00", " t06 +  t00", "t00+t06+control"]
    r = model.respond(pd.DataFrame({"perturbation": names, "context": "c1"}))
    for i in range(1, 4):
        np.testing.assert_array_equal(r.mean.iloc[i], r.mean.iloc[0])


def test_a_control_has_no_effect_and_that_is_certain(two_way):
    *_, model = two_way
    names = ["control", "control+control", "t00"]
    r = model.respond(pd.DataFrame({"perturbation": names, "context": ["c1", "new", "c1"]}))
    for name in TABLES:
        assert (getattr(r, name).iloc[:2] == 0).all(axis=None)
    assert r.reliability.tolist()[:2] == [1, 1]
    assert (r.mean.iloc[2] != 0).all()
    assert ((r.lower < r.mean) & (r.mean < r.upper)).iloc[2].all()


def test_a_context_never_heard_of_gets_an_answer_that_says_how_little_it_knows(two_way):
    *_, model = two_way
    asked = pd.DataFrame({"perturbation": ["t00", "t18"], "context": "new"})
    r = model.respond(asked)
    assert np.isfinite(r.mean).all(axis=None)
    known = model.respond(asked.assign(context="c2"))
    assert r.sd.loc[0].mean() > known.sd.loc[0].mean()


def test_higher_levels_are_wider(simulate, grid):
    screen = simulate(20)
    design = grid(screen.z.index)
    effects = screen.measure(design)
    width = [
        (r.upper - r.lower).to_numpy().mean()
        for r in (ResponseModel(level=level).fit_effects(effects, design).respond(design) for level in (0.5, 0.9))
    ]
    assert 1.5 * width[0] < width[1]


# -- what must not matter


@pytest.mark.parametrize("unit", [1e3, 1e-4])
def test_the_unit_of_the_effects_does_not_matter(two_way, unit):
    screen, effects, design, asked, model = two_way
    other = fit(effects * unit, design, priors={"z": screen.z}).respond(asked)
    assert_alike(model.respond(asked), other, unit=unit)


def test_the_order_of_rows_and_genes_does_not_matter(two_way):
    screen, effects, design, asked, model = two_way
    rng = np.random.default_rng(0)
    rows, genes = rng.permutation(len(design)), rng.permutation(40)
    other = fit(effects.iloc[rows, genes], design.iloc[rows], priors={"z": screen.z.iloc[::-1]})
    assert_alike(model.respond(asked), other.respond(asked))


def test_the_order_of_rows_does_not_matter_where_a_network_learns(simulate, grid):
    screen = simulate(31, ("c1", "c2"), own=0.3)
    design = grid(screen.z.index, ("c1", "c2"))
    effects = screen.measure(design)
    rows = np.random.default_rng(0).permutation(len(design))
    one = fit(effects, design, priors={"z": screen.z}).respond(design)
    assert_alike(one, fit(effects.iloc[rows], design.iloc[rows], priors={"z": screen.z}).respond(design))


def test_the_same_seed_gives_the_same_bits(two_way):
    screen, effects, design, asked, model = two_way
    one, other = model.respond(asked), fit(effects, design, priors={"z": screen.z}).respond(asked)
    for name in (*TABLES, "reliability"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_fitting_changes_nothing_that_was_given(two_way):
    screen, effects, design, _, _ = two_way
    given = effects.copy(), design.copy(), screen.z.copy()
    fit(given[0], given[1], priors={"z": given[2]}, se=effects.abs())
    for before, after in zip((effects, design, screen.z), given, strict=True):
        pd.testing.assert_frame_equal(before, after)


def test_a_saved_model_answers_to_the_bit(two_way, tmp_path):
    screen, effects, design, asked, model = two_way
    renamed = {"c1": "CD4/T", "c2": "", "new": "new"}
    told = {"priors": {"a/b": screen.z}, "se": effects.abs() + 0.1}
    odd = fit(effects, design.assign(context=design["context"].map(renamed)), **told)
    for i, (m, where) in enumerate(((model, asked), (odd, asked.assign(context=asked["context"].map(renamed))))):
        back = ofm.load(m.save(tmp_path / str(i)))
        assert back.get_params() == m.get_params()
        one, other = m.respond(where), back.respond(where)
        for name in (*TABLES, "reliability", "design"):
            assert getattr(one, name).equals(getattr(other, name))


# -- little data


@pytest.mark.parametrize("n", [1, 2, 3])
def test_next_to_no_data_give_finite_answers_of_positive_width(simulate, grid, n):
    screen = simulate(4)
    design = grid(screen.z.index)[:n]
    r = fit(screen.measure(design), design).respond(pd.DataFrame({"perturbation": ["t00", "t03", "t00+t03"]}))
    for name in TABLES:
        assert np.isfinite(getattr(r, name)).all(axis=None)
    assert (r.lower < r.upper).all(axis=None)
    assert (r.sd > 0).all(axis=None)
    assert r.reliability.between(0, 1).all()


def test_no_effects_at_all_are_predicted_as_none(simulate, grid):
    screen = simulate(8)
    design = grid(screen.z.index)
    r = fit(0 * screen.measure(design), design, priors={"z": screen.z}).respond(design)
    assert (r.mean == 0).all(axis=None)
    assert np.isfinite(r.sd).all(axis=None)


# -- cells


def _cells(seed=0):
    rng = np.random.default_rng(seed)
    n, g = 600, 12
    pert, kind = rng.choice(["NT", "A", "B", "C", "A+B"], n), rng.choice(["x", "y", "z"], n)
    pert[(kind == "z")] = "NT"
    rate = rng.gamma(2, 3, g) * np.exp(0.3 * rng.normal(size=g) * (pert[:, None] != "NT"))
    obs = pd.DataFrame({"pert": pert, "type": kind}, index=[f"c{i}" for i in range(n)])
    with _compat.silent():
        rna = AnnData(
            rng.poisson(rate).astype(np.float32),
            obs=pd.DataFrame(index=obs.index),
            var=pd.DataFrame(index=[f"g{i}" for i in range(g)]),
        )
    mdata = _compat.make_mudata({"rna": rna}, obs)
    ofm.setup(mdata, perturbation_key="pert", control="NT", context_key="type")
    mdata.mod["guide"].varm["prior_p"] = rng.normal(size=(4, 2))
    return mdata


def test_cells_and_their_effects_are_learnt_from_alike():
    mdata = _cells()
    data = pp.response_data(mdata)
    model = ResponseModel().fit(mdata)
    known = {name: getattr(data, name) for name in ("se", "controls", "controls_se", "priors")}
    effects = fit(data.effects, data.design, **known)
    asked = pd.DataFrame({"perturbation": ["A", "B+C", "Q", "C"], "context": ["x", "y", "z", "z"]})
    assert model.contexts_ == effects.contexts_ == ("x", "y", "z")
    assert list(model.priors_) == ["p"]
    for name in (*TABLES, "reliability"):
        np.testing.assert_allclose(
            getattr(model.respond(asked), name), getattr(effects.respond(asked), name), atol=1e-9
        )
    # what the data call a control is one in the question too
    r = model.respond(pd.DataFrame({"perturbation": ["NT", "A+NT", "A"], "context": "x"}))
    assert (r.mean.iloc[0] == 0).all()
    np.testing.assert_array_equal(r.mean.iloc[1], r.mean.iloc[2])


def test_cells_without_a_control_are_an_error_that_names_the_fix():
    mdata = _cells()
    plain = _compat.make_mudata({"rna": mdata.mod["rna"]}, mdata.obs[["pert", "type"]])
    ofm.setup(plain, perturbation_key="pert", context_key="type")
    with pytest.raises(ofm.InputError, match=r"control.*Fix: ofm.setup"):
        ResponseModel().fit(plain)


# -- errors


@pytest.mark.parametrize(
    ("design", "said"),
    [
        (pd.DataFrame({"target": ["t00"]}), "column 'perturbation'"),
        (["t00"], "column 'perturbation'"),
        (pd.DataFrame({"perturbation": ["t00"]}), "column 'context'"),
        (pd.DataFrame({"perturbation": ["t00", None], "context": "c1"}), "NaN"),
        (pd.DataFrame({"perturbation": ["t00", "t01"], "context": ["c1", np.nan]}), "NaN"),
        (pd.DataFrame({"perturbation": ["t00"], "context": "c1", "dose": ["10 nM"]}), "10 nM"),
        (pd.DataFrame({"perturbation": ["t00"], "context": "c1", "dose": [-1.0]}), "above 0"),
        (pd.DataFrame({"perturbation": [" "], "context": "c1"}), "empty"),
    ],
    ids=[
        "no column",
        "no table",
        "no context",
        "no name",
        "NaN context",
        "dose of text",
        "negative dose",
        "empty name",
    ],
)
def test_a_design_that_cannot_be_read_is_answered_with_the_fix(two_way, design, said):
    with pytest.raises(ofm.InputError, match=said) as error_:
        two_way[-1].respond(design)
    assert "Fix" in str(error_.value)


def test_controls_of_a_design_may_have_a_dose_of_zero(two_way):
    design = pd.DataFrame({"perturbation": ["control", "t00"], "context": "c1", "dose": [0.0, np.nan]})
    assert (two_way[-1].respond(design).mean.iloc[0] == 0).all()


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"effects": lambda e: e.where(e < 1)}, "finite"),
        ({"effects": lambda e: e.iloc[:-1]}, "same rows"),
        ({"effects": lambda e: e.astype(str) + "x"}, "numbers"),
        ({"effects": lambda e: e.iloc[:, :0]}, "not empty"),
        ({"design": lambda d: d.assign(perturbation="control")}, "control"),
        ({"design": lambda d: d.drop(columns="perturbation")}, "column 'perturbation'"),
        ({"design": lambda d: d.assign(dose="high")}, "dose"),
        ({"se": lambda e: e.iloc[:, :2]}, "se"),
        ({"priors": lambda z: {"z": z.to_numpy()}}, "DataFrame"),
        ({"priors": lambda z: {"z": z.assign(name="x")}}, "numbers"),
        ({"controls": lambda e: e.iloc[:2, :3]}, "controls"),
    ],
    ids=["NaN", "rows", "text", "no gene", "controls", "no column", "dose", "se", "array", "prior of text", "genes"],
)
def test_data_that_cannot_be_learnt_from_are_answered_with_the_fix(two_way, told, said):
    screen, effects, design, _, _ = two_way
    given = {"effects": effects, "design": design, "se": effects, "priors": screen.z, "controls": effects}
    changed = {name: change(given[name]) for name, change in told.items()}
    with pytest.raises(ofm.InputError, match=said) as error_:
        ResponseModel().fit_effects(**{"effects": effects, "design": design, **changed})
    assert "Fix" in str(error_.value)


@pytest.mark.parametrize("level", [0.0, 1.0, 90])
def test_a_level_that_is_no_share_is_an_error(two_way, level):
    _, effects, design, _, _ = two_way
    with pytest.raises(ofm.InputError, match=r"level.*Fix"):
        ResponseModel(level=level).fit_effects(effects, design)


def test_contexts_may_be_numbers(simulate, grid):
    screen = simulate(6, (1, 2, 3))
    design = grid(screen.z.index, (1, 2, 3))
    effects = screen.measure(design)
    controls = effects[:4].set_axis([1, 2, 3, 4])
    model = fit(effects, design, controls=controls)
    assert model.contexts_ == ("1", "2", "3", "4")
    assert np.isfinite(model.respond(grid(screen.z.index, (4,))).mean).all(axis=None)


def test_who_has_not_learnt_does_not_answer():
    with pytest.raises(NotFittedError, match="Fix"):
        ResponseModel().respond(pd.DataFrame({"perturbation": ["A"]}))
