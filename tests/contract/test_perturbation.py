"""What was done to a cell: names, the guide modality that setup makes of obs, and what survives other operations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st

import omicsfm as ofm
from omicsfm import _compat, contract, io

LABELS = ["ctrl", "A", "B+A", "A+ctrl", None, "ctrl", " C ", "C+B+A"]


def screen(labels=LABELS, *, guide=None, prefix="c", **obs):
    n = len(labels)
    cells = [f"{prefix}{i}" for i in range(n)]
    rng = np.random.default_rng(0)
    with _compat.silent():
        x = rng.poisson(2.0, (n, 6)).astype(np.float32)
        mods = {"rna": AnnData(x, obs=pd.DataFrame(index=cells), var=pd.DataFrame(index=[f"g{i}" for i in range(6)]))}
        if guide is not None:
            var = pd.DataFrame(index=[f"guide:{i}" for i in range(guide.shape[1])])
            mods["guide"] = AnnData(guide, obs=pd.DataFrame(index=cells), var=var)
    return _compat.make_mudata(mods, pd.DataFrame({"pert": labels, **obs}, index=cells))


def set_up(mdata, control="ctrl", **keys):
    ofm.setup(mdata, perturbation_key="pert", control=control, **keys)
    return mdata


def entries(mdata):
    """Guide entries of each cell by target."""
    guides = mdata.mod["guide"]
    table = pd.DataFrame(guides.X.toarray(), index=guides.obs_names, columns=guides.var["target"])
    return {cell: {t: v for t, v in row.items() if v} for cell, row in table.iterrows()}


# -- names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("A", ("A",)),
        ("B+A", ("A", "B")),
        ("  A + B ", ("A", "B")),
        ("A+A", ("A",)),
        ("NT", ()),
        ("control", ()),
        ("NT+NT", ()),
        ("A+NT", ("A",)),
        ("control+A", ("A",)),
        ("NTRK1", ("NTRK1",)),
        ("(+)-JQ1", ("(+)-JQ1",)),
        ("A+(+)-JQ1", ("(+)-JQ1", "A")),
        ("poly(A+B)", ("poly(A+B)",)),
        ("NAD+", ("NAD+",)),
    ],
)
def test_members_of_a_name(name, expected):
    assert contract.members(name, "NT") == expected


@given(parts=st.lists(st.text("ABCab1-(). ", min_size=1).filter(str.strip), min_size=1, max_size=4), data=st.data())
def test_a_perturbation_has_one_name_in_any_order(parts, data):
    parts = [p for p in parts if p.count("(") == p.count(")") and p.find("(") <= p.find(")")] or ["A"]
    name = contract.canonical("+".join(parts))
    assert contract.canonical(" + ".join(data.draw(st.permutations(parts)))) == name
    assert contract.canonical(name) == name


def test_perturbations_are_told_cell_by_cell():
    who = contract.perturbations(set_up(screen()))
    assert who["perturbation"].tolist()[:4] == ["control", "A", "A+B", "A"]
    assert who["perturbation"].isna().tolist() == [False] * 4 + [True] + [False] * 3
    assert who["perturbation"].tolist()[5:] == ["control", "C", "A+B+C"]
    assert who["is_control"].tolist() == [True, False, False, False, False, True, False, False]
    assert set(who["context"]) == set(who["replicate"]) == {"all"}
    assert who["dose"].isna().all()


def test_context_replicate_and_dose_keep_what_is_missing():
    mdata = screen(type=["x", None, *"xxyyyy"], donor=[1, 2, 1, 2, 1, 2, 1, 2], dose=[np.nan, 1, 2, 3, 4, np.nan, 5, 6])
    who = contract.perturbations(set_up(mdata, context_key="type", replicate_key="donor", dose_key="dose"))
    assert who["context"].isna().tolist() == [False, True] + [False] * 6
    assert who["replicate"].tolist() == list("12121212")
    np.testing.assert_array_equal(who["dose"], [np.nan, 1, 2, 3, 4, np.nan, 5, 6])


@pytest.mark.parametrize("kind", ["text", "categorical text", "categorical number"])
def test_doses_may_be_stored_as_text_or_categories(kind):
    values = [np.nan, 1.0, 10.0, 0.5, np.nan, np.nan, 1.0, 1.0]
    stored = values if kind.endswith("number") else [None if np.isnan(v) else str(v) for v in values]
    mdata = set_up(screen(dose=pd.Categorical(stored) if "cat" in kind else stored), dose_key="dose")
    np.testing.assert_array_equal(contract.perturbations(mdata)["dose"], values)
    assert entries(mdata)["c2"] == {"A": 10, "B": 10}


# -- the guide modality


def test_setup_makes_the_guide_modality_of_obs():
    mdata = set_up(screen())
    assert entries(mdata) == {
        "c0": {"control": 1},
        "c1": {"A": 1},
        "c2": {"A": 1, "B": 1},
        "c3": {"A": 1},
        "c5": {"control": 1},
        "c6": {"C": 1},
        "c7": {"A": 1, "B": 1, "C": 1},
    }
    assert contract.recipe_of(mdata, "guide") == "guide"
    assert contract.guide_modality(mdata) == "guide"
    assert mdata.mod["guide"].var["is_control"].tolist() == [False, False, False, True]
    # a cell to which nothing was assigned is not in it: absent, not zero
    assert contract.modality_mask(mdata)["guide"].tolist() == [True] * 4 + [False] + [True] * 3
    assert contract.check(mdata).ok


def test_doses_are_the_entries_and_controls_have_none():
    mdata = screen(dose=[7.0, 0.5, 2, 1, 1, np.nan, np.nan, 3])
    found = entries(set_up(mdata, dose_key="dose"))
    assert found["c0"] == {"control": 1}
    assert found["c1"] == {"A": 0.5}
    assert found["c2"] == {"A": 2, "B": 2}
    assert found["c6"] == {"C": 1}  # dose not known
    assert contract.recipe_of(mdata, "guide") == "continuous"
    assert contract.guide_modality(mdata) == "guide"
    assert contract.check(mdata).ok


def test_x_stays_and_without_a_control_nothing_is_added():
    mdata = screen()
    x, before = mdata.mod["rna"].X, mdata.mod["rna"].X.copy()
    set_up(mdata)
    assert mdata.mod["rna"].X is x
    np.testing.assert_array_equal(x, before)
    plain = screen()
    ofm.setup(plain, perturbation_key="pert")
    assert list(plain.mod) == ["rna"]
    assert contract.control_of(plain) is None


def test_a_guide_modality_of_yours_is_kept():
    guide = np.eye(8, 3, dtype=np.float32)
    mdata = set_up(screen(guide=guide))
    np.testing.assert_array_equal(mdata.mod["guide"].X, guide)
    ofm.setup(mdata, control="A")
    np.testing.assert_array_equal(mdata.mod["guide"].X, guide)


def test_called_again_for_something_else_what_was_told_stays():
    mdata = set_up(screen(type=list("xxxxyyyy")), context_key="type")
    guides = mdata.mod["guide"]
    guides.varm["prior_x"] = np.ones((4, 2))
    ofm.setup(mdata, organism="human")
    assert contract.control_of(mdata) == "ctrl"
    assert contract.keys(mdata).context == "type"
    assert "prior_x" in mdata.mod["guide"].varm


def test_called_again_with_another_column_the_guides_are_read_anew():
    mdata = set_up(screen(other=["k"] * 4 + ["Z"] * 4, dose=[np.nan] * 4 + [2.0] * 4))
    ofm.setup(mdata, perturbation_key="other", control="k")
    assert contract.perturbations(mdata)["perturbation"].tolist() == ["control"] * 4 + ["Z"] * 4
    assert entries(mdata)["c7"] == {"Z": 1}
    assert len(entries(mdata)) == 8
    ofm.setup(mdata, dose_key="dose")
    assert entries(mdata)["c7"] == {"Z": 2}
    assert entries(mdata)["c0"] == {"control": 1}
    assert contract.check(mdata).ok


@pytest.mark.parametrize("control", [0, "0"], ids=["number", "text"])
@pytest.mark.parametrize("categorical", [False, True])
def test_perturbations_may_be_numbers(control, categorical):
    labels = [0, 1, 2, 0]
    mdata = set_up(screen(pd.Categorical(labels) if categorical else labels), control=control)
    assert contract.perturbations(mdata)["perturbation"].tolist() == ["control", "1", "2", "control"]
    assert mdata.mod["guide"].var["target"].tolist() == ["1", "2", "control"]


def test_an_empty_text_is_no_control():
    mdata = set_up(screen(["ctrl", "", "A", "  "]))
    who = contract.perturbations(mdata)
    assert who["is_control"].tolist() == [True, False, False, False]
    assert who["perturbation"].isna().tolist() == [False, True, False, True]
    assert list(entries(mdata)) == ["c0", "c2"]
    with pytest.raises(ofm.InputError, match="Fix"):
        contract.canonical(" ")


# -- errors


@pytest.mark.parametrize(
    ("obs", "told", "said"),
    [
        ({}, {"perturbation_key": "pert", "control": "crtl"}, "did you mean 'ctrl'"),
        ({}, {"control": "ctrl"}, "perturbation_key="),
        ({}, {"perturbation_key": "pert", "control": "ctrl", "context_key": "typ"}, "context_key"),
        ({}, {"perturbation_key": "pert", "control": "ctrl", "replicate_key": "rep"}, "replicate_key"),
        ({"dose": ["high"] + ["1"] * 7}, {"perturbation_key": "pert", "control": "ctrl", "dose_key": "dose"}, "'high'"),
        ({"dose": [np.inf] * 8}, {"perturbation_key": "pert", "control": "ctrl", "dose_key": "dose"}, "infinite"),
        ({"dose": [-1.0] * 8}, {"perturbation_key": "pert", "control": "ctrl", "dose_key": "dose"}, "negative"),
        ({"dose": [0.0] * 8}, {"perturbation_key": "pert", "control": "ctrl", "dose_key": "dose"}, "is 0"),
    ],
)
def test_a_wrong_word_to_setup_is_answered_with_the_right_one(obs, told, said):
    mdata = screen(**obs)
    with pytest.raises(ofm.InputError, match=said) as error:
        ofm.setup(mdata, **told)
    assert "Fix" in str(error.value)
    assert list(mdata.mod) == ["rna"]
    assert "omicsfm" not in mdata.uns


def test_perturbed_cells_without_a_dose_are_told():
    doses = [np.nan, 1, 1, 1, np.nan, np.nan, 1, np.nan]
    mdata = set_up(screen(dose=doses), dose_key="dose")
    who = contract.perturbations(mdata)
    n = int((who["dose"].isna() & who["perturbation"].notna() & ~who["is_control"]).sum())
    assert 0 < n < 4  # neither the controls, nor the cell that was assigned nothing
    assert any(note.startswith(f"{n} perturbed cells have no dose") for note in contract.check(mdata).notes)
    assert not any("no dose" in note for note in contract.check(set_up(screen())).notes)


def test_controls_may_have_a_dose_of_zero():
    mdata = set_up(screen(dose=[0.0, 1, 1, 1, 0, 0, 1, 1]), dose_key="dose")
    assert entries(mdata)["c0"] == {"control": 1}


def test_perturbations_need_a_key():
    mdata = screen()
    with pytest.raises(ofm.InputError, match="perturbation_key"):
        contract.perturbations(mdata)


# -- what survives


def test_a_file_holds_it_all(tmp_path):
    mdata = set_up(
        screen(type=list("xxxxyyyy"), dose=[np.nan, 0.5, 2, 1, 1, np.nan, np.nan, 3]),
        context_key="type",
        dose_key="dose",
    )
    back = io.read(io.write(mdata, tmp_path / "screen.h5mu"))
    pd.testing.assert_frame_equal(contract.perturbations(back), contract.perturbations(mdata))
    assert contract.control_of(back) == "ctrl"
    assert contract.guide_modality(back) == "guide"
    assert entries(back) == entries(mdata)
    assert contract.check(back).ok


def test_a_subset_keeps_it_and_may_be_without_controls():
    mdata = set_up(screen())
    part = contract.subset(mdata, np.array([1, 2, 4]))
    assert contract.control_of(part) == "ctrl"
    assert contract.perturbations(part)["perturbation"].tolist()[:2] == ["A", "A+B"]
    assert contract.check(part).ok
    ofm.setup(part, organism="human")  # the control was said of the whole
    assert contract.control_of(part) == "ctrl"
    with pytest.raises(ofm.InputError, match="no cell has pert = 'ctrl'"):
        ofm.setup(part, control="ctrl")


def test_data_sets_with_one_control_are_joined_with_it():
    one, other = set_up(screen()), set_up(screen(prefix="d"))
    both = contract.concat({"one": one, "other": other})
    assert contract.control_of(both) == "ctrl"
    assert contract.perturbations(both)["is_control"].sum() == 4
    assert entries(both)["d7"] == {"A": 1, "B": 1, "C": 1}
    assert both.mod["guide"].var["is_control"].tolist() == [t == "control" for t in both.mod["guide"].var["target"]]


def test_data_sets_that_name_their_controls_apart_say_that_it_is_lost():
    one = set_up(screen())
    other = set_up(screen(["NT" if x == "ctrl" else x for x in LABELS], prefix="d"), control="NT")
    with pytest.warns(ofm.OmicsfmWarning, match="control"):
        both = contract.concat({"one": one, "other": other})
    assert contract.control_of(both) is None
