"""Held out means gone: no cell, combination, alias, dose or control of the answer stays in training."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

import omicsfm as ofm
from omicsfm import _compat, contract, pp
from omicsfm._errors import InputError
from omicsfm.pp import ResponseData
from omicsfm.tasks._perturbation_screen import halves
from omicsfm.tasks.perturbation import PerturbationResponse

SINGLES = tuple(f"G{i}" for i in range(8))
COMBINATIONS = ("G0+G1", "G0+G2", "G1+G2", "G3+G4", "G5+X", "X+Y")
KINDS = {
    "unseen_target": {},
    "unseen_combination": {},
    "unseen_combination 1": {"n_seen": 1},
    "unseen_combination 0": {"n_seen": 0},
    "unseen_context": {},
    "unseen_donor": {},
    "known_target_new_context": {},
}


@pytest.fixture(scope="module")
def mdata(screen):
    return screen((*SINGLES, *COMBINATIONS))


@pytest.fixture(scope="module")
def dosed(screen):
    return screen(("A", "B", "C", "A+B"), doses=(0.1, 1.0, 3.0, 10.0), contexts=("K", "R"), n_cells=12)


def task_of(name: str) -> PerturbationResponse:
    return PerturbationResponse(name.split()[0], n_folds=3, seed=3, **KINDS[name])


def done(mdata) -> pd.DataFrame:
    """What obs says, read without the package."""
    out = mdata.obs[["done", "line", "rep", "dose"]].astype({"done": str, "line": str, "rep": str})
    return out.assign(parts=[frozenset(n.split("+")) for n in out["done"]], perturbed=out["done"] != "ctrl")


@pytest.mark.parametrize("name", KINDS)
def test_nothing_of_the_answer_is_left_in_training(name, mdata):
    n = 0
    for split in task_of(name).splits(mdata):
        left = done(split.train)
        for row in split.query.itertuples():
            part = frozenset(row.perturbation.split("+"))
            if name == "unseen_target":
                assert not left["parts"].map(lambda p, part=part: bool(p & part)).any()
            elif name.startswith("unseen_combination"):
                assert not left["parts"].eq(part).any()
                alone = {next(iter(p)) for p in left["parts"] if len(p) == 1}
                assert len(part & alone) == split.truth["n_seen"][row.Index]
            elif name == "unseen_context":
                assert not (left["perturbed"] & (left["line"] == row.context)).any()
            elif name == "unseen_donor":
                assert not (left["perturbed"] & (left["rep"] == row.context.split(" | ")[1])).any()
            else:
                here = left[left["line"] == row.context]
                assert not here["parts"].map(lambda p, part=part: bool(p & part)).any()
                assert left["done"].eq(row.perturbation).any()  # known, elsewhere
            n += 1
        # The context still has controls to learn its state from.
        left["own"] = left["line"] + " | " + left["rep"]
        where = "own" if name == "unseen_donor" else "line"
        assert set(split.query["context"]) <= set(left.loc[~left["perturbed"], where])
        assert all(f.ok for f in task_of(name).audit(split)), task_of(name).audit(split)
    assert n


def test_a_donor_is_asked_about_context_by_context(mdata):
    splits = {split.unit: split for split in task_of("unseen_donor").splits(mdata)}
    assert set(splits) == set(mdata.obs["rep"].astype(str))
    for donor, split in splits.items():
        assert set(split.query["context"]) == {f"{line} | {donor}" for line in set(mdata.obs["line"].astype(str))}
        assert contract.keys(split.train).replicate == "rep"


@pytest.mark.parametrize(("kept", "asked"), [(0, COMBINATIONS), (1, COMBINATIONS[:5]), (2, COMBINATIONS[:4])])
def test_members_that_stay_as_singles_are_as_many_as_asked_for(kept, asked, mdata):
    splits = list(PerturbationResponse("unseen_combination", n_folds=6, n_seen=kept).splits(mdata))
    assert {name for s in splits for name in s.query["perturbation"]} == set(asked)
    for split in splits:
        assert (np.asarray(split.truth["n_seen"]) == kept).all()
        left = done(split.train)
        for name in split.query["perturbation"]:
            assert sum(part in set(left["done"]) for part in name.split("+")) == kept


@pytest.mark.parametrize("kind", ["unseen_context", "known_target_new_context"])
def test_what_was_done_in_one_context_alone_is_not_asked_there_and_leaves_with_it(kind, mdata):
    some = contract.subset(mdata, ((mdata.obs["done"] != "G0") | (mdata.obs["line"] == "K")).to_numpy())
    for seed in range(4):
        for split in PerturbationResponse(kind, seed=seed).splits(some):
            assert "G0" not in set(split.query["perturbation"])
            if kind == "unseen_context" and split.unit == "K":
                assert "G0" not in set(done(split.train)["done"])


def test_what_training_lacks_anyway_is_told(mdata):
    found = {}
    for split in PerturbationResponse("unseen_combination", n_folds=3).splits(mdata):
        found |= dict(zip(split.query["perturbation"], split.truth["n_seen"], strict=True))
    assert found == {"G0+G1": 2, "G0+G2": 2, "G1+G2": 2, "G3+G4": 2, "G5+X": 1, "X+Y": 0}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_folds_partition_targets_and_combinations(seed, mdata):
    for kind, names in (("unseen_target", SINGLES), ("unseen_combination", COMBINATIONS)):
        task = PerturbationResponse(kind, n_folds=3, seed=seed)
        asked = [(r.perturbation, r.context) for s in task.splits(mdata) for r in s.query.itertuples()]
        assert sorted(asked) == sorted((name, c) for name in names for c in ("H", "K", "R"))


def test_one_seed_is_one_split_and_another_is_not(mdata):
    def cut(seed):
        split = next(PerturbationResponse("known_target_new_context", seed=seed).splits(mdata))
        return list(split.query["perturbation"]), list(split.train.obs_names)

    assert cut(1) == cut(1)
    assert cut(1)[0] != cut(2)[0]


def test_only_inner_doses_are_asked_and_they_are_gone(dosed):
    asked = set()
    task = PerturbationResponse("unseen_dose", min_cells=6)
    for split in task.splits(dosed):
        left = done(split.train)
        for row in split.query.itertuples():
            part = frozenset(row.perturbation.split("+"))
            same = left["parts"].map(lambda p, part=part: bool(p & part)) & np.isclose(left["dose"], row.dose)
            assert not same.any()
            asked.add((row.perturbation, row.dose))
        assert all(f.ok for f in task.audit(split))
    assert asked == {(name, dose) for name in ("A", "B", "C", "A+B") for dose in (1.0, 3.0)}


def test_control_halves_are_apart_and_hold_all_controls(mdata):
    for split in task_of("unseen_target").splits(mdata):
        cells = split.truth["cells"]
        controls = done(mdata)["perturbed"].to_numpy() == 0
        assert not (cells.truth_control & cells.train_control).any()
        np.testing.assert_array_equal(cells.truth_control | cells.train_control, controls)
        in_train = mdata.obs_names.isin(split.train.obs_names)
        np.testing.assert_array_equal(in_train & controls, cells.train_control)


def test_halves_are_even_over_groups_and_within_them():
    rng = np.random.default_rng(0)
    group, within = rng.integers(0, 30, 700), rng.integers(0, 4, 700)
    side = halves(group, within, rng)
    for g in range(30):
        assert abs(2 * side[group == g].sum() - (group == g).sum()) <= 1
        for w in range(4):
            both = (group == g) & (within == w)
            assert abs(2 * side[both].sum() - both.sum()) <= 1
    one_each = halves(np.zeros(6, dtype=int), np.arange(6), rng)
    assert one_each.sum() == 3


def test_truth_is_the_difference_to_the_other_half_of_the_controls(mdata):
    x = mdata["rna"].X.toarray()
    x = np.log1p(1e4 * x / x.sum(axis=1, keepdims=True))
    told = done(mdata)
    split = next(task_of("unseen_target").splits(mdata))
    cells, genes = split.truth["cells"], mdata["rna"].var_names.get_indexer(split.truth["genes"])
    for i, row in enumerate(split.query.itertuples()):
        mine = ((told["done"] == row.perturbation) & (told["line"] == row.context)).to_numpy()
        here = (told["line"] == row.context).to_numpy()
        other, own = here & cells.truth_control, here & cells.train_control
        np.testing.assert_allclose(split.truth["effect"][i], (x[mine].mean(0) - x[other].mean(0))[genes], atol=1e-5)
        np.testing.assert_allclose(split.truth["shift"][i], (x[mine].mean(0) - x[own].mean(0))[genes], atol=1e-5)
        se = np.sqrt(x[mine].var(0, ddof=1) / mine.sum() + x[other].var(0, ddof=1) / other.sum())
        np.testing.assert_allclose(split.truth["se"][i], se[genes], rtol=1e-4)
        # Two halves of the same cells, each with its own controls, average to the whole.
        again = split.truth["duplicate"][i] + x[own].mean(0)[genes], split.truth["half"][i] + x[other].mean(0)[genes]
        np.testing.assert_allclose((again[0] + again[1]) / 2, x[mine].mean(0)[genes], atol=1e-5)


def test_mean_response_and_genes_are_those_of_training_alone(mdata):
    """Whatever the held-out cells and the truth's controls measured, both stay as they were."""
    task = PerturbationResponse("unseen_target", n_folds=3, n_genes=10)
    split = next(task.splits(mdata))
    data = pp.response_data(split.train)
    for i, context in enumerate(split.query["context"]):
        mean = data.effects[(data.design["context"] == context).to_numpy()].mean()
        np.testing.assert_allclose(split.truth["baseline"][i], mean[split.truth["genes"]], atol=1e-6)
    changed = contract.subset(mdata, np.ones(mdata.n_obs, dtype=bool))
    rows = split.truth["held_out"] | split.truth["cells"].truth_control
    x = changed["rna"].X.tolil()
    x[np.flatnonzero(rows), 7] = 5000
    changed.mod["rna"].X = x.tocsr()
    again = next(task.splits(changed))
    assert list(again.truth["genes"]) == list(split.truth["genes"])
    np.testing.assert_allclose(again.truth["baseline"], split.truth["baseline"])


def test_in_a_context_without_training_effects_controls_do_not_cancel(mdata):
    """So that truth and duplicate must not share them."""
    for split in task_of("unseen_context").splits(mdata):
        np.testing.assert_array_equal(split.truth["shift"], split.truth["effect"])
        np.testing.assert_array_equal(split.truth["half_shift"], split.truth["half"])
        everywhere = pp.response_data(split.train).effects[split.truth["genes"]].mean().to_numpy()
        np.testing.assert_allclose(split.truth["baseline"], np.tile(everywhere, (len(split.query), 1)), atol=1e-6)


def test_targets_of_a_group_leave_together(mdata):
    groups = {"G0": "a", "g1": "a", "G2": "a", "G3": "b", "G4": "b"}
    folds = [set(s.query["perturbation"]) for s in PerturbationResponse("unseen_target", groups=groups).splits(mdata)]
    for group in ({"G0", "G1", "G2"}, {"G3", "G4"}):
        assert sum(bool(fold & group) for fold in folds) == 1


def test_clusters_of_the_priors_leave_together():
    targets = [f"T{i}" for i in range(12)]
    rng = np.random.default_rng(0)
    centre = np.repeat(np.eye(4), 3, axis=0)
    priors = {"p": pd.DataFrame(centre + rng.normal(0, 0.01, (12, 4)), index=targets)}
    data = ResponseData(
        pd.DataFrame(rng.normal(size=(12, 5))),
        pd.DataFrame({"perturbation": targets, "context": "K", "dose": np.nan}),
        priors=priors,
    )
    folds = [set(s.query["perturbation"]) for s in PerturbationResponse("unseen_target", groups=4).splits(data)]
    for k in range(4):
        assert sum(bool(fold & set(targets[3 * k : 3 * k + 3])) for fold in folds) == 1


def test_names_of_one_target_leave_together(mdata):
    renamed = contract.subset(mdata, np.ones(mdata.n_obs, dtype=bool))
    other = (renamed.obs["line"] == "R").to_numpy()
    renamed.obs["done"] = np.where(other & (renamed.obs["done"] == "G0"), "old0", renamed.obs["done"].astype(str))
    renamed.obs["done"] = np.where(other & (renamed.obs["done"] == "G1"), "g1", renamed.obs["done"].astype(str))
    task = PerturbationResponse("unseen_target", n_folds=4, aliases={"OLD0": "G0"})
    for split in task.splits(renamed):
        for pair in ({"G0", "old0"}, {"G1", "g1"}):
            assert len(pair & set(split.query["perturbation"])) in (0, 2)
        assert all(f.ok for f in task.audit(split))


def test_cells_of_unknown_perturbation_are_left_out(mdata):
    some = contract.subset(mdata, np.ones(mdata.n_obs, dtype=bool))
    some.obs["done"] = some.obs["done"].astype(object).where(np.arange(some.n_obs) % 7 > 0)
    split = next(task_of("unseen_target").splits(some))
    assert split.train.obs["done"].notna().all()


def test_only_what_can_be_measured_is_asked_and_the_rest_stays(mdata):
    task = PerturbationResponse("unseen_target", n_folds=2, measurable=["G0", "G1"])
    splits = list(task.splits(mdata))
    assert {name for s in splits for name in s.query["perturbation"]} == {"G0", "G1"}
    assert all("G5" in set(s.train.obs["done"]) for s in splits)


def test_the_prior_made_of_controls_is_learnt_anew(mdata):
    some = contract.subset(mdata, ~np.isin(mdata.obs["done"].astype(str), ("G5+X", "X+Y")))
    del some.mod["guide"]
    ofm.setup(some)
    pp.add_priors(some, ["expression"])
    split = next(task_of("unseen_target").splits(some))
    own = pp.expression_prior(split.train, seed=3)
    found = pp.priors_of(split.train)["expression"]
    np.testing.assert_allclose(found.loc[own.index].to_numpy(), own.to_numpy(), atol=1e-6)
    before = pp.priors_of(some)["expression"].loc[own.index].to_numpy()
    assert np.abs(before @ before.T - own.to_numpy() @ own.to_numpy().T).max() > 1e-3


def test_data_without_controls_are_effects(screen):
    mdata = screen(("A", "B", "C", "D"), contexts=("K", "R"))
    rows = contract.subset(mdata, (mdata.obs["done"] != "ctrl").to_numpy())
    bare = _compat.make_mudata({"rna": rows["rna"].copy()}, pd.DataFrame(rows.obs[["done", "line"]]))
    ofm.setup(bare, perturbation_key="done", context_key="line", modalities={"rna": "continuous"})
    task = PerturbationResponse("unseen_target", n_folds=2)
    for split in task.splits(bare):
        assert isinstance(split.train, ResponseData)
        assert not set(split.train.design["perturbation"]) & set(split.query["perturbation"])
        for i, row in enumerate(split.query.itertuples()):
            mine = ((bare.obs["done"] == row.perturbation) & (bare.obs["line"] == row.context)).to_numpy()
            wanted = bare["rna"].X[mine].toarray().mean(0)[bare["rna"].var_names.get_indexer(split.truth["genes"])]
            np.testing.assert_allclose(split.truth["effect"][i], wanted, rtol=1e-5)
        assert all(f.ok for f in task.audit(split))


def test_a_context_with_few_controls_is_not_asked_but_learnt_from(mdata):
    here = ((mdata.obs["line"] == "H") & (mdata.obs["done"] == "ctrl")).to_numpy()
    some = contract.subset(mdata, ~here | (np.cumsum(here) <= 12))
    for least, asked in ((10, {"K", "R"}), (6, {"H", "K", "R"})):
        for split in PerturbationResponse("unseen_target", min_cells=least).splits(some):
            assert set(split.query["context"]) == asked
            assert "H" in set(pp.response_data(split.train).design["context"])


def test_what_cannot_be_asked_is_refused(mdata, screen):
    with pytest.raises(InputError, match="no kind"):
        PerturbationResponse("unseen_gene")
    with pytest.raises(InputError, match="nothing can be held out"):
        list(PerturbationResponse("unseen_dose").splits(mdata))
    with pytest.raises(InputError, match="nothing can be held out"):
        list(PerturbationResponse("unseen_context").splits(screen(SINGLES, contexts=("K",))))
    with pytest.raises(InputError, match="min_cells"):
        list(PerturbationResponse("unseen_target", min_cells=1000).splits(mdata))


# -- the audit finds what was planted


def plant(split, mdata, extra: np.ndarray):
    """Give the split with more cells (bool over obs) in its training."""
    return dataclasses.replace(split, train=contract.subset(mdata, mdata.obs_names.isin(split.train.obs_names) | extra))


def failed(task, split) -> str:
    return "; ".join(f.check for f in task.audit(split) if not f.ok)


@pytest.fixture
def target(mdata):
    task = task_of("unseen_target")
    return task, next(task.splits(mdata))


def test_audit_sees_held_out_cells(target, mdata):
    task, split = target
    found = failed(task, plant(split, mdata, split.truth["held_out"]))
    for words in ("give the answer away", "held-out cells", "same measurement", "with a guide"):
        assert words in found


def test_audit_sees_controls_of_the_truth(target, mdata):
    task, split = target
    assert "controls of the truth" in failed(task, plant(split, mdata, split.truth["cells"].truth_control))


def test_audit_sees_a_combination_with_the_target(target, mdata):
    task, split = target
    held = set(split.query["perturbation"])
    combined = np.array(["+" in n and bool(set(n.split("+")) & held) for n in mdata.obs["done"].astype(str)])
    assert combined.any()
    assert "give the answer away" in failed(task, plant(split, mdata, combined))


@pytest.mark.parametrize("name", ["g{}", " G{} ", "OTHER{}"])
def test_audit_sees_the_target_under_another_name(name, target):
    _, split = target
    held = sorted(set(split.query["perturbation"]))[0]
    task = PerturbationResponse("unseen_target", n_folds=3, aliases={f"other{held[1:]}": held})
    train = contract.subset(split.train, np.ones(split.train.n_obs, dtype=bool))
    known = train.obs["done"].astype(str)
    first = known[known != "ctrl"].iloc[0]
    train.obs["done"] = known.where(known != first, name.format(held[1:]))
    assert "give the answer away" in failed(task, dataclasses.replace(split, train=train))


def test_audit_sees_copied_cells_under_other_names(target, mdata):
    task, split = target
    train = contract.subset(split.train, np.ones(split.train.n_obs, dtype=bool))
    x = train["rna"].X.tolil()
    held = np.flatnonzero(split.truth["held_out"])
    x[: len(held)] = mdata["rna"].X[held]
    train.mod["rna"].X = x.tocsr()
    assert "same measurement" in failed(task, dataclasses.replace(split, train=train))


def test_audit_sees_a_guide_that_obs_denies(target, mdata):
    task, split = target
    train = contract.subset(split.train, np.ones(split.train.n_obs, dtype=bool))
    guides = train.mod["guide"]
    held = guides.var_names.get_loc(f"guide:{split.query['perturbation'].iloc[0]}")
    x = guides.X.tolil()
    x[3, :] = 0
    x[3, held] = 1
    guides.X = x.tocsr()
    assert "with a guide" in failed(task, dataclasses.replace(split, train=train))


def test_audit_sees_cells_of_unknown_perturbation(target, mdata):
    task, split = target
    train = contract.subset(split.train, np.ones(split.train.n_obs, dtype=bool))
    train.obs["done"] = train.obs["done"].astype(object).where(np.arange(train.n_obs) != 5)
    assert "unknown perturbation" in failed(task, dataclasses.replace(split, train=train))


def test_audit_sees_genes_chosen_with_the_truth(target):
    task, split = target
    top = np.argsort(-np.abs(split.truth["effect"]).mean(0))[:20]
    leaky = dataclasses.replace(split, truth={**split.truth, "genes": split.truth["genes"][np.sort(top)]})
    assert "genes of the score" in failed(task, leaky)


def test_audit_sees_more_than_the_design_in_the_question(target):
    task, split = target
    assert "beyond the design" in failed(task, dataclasses.replace(split, query=split.query.assign(n_cells=3)))


@pytest.mark.parametrize("name", ["unseen_context", "known_target_new_context", "unseen_combination 0"])
def test_audit_of_the_other_kinds_sees_the_whole_screen(name, mdata):
    task = task_of(name)
    for split in task.splits(mdata):
        assert "give the answer away" in failed(task, dataclasses.replace(split, train=mdata))


def test_audit_sees_members_that_should_have_left(mdata):
    task = task_of("unseen_combination 0")
    split = next(task.splits(mdata))
    part = split.query["perturbation"].iloc[0].split("+")
    extra = np.isin(mdata.obs["done"].astype(str), part)
    assert "other members" in failed(task, plant(split, mdata, extra)) or not extra.any()


def test_audit_of_effects_sees_a_held_out_row():
    rng = np.random.default_rng(0)
    design = pd.DataFrame({"perturbation": list("ABCDEF"), "context": "K", "dose": np.nan})
    data = ResponseData(pd.DataFrame(rng.normal(size=(6, 4))), design)
    task = PerturbationResponse("unseen_target", n_folds=3)
    split = next(task.splits(data))
    assert "give the answer away" in failed(task, dataclasses.replace(split, train=data))
