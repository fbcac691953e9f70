"""Stacks: planted weights are found, noise is kept out, nothing held out is seen, the first member is hard to beat."""

from __future__ import annotations

from functools import partial

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from scipy.optimize import check_grad

from omicsfm import InputError, OmicsfmWarning, _compat, contract, hub, testing
from omicsfm.models import CCA, Imputation, KNNLabels, LinearMosaic, RidgeImputer
from omicsfm.models import _registry as registry
from omicsfm.models._stack_data import HeldOut, hold_out, mask_of
from omicsfm.models._stack_judge import interval_width
from omicsfm.models._stack_weights import Matching, Mixture, Regression, weigh
from omicsfm.models.stack import AUTO, Stack, auto_model
from omicsfm.pp import dense_nan

pytestmark = pytest.mark.filterwarnings("ignore::omicsfm.OmicsfmWarning")


@hub.saveable
class PartCCA(CCA):
    """Every other canonical variate: two of them know more than one."""

    def __init__(self, part: int = 0, *, n_components=4, ridge=0.05, n_tokens=30, seed=0):
        super().__init__(n_components, ridge=ridge, n_tokens=n_tokens, seed=seed)
        self.part = part

    def _compute(self, tokens):
        return super()._compute(tokens)[:, self.part :: 2]


@hub.saveable
class BiasedRidge(RidgeImputer):
    """Off by one standard deviation of the noise, one way or the other: the mean of two is right."""

    def __init__(self, bias: float = 1.0, *, level=0.9, n_tokens=30, seed=0):
        super().__init__(level=level, n_tokens=n_tokens, seed=seed)
        self.bias = bias

    def _predict(self, tokens, target):
        mean, sd, half, blind = super()._predict(tokens, target)
        return mean + self.bias * sd, sd, half, blind


@hub.saveable
class KnowsOne(KNNLabels):
    """Trusts its own word on one label, or on all but that one."""

    def __init__(self, label: str = "B", *, others=False, n_neighbors=15, n_tokens=30, seed=0):
        super().__init__(n_neighbors, n_tokens=n_tokens, seed=seed)
        self.label = label
        self.others = others

    def annotate(self, mdata, *, min_confidence=0.5):
        out = super().annotate(mdata, min_confidence=min_confidence)
        out.loc[(out["label"] == self.label) == self.others, "confidence"] = 0.1
        return out


THEIRS = {
    "Even": partial(PartCCA, 0),
    "Odd": partial(PartCCA, 1),
    "High": partial(BiasedRidge, 1.0),
    "Low": partial(BiasedRidge, -1.0),
    "KnowsB": partial(KnowsOne, "B"),
    "KnowsOthers": partial(KnowsOne, "B", others=True),
}
MIXED = tuple(THEIRS)


@pytest.fixture(autouse=True, scope="module")
def _registered():
    with pytest.MonkeyPatch.context() as patch:
        for name, factory in THEIRS.items():
            patch.setitem(registry._OURS, name, factory)
        yield


def two_views(seed: int = 0, n: int = 240) -> MuData:
    """Cells on two axes that both modalities show; half of them have one modality only."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 4))
    names = np.array([f"c{i}" for i in range(n)])
    mods = {}
    for i, (mod, p) in enumerate({"rna": 40, "protein": 30}.items()):
        rows = np.flatnonzero(np.arange(n) % 6 != i)
        x = rng.poisson(8 * np.exp(0.5 * z[rows] @ rng.normal(size=(4, p)))).astype(np.float32)
        var = pd.DataFrame(index=[f"{mod}:{j}" for j in range(p)])
        mods[mod] = ad.AnnData(x, obs=pd.DataFrame(index=names[rows]), var=var)
    label = np.array(["B", "NK", "T"], dtype=object)[np.digitize(z[:, 0], [-0.5, 0.5])]
    mdata = _compat.make_mudata(mods, pd.DataFrame({"label": label}, index=names))
    contract.setup(mdata, label_key="label")
    return mdata


@pytest.fixture(scope="module")
def mosaic():
    return two_views()


@pytest.fixture(scope="module")
def mixed(mosaic) -> Stack:
    return Stack(MIXED).fit(mosaic)


@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
def test_a_stack_of_many_passes(check, mosaic):
    check(lambda: Stack(MIXED), mosaic)


def test_members_that_complement_each_other_share_the_weight(mixed, mosaic):
    assert set(mixed.weights_["embed"]) == {"Even", "Odd"}
    for mod in mosaic.mod:
        assert set(mixed.weights_[f"impute {mod}"]) == {"High", "Low"}
        assert mixed.weights_[f"impute {mod}"]["High"] == pytest.approx(0.5, abs=0.1)
    assert set(mixed.weights_["annotate"]) == {"KnowsB", "KnowsOthers"}
    table = mixed.weights()
    assert table.columns.tolist() == ["task", "modality", "member", "weight", "score", "n", "note"]
    assert (table.groupby(["task", "modality"])["weight"].sum().round(6) == 1).all() and (table["n"] > 0).all()
    label = contract.labels(mosaic).to_numpy()
    alone = mixed.members_["KnowsB"].annotate(mosaic)
    assert (mixed.annotate(mosaic)["label"].to_numpy() == label).mean() > 0.7
    assert mixed.annotate(mosaic)["confidence"].mean() > alone["confidence"].mean()


def test_distances_are_the_weighted_ones(mixed, mosaic):
    z, sd = mixed.embed(mosaic, return_sd=True)
    expected, start = 0.0, 0
    for name, weight in mixed.weights_["embed"].items():
        own = mixed.members_[name].embed(mosaic)
        expected = expected + weight * ((own[:, None] - own) ** 2).sum(axis=2) / mixed.scale_[name] ** 2
        apart = sd[:, start : start + own.shape[1]] * mixed.scale_[name] / weight**0.5
        assert apart == pytest.approx(mixed.spread_[name])
        start += own.shape[1]
    np.testing.assert_allclose(((z[:, None] - z) ** 2).sum(axis=2), expected, atol=1e-9)


def test_the_stack_is_its_first_member_where_others_are_useless(mosaic):
    stack = Stack(("LinearMosaic", "Chance", "MeanImputer", "MajorityClass")).fit(mosaic)
    alone = LinearMosaic().fit(mosaic)
    assert all(list(weights) == ["LinearMosaic"] for weights in stack.weights_.values())
    assert list(stack.members_) == ["LinearMosaic"]
    for asked in (mosaic, testing._toy.alone(mosaic, "rna")):
        for ours, theirs in zip(stack.embed(asked, return_sd=True), alone.embed(asked, return_sd=True), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        pd.testing.assert_frame_equal(stack.annotate(asked), alone.annotate(asked))
        for part in ("mean", "sd", "lower", "upper"):
            ours, theirs = (getattr(m.impute(asked, "protein"), part) for m in (stack, alone))
            pd.testing.assert_frame_equal(ours, theirs)


class Spy(CCA):
    """Remembers what it was trained on and asked about."""

    trained: list = []
    asked: list = []

    def fit(self, mdata, **given):
        self.trained.append(mdata)
        return super().fit(mdata, **given)

    def embed(self, mdata):
        if len(self.trained) == 1:
            self.asked.append(mdata)
        return super().embed(mdata)


class SpyRidge(RidgeImputer):
    asked: list = []

    def impute(self, mdata, modality):
        self.asked.append((mdata, modality))
        return super().impute(mdata, modality)


def test_members_are_judged_on_what_they_did_not_see(mosaic):
    Spy.trained, Spy.asked, SpyRidge.asked = [], [], []
    Stack((Spy(), "Chance", SpyRidge(), "MeanImputer", "KNNLabels", "MajorityClass"), n_folds=4).fit(mosaic)
    train, final = Spy.trained
    assert final is mosaic
    mask, seen = contract.modality_mask(mosaic), contract.modality_mask(train).reindex(mosaic.obs_names)
    held = mask.index[(mask.sum(axis=1) == 2) & (seen.sum(axis=1) == 1)]
    assert len(held) == (mask.sum(axis=1) == 2).sum() // 4
    assert (seen.drop(index=held) == mask.drop(index=held)).all(axis=None)
    halves = {name: list(query.mod) for query in Spy.asked for name in query.obs_names}
    assert set(halves) == set(held) and {tuple(query.mod) for query in Spy.asked} == {("rna",), ("protein",)}
    for query, modality in SpyRidge.asked:
        assert modality not in query.mod
        assert not seen.loc[query.obs_names, modality].any() and set(query.obs_names) <= set(held)
    hidden = contract.labels(train).isna()
    assert hidden.sum() == mosaic.n_obs // 4


def test_whole_batches_lose_a_modality_where_enough_have_pairs(make_mosaic):
    batch = np.repeat([f"b{i}" for i in range(6)], 40)
    mdata = make_mosaic(240, batch=batch)
    held = hold_out(mdata, n_folds=5, seed=0, labels=False)
    assert held.by_batch and len(held.unlabelled) == 0
    lost = {m: set(batch[cells]) for m, cells in held.lost.items()}
    assert all(len(names) == 1 for names in lost.values()) and not lost["rna"] & lost["protein"]
    left = contract.modality_mask(held.train)
    for mod, names in lost.items():
        assert not left.loc[np.isin(batch, list(names)), mod].any()
    # A feature that only one batch measured could be lost with it.
    table = pd.DataFrame(True, index=mdata.mod["protein"].var_names, columns=[f"b{i}" for i in range(6)])
    for i in range(6):
        table.iloc[i] = [j == i for j in range(6)]
    mdata.mod["protein"].varm["measured"] = table
    assert not hold_out(mdata, n_folds=5, seed=0, labels=False).by_batch
    assert not hold_out(make_mosaic(240, batch=np.repeat(list("ab"), 120)), n_folds=5, seed=0, labels=False).by_batch


def test_select_keeps_what_it_is_told(mosaic):
    has = mask_of(mosaic)
    cells = np.arange(mosaic.n_obs) < 50
    part = contract.select(mosaic, {"rna": has["rna"] & cells, "protein": has["protein"] & False}, unlabelled=cells)
    assert list(part.mod) == ["rna"] and set(part.obs_names) == set(mosaic.obs_names[has["rna"] & cells])
    assert contract.labels(part).isna().all() and contract.labels(mosaic).notna().all()
    assert contract.keys(part) == contract.keys(mosaic)


def test_intervals_of_a_mixture_cover(make_mosaic):
    whole = make_mosaic(900, n_types=5)
    train, new = (contract.subset(whole, np.arange(900) % 2 == i) for i in (0, 1))
    stack = Stack(("High", "Low")).fit(train)
    found = stack.impute(new, "protein")
    assert len(stack.weights_["impute protein"]) > 1
    order = new.obs_names.get_indexer(new.mod["protein"].obs_names)
    truth = np.empty(found.mean.shape)
    truth[order] = np.vstack([dense_nan(b, None) for _, b in stack.tokenizer_.scaled(new, "protein")])
    inside = (found.lower.to_numpy() <= truth) & (truth <= found.upper.to_numpy())
    assert 0.85 < inside.mean() < 0.95
    z = (truth - found.mean.to_numpy()) / found.sd.to_numpy()
    assert 0.8 < z.std() < 1.2


def test_interval_width_follows_the_features_as_far_as_cells_are_many():
    rng = np.random.default_rng(0)
    scale = np.array([0.5, 1.0, 2.0])
    many = interval_width(rng.normal(size=(5000, 3)) * scale, 0.9, narrow=True)
    np.testing.assert_allclose(many, 1.645 * scale, rtol=0.08)
    ratio = rng.normal(size=(10, 3)) * scale
    few = interval_width(ratio, 0.9, narrow=True)
    assert few[2] / few[0] < 1.8
    ratio[:, 1] = np.nan
    assert np.isfinite(interval_width(ratio, 0.9, narrow=True)).all()
    assert np.median(interval_width(rng.normal(size=(50, 3)) * 0.1, 0.9, narrow=False)) == pytest.approx(1, abs=0.2)


def test_what_cannot_be_judged_falls_to_the_first_and_says_why(make_mosaic):
    members = ("LinearMosaic", "CCA", "MeanKNNRidge")
    whole = Stack(members).fit(make_mosaic(150))
    note = whole.weights().groupby("task")["note"].first()
    assert "every cell has every modality" in note["embed"] and "only member" in note["annotate"]
    assert list(whole.weights_["embed"]) == ["LinearMosaic"]
    few = np.arange(100)
    poor = Stack(members).fit(make_mosaic(100, has={"rna": few < 60, "protein": few > 20}))
    assert poor.weights()["note"].str.contains("too few paired").sum() == 3
    one = Stack(members).fit(make_mosaic(80, n_vars={"rna": 40}))
    assert set(one.weights_) == {"embed", "annotate"} and list(one.members_) == ["LinearMosaic"]
    with pytest.raises(InputError, match="none of its members can 'impute rna'"):
        one.impute(make_mosaic(80, n_vars={"rna": 40}), "rna")


def test_members_that_cannot(mosaic):
    with pytest.raises(InputError, match="at least 1 member"):
        Stack(()).fit(mosaic)
    with pytest.raises(InputError, match="no model 'Nothing'"):
        Stack(("Nothing",)).fit(mosaic)
    stack = Stack(("CCA",)).fit(mosaic)
    with pytest.raises(InputError, match="can 'annotate'"):
        stack.annotate(mosaic)
    mean, sd = stack.embed(mosaic, return_sd=True)
    np.testing.assert_array_equal(mean, CCA().fit(mosaic).embed(mosaic))
    assert (sd > 0).all() and np.ptp(sd) == 0
    unlabelled = contract.select(mosaic, mask_of(mosaic))
    del unlabelled.uns["omicsfm"]["keys"]["label"]
    with pytest.raises(InputError, match=r"none of KNNLabels can do anything"):
        Stack(("KNNLabels",)).fit(unlabelled)


def test_a_member_that_fails_without_the_held_out_cells_is_not_judged(mosaic):
    class Fussy(CCA):
        def fit(self, mdata, **given):
            if contract.modality_mask(mdata).to_numpy().all(axis=1).sum() < 150:
                raise InputError("Fussy.fit: more pairs are needed. Fix: give them.")
            return super().fit(mdata, **given)

    assert list(Stack((Fussy(), "CCA")).fit(mosaic).weights_["embed"]) == ["Fussy"]
    table = Stack(("CCA", Fussy())).fit(mosaic).weights()
    assert table["note"].str.contains("only member").sum() == 0 and "Fussy" not in set(table["member"])


def test_warnings_of_members_are_passed_on_once(mosaic):
    stack = Stack(MIXED).fit(mosaic)
    with pytest.warns(OmicsfmWarning) as said:
        stack.impute(mosaic, "protein")
    assert len(said) == 1


def test_auto_takes_what_is_registered():
    from omicsfm.models import MODELS

    assert auto_model(seed=3).members == tuple(name for name in AUTO if name in MODELS)
    assert auto_model(seed=3).seed == 3


def test_matching_finds_planted_coefficients():
    rng = np.random.default_rng(0)
    n, planted = 150, np.array([4.0, 0.0, 2.0])
    distance = rng.gamma(2.0, 0.5, (6, 3, n, n))
    sets = []
    for d in distance:
        utility = -np.tensordot(planted, d, 1) + rng.gumbel(size=(n, n))
        partner = utility.argmax(axis=1)  # the choice of each first half, put on the diagonal
        d = d.copy()
        for i, j in enumerate(partner):
            d[:, i, [i, j]] = d[:, i, [j, i]]
        sets.append(d)
    evidence = Matching(sets)
    slope = evidence.fit([0, 1, 2], np.arange(evidence.n))
    assert slope[0] / slope[2] == pytest.approx(2, rel=0.2) and slope[1] < 0.1 * slope[0]
    weight, _ = weigh(evidence, 3, seed=0)
    assert weight[1] == 0 and weight[0] / weight[2] == pytest.approx(2, rel=0.2)
    assert weight.sum() == pytest.approx(1)


def test_matching_likelihood_has_the_right_gradient(monkeypatch):
    caught = {}

    def spy(loss, start, **_):
        caught["loss"], caught["start"] = loss, start
        return type("Found", (), {"x": start})

    monkeypatch.setattr("omicsfm.models._stack_weights.minimize", spy)
    rng = np.random.default_rng(0)
    evidence = Matching([rng.gamma(2, 1, (2, 5, 5)), rng.gamma(2, 1, (2, 7, 7))])
    units = np.array([0, 3, 6, 11])
    evidence.fit([0, 1], units)
    loss, at = caught["loss"], np.array([0.7, 1.9])
    assert check_grad(lambda x: loss(x)[0], lambda x: loss(x)[1], at) < 1e-6
    assert loss(at)[0] == pytest.approx(-evidence.score([0, 1], at, units).mean())


def test_regression_finds_planted_weights_with_gaps():
    rng = np.random.default_rng(0)
    p = rng.normal(size=(3, 200, 40))
    truth = 0.3 * p[0] + 0.7 * p[2] + 0.3 * rng.normal(size=(200, 40))
    truth[rng.random(truth.shape) < 0.2] = np.nan
    weight, score = weigh(Regression.of(truth, p), 3, seed=0)
    np.testing.assert_allclose(weight, [0.3, 0, 0.7], atol=0.03)
    assert score[2] > score[0] > score[1]
    evidence, w = Regression.of(truth, p), np.array([0.2, 0.8])
    sd = np.nanstd(truth, axis=0)
    brute = -np.nanmean(((truth - 0.2 * p[0] - 0.8 * p[2]) / sd) ** 2, axis=1)
    np.testing.assert_allclose(evidence.score([0, 2], w, np.arange(200)), brute)


def test_mixture_finds_planted_proportions():
    rng = np.random.default_rng(0)
    first = rng.random(4000) < 0.25
    p = np.where(first[:, None], [0.9, 0.1, 0.3], [0.1, 0.9, 0.3])
    noise = rng.random((4000, 3)) < 0.5  # what is independent of the truth cannot be learnt from
    weight, _ = weigh(Mixture(np.where(noise, p, 0.5)), 3, seed=0)
    assert weight[1] > weight[0] > 0 and weight[1] + weight[0] > 0.95


@pytest.mark.parametrize("kind", ["match", "regress", "mix"])
def test_noise_seldom_enters(kind):
    entered = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        if kind == "match":
            own = rng.gamma(2.0, 0.5, (80, 80)) + 1 - np.eye(80)
            evidence = Matching([np.array([own, rng.gamma(2.0, 0.5, (80, 80))])])
        elif kind == "regress":
            signal, noise = rng.normal(size=(2, 40, 30))
            evidence = Regression.of(signal + rng.normal(size=(40, 30)), np.array([signal, 0.3 * noise]))
        else:
            evidence = Mixture(np.column_stack([rng.beta(4, 1, 60), np.full(60, 0.3)]))
        entered += weigh(evidence, 2, seed=seed)[0][1] > 0
    assert entered <= 2


def test_no_cells_were_held_out_of_nothing(make_mosaic):
    mdata = make_mosaic(50)
    held = hold_out(mdata, n_folds=5, seed=0, labels=True)
    assert isinstance(held, HeldOut) and held.train is mdata and len(held.cells) == 0
    assert Imputation.__dataclass_fields__.keys() == {"mean", "sd", "lower", "upper", "level", "transform"}
