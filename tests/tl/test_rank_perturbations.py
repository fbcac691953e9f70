"""Ranking toward a goal: direction, size and error of the score, and nothing earned that was not done."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData

from omicsfm import InputError, _compat, contract, datasets
from omicsfm.models.response import ResponseModel
from omicsfm.tl._rank_perturbations import rank_perturbations

GENES = 60


def make(x: np.ndarray, obs: pd.DataFrame, genes: list[str] | None = None) -> MuData:
    """Values that are compared as they are."""
    names = [f"c{i}" for i in range(len(x))]
    var = pd.DataFrame(index=genes or [f"g{i}" for i in range(x.shape[1])])
    mods = {"rna": ad.AnnData(x.astype(np.float64), obs=pd.DataFrame(index=names), var=var)}
    mdata = _compat.make_mudata(mods, obs.set_axis(names))
    keys = {f"{role}_key": role for role in ("label", "context", "replicate", "dose") if role in obs}
    contract.setup(mdata, perturbation_key="condition", control="ctrl", modalities={"rna": "continuous"}, **keys)
    return mdata


def simulated(shift: dict[str, np.ndarray], *, n: int = 100, n_control: int = 200, seed: int = 0, **obs) -> MuData:
    rng = np.random.default_rng(seed)
    condition = ["ctrl"] * n_control + [name for name in shift for _ in range(n)]
    x = rng.normal(size=(len(condition), len(next(iter(shift.values())))))
    for i, value in enumerate(shift.values()):
        x[n_control + i * n : n_control + (i + 1) * n] += value
    return make(x, pd.DataFrame({"condition": condition, **obs}))


GOAL = np.where(np.arange(GENES) < 20, 1.0, np.where(np.arange(GENES) < 30, -1.0, 0.0))
SIDE = np.where(np.arange(GENES) >= 30, 1.0, 0.0)
SHIFT = {"half": 0.5 * GOAL, "back": -GOAL, "aside": SIDE, "both": 0.5 * GOAL + SIDE, "nothing": 0 * GOAL}
SIGNATURE = {f"g{i}": v for i, v in enumerate(GOAL)}  # a zero says that a gene should stay


def test_direction_size_and_order():
    table = rank_perturbations(simulated(SHIFT, n=400, n_control=1000), goal=SIGNATURE).set_index("perturbation")
    assert table["rank"].tolist() == [1, 2, 3, 4, 5] and "dose" not in table and table["measured"].all()
    assert table.index[0] == "half" and table.index[-1] == "back"
    np.testing.assert_allclose(table.loc[list(SHIFT), "share_of_way"], [0.5, -1, 0, 0.5, 0], atol=0.05)
    # What happens beside the goal lowers the cosine, not the way.
    expected = 0.5 * np.sqrt(30) / np.sqrt(0.25 * 30 + 30)
    np.testing.assert_allclose(table.loc["both", "score"], expected, atol=0.05)
    assert table.loc["half", "score"] > 0.9 and table.loc["back", "score"] < -0.95
    assert (table["lower"] <= table["score"]).all() and (table["score"] <= table["upper"]).all()
    assert table.loc["half", "p_above_mean"] > 0.99 and table.loc["back", "p_above_mean"] < 0.01
    assert table.loc["half", "score"] > table.loc["half", "null_95"]
    assert table.loc["aside", "score"] < table.loc["aside", "null_95"]


def test_only_the_genes_of_the_goal_are_looked_at():
    mdata = simulated({"both": 0.5 * GOAL + SIDE}, n=400, n_control=1000)
    some = {gene: value for gene, value in SIGNATURE.items() if value}
    assert rank_perturbations(mdata, goal={**some, "unheard of": 5.0})["score"][0] > 0.95
    assert rank_perturbations(mdata, goal=pd.Series(SIGNATURE))["score"][0] < 0.6


def test_order_is_by_what_can_be_counted_on():
    mdata = simulated({"clear": 0.5 * GOAL + 0.3 * SIDE, **{f"null{i}": 0 * GOAL for i in range(30)}}, n=30)
    table = rank_perturbations(mdata, goal={"g0": 1.0, "g20": -1.0})
    assert table["perturbation"][0] == "clear"
    assert (table["score"] > table["score"][0]).any()  # of two genes, some noise points exactly there
    assert (np.diff(table["lower"]) <= 0).all()


def test_intervals_of_measured_effects_hold_the_truth():
    # Correlated genes: an error that added them up as if independent would be half as large.
    rng = np.random.default_rng(0)
    n, n_control, m = 40, 200, 300
    condition = ["ctrl"] * n_control + [f"p{i}" for i in range(m) for _ in range(n)]
    x = rng.normal(size=(len(condition), 20)) + 1.5 * rng.normal(size=(len(condition), 1))
    x[n_control:] += 2 * SIDE[-20:]
    table = rank_perturbations(
        make(x, pd.DataFrame({"condition": condition})), goal={f"g{i}": 1.0 for i in range(20)}, n_samples=2
    )
    # Along the goal the effect is 2; controls are shared, so it is the spread between perturbations that is judged.
    half = (table["score"] - table["lower"]) * table["share_of_way"] / table["score"]
    expected = 1.645 * np.sqrt((1 / 20 + 1.5**2) * (1 / n + 1 / n_control))
    np.testing.assert_allclose(half.median(), expected, rtol=0.1)


def test_replicates_that_disagree_widen_the_intervals():
    rng = np.random.default_rng(1)
    replicate = np.concatenate([np.arange(200) % 4, np.tile(np.arange(100) % 4, 5)]).astype(str)
    plain, bent = (simulated(SHIFT, replicate=replicate) for _ in range(2))
    x = bent.mod["rna"].X
    for name in SHIFT:
        for r in "0123":
            own = (bent.obs["condition"] == name).to_numpy() & (replicate == r)
            x[own] += rng.normal() * GOAL
    a, b = (rank_perturbations(m, goal=SIGNATURE).set_index("perturbation").loc["half"] for m in (plain, bent))
    way = [(r["score"] - r["lower"]) * r["share_of_way"] / r["score"] for r in (a, b)]
    assert way[1] > 3 * way[0]


def test_nothing_is_earned_for_the_own_rna():
    mdata = simulated({"g0": np.eye(GENES)[0] * -5, "g0+g1": -5 * np.eye(GENES)[0] - 3 * np.eye(GENES)[7]})
    table = rank_perturbations(mdata, goal={"g0": -1.0, "g7": -1.0}).set_index("perturbation")
    assert abs(table.loc["g0", "share_of_way"]) < 0.4 and abs(table.loc["g0", "lower"]) <= 1
    np.testing.assert_allclose(table.loc["g0+g1", "share_of_way"], 3, atol=0.4)
    only = rank_perturbations(mdata, goal={"g0": -1.0})
    assert only["score"].isna().all() and only["rank"].tolist() == [1, 2]


def test_control_cells_shared_by_goal_and_effects_earn_nothing():
    # Both effects and the goal subtract the same few controls: without care their noise would look like progress.
    scores = []
    for seed in range(3):
        names = [f"p{i}" for i in range(6)]
        label = np.array(["a"] * 15 + ["b"] * 15 + ["a"] * 6 * 15)
        nothing = {name: np.zeros(400) for name in names}
        mdata = simulated(nothing, n=15, n_control=30, seed=seed, label=label, context=label)
        design = pd.DataFrame({"perturbation": names, "context": "a"})
        scores.append(rank_perturbations(mdata, goal={"from": "a", "to": "b"}, design=design, n_samples=2)["score"])
    assert np.abs(np.mean(scores)) < 0.1  # it would be 0.5


def test_a_state_is_made_of_control_cells_or_of_the_mask_that_was_given():
    label = np.array((["naive"] * 100 + ["active"] * 100) + ["naive"] * 500)
    mdata = simulated(SHIFT, label=label)
    controls = (mdata.obs["condition"] == "ctrl").to_numpy()
    mdata.mod["rna"].X[controls & (label == "active")] += GOAL
    table = rank_perturbations(mdata, goal={"from": "naive", "to": "active"}).set_index("perturbation")
    assert table.index[0] in ("half", "both") and table["score"].idxmin() == "back"
    mdata = simulated(SHIFT)
    is_half = mdata.obs["condition"] == "half"  # a Series goes by its names
    table = rank_perturbations(mdata, goal={"from": controls, "to": is_half.iloc[::-1]}).set_index("perturbation")
    assert table.index[0] == "half"
    np.testing.assert_allclose(table.loc["half", "share_of_way"], 1, atol=0.1)


def test_contexts_and_doses_are_rows_of_their_own():
    context = np.array(["k"] * 100 + ["r"] * 100 + (["k"] * 50 + ["r"] * 50) * 5)
    dose = np.where(np.arange(700) < 200, np.nan, 1.0)
    mdata = simulated(SHIFT, context=context, dose=dose)
    is_r = (mdata.obs["context"] == "r").to_numpy()
    mdata.mod["rna"].X[is_r & (mdata.obs["condition"] == "half").to_numpy()] += 2 * GOAL
    table = rank_perturbations(mdata, goal=SIGNATURE)
    assert len(table) == 10 and table["dose"].eq(1).all()
    assert table.iloc[0][["perturbation", "context"]].tolist() == ["half", "r"]


def test_measured_where_measured_predicted_elsewhere(monkeypatch):
    parts = {"A": 0.8 * GOAL, "B": 0.4 * GOAL + SIDE, "C": -0.6 * GOAL, "D": SIDE, "E": -SIDE, "F": 0.2 * GOAL}
    pairs = {f"{a}+{b}": parts[a] + parts[b] for a, b in ("AB", "AC", "BC", "CD", "DE", "EF")}
    mdata = simulated({**parts, **pairs}, n=60)
    asked = pd.DataFrame({"perturbation": ["A", "F+A", "C+F", "A+ctrl+B"]})
    table = rank_perturbations(mdata, goal=SIGNATURE, design=asked).set_index("perturbation")
    assert table["measured"].to_dict() == {"A": True, "A+B": True, "A+F": False, "C+F": False}
    measured = rank_perturbations(mdata, goal=SIGNATURE).set_index("perturbation")
    pd.testing.assert_series_equal(table.loc["A"].drop("rank"), measured.loc["A"].drop("rank"))
    assert table.loc["A+F", "score"] > 0.5 > 0 > table.loc["C+F", "score"]
    assert (table.loc["A+F", "lower"] < table.loc["A+F", "score"]) and table["reliability"].between(0, 1).all()
    monkeypatch.setattr(ResponseModel, "fit", None)  # with nothing to predict nothing is fitted
    rank_perturbations(mdata, goal=SIGNATURE)


def test_same_seed_same_table():
    mdata = simulated(SHIFT)
    a, b, c = (rank_perturbations(mdata, goal=SIGNATURE, n_samples=50, seed=s) for s in (0, 0, 1))
    pd.testing.assert_frame_equal(a, b)
    assert not a["null_95"].equals(c["null_95"]) and a["score"].equals(c["score"])


def test_permuted_goals_keep_the_expression_of_genes():
    # Only highly expressed genes respond, all alike: of goals of such genes none is special, of others this one is.
    rng = np.random.default_rng(0)
    high = np.arange(200) < 50
    x = rng.normal(size=(800, 200)) + 5 * high
    x[400:] += high
    mdata = make(x, pd.DataFrame({"condition": ["ctrl"] * 400 + ["A"] * 400}))
    row = rank_perturbations(mdata, goal={f"g{i}": 1.0 for i in range(10)}).iloc[0]
    assert row["score"] > 0.9 and row["null_95"] > 0.9


@pytest.mark.parametrize(
    ("goal", "found"),
    [
        ({"nobody": 1.0}, "none of the 1 genes"),
        ({"g0": np.nan}, "NaN or repeated"),
        ({"g0": "up"}, "gene -> wanted change"),
        ({"g0": 0.0}, "zero in every gene"),
        ({"from": "naive", "to": "gone"}, "no control cells labelled 'gone' .*naive"),
        ({"from": "naive", "to": np.ones(3, dtype=bool)}, "bool mask of 700 cells"),
        ({"from": "naive", "to": np.zeros(700, dtype=bool)}, "no cells in its mask"),
    ],
)
def test_goals_that_are_none(goal, found):
    mdata = simulated(SHIFT, label=np.array(["naive"] * 700))
    with pytest.raises(InputError, match=found):
        rank_perturbations(mdata, goal=goal)


def test_interferon_pathway_on_real_cells(omicsfm_data, monkeypatch):
    monkeypatch.setenv("OMICSFM_DATA", str(omicsfm_data))
    mdata = datasets.load("papalexi21_thp1_eccite_sceptredata")
    goal = dict.fromkeys(["STAT1", "PSMB9", "UBE2L6", "STAT2", "JAK2", "BTG1", "IL2RB", "NFKBIA"], -1.0)
    table = rank_perturbations(mdata, goal=goal, n_samples=50)
    assert set(table["perturbation"][:4]) == {"IFNGR1", "IFNGR2", "JAK2", "STAT1"}
    assert (table["score"] > table["null_95"])[:4].all() and (table["p_above_mean"][:4] > 0.99).all()


def test_interferon_itself_arrives(omicsfm_data, monkeypatch):
    monkeypatch.setenv("OMICSFM_DATA", str(omicsfm_data))
    mdata = datasets.load("kang18_ifnb_distinct100")
    stim = (mdata.obs["condition"] == "stim").to_numpy()
    table = rank_perturbations(mdata, goal={"from": ~stim, "to": stim})
    assert len(table) == 8 and (table["score"] > 0.85).all() and table["share_of_way"].between(0.8, 1.25).all()
    assert (table["null_95"] < 0.5).all() and table["p_above_mean"].isna().all()  # there is no other perturbation
