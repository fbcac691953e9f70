"""What a modality adds: much where it carries the answer, nothing where it is noise, and the table says which."""

from __future__ import annotations

from functools import wraps

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData

from omicsfm import InputError, _compat, contract, tl
from omicsfm.models import LinearMosaic
from omicsfm.pl._modality_value import modality_value as draw
from omicsfm.pp import dense_nan
from omicsfm.tl._ablation import Fold, make_folds
from omicsfm.tl._modality_value import COLUMNS

N = 240


def cells(informative: dict[str, float], *, donors: int = 1, seed: int = 0, n: int = N) -> MuData:
    """Four types; each modality tells them apart as far as its number says (0: pure noise)."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 4, n)
    names = np.array([f"c{i}" for i in range(n)])
    mods = {}
    for mod, strength in informative.items():
        rate = 3 * np.exp(strength * rng.normal(size=(4, 25)))
        x = rng.poisson(rate[kind] * rng.lognormal(0, 0.1, (n, 1))).astype(np.float32)
        var = pd.DataFrame(index=[f"{mod}:{i}" for i in range(25)])
        mods[mod] = ad.AnnData(x, obs=pd.DataFrame(index=names), var=var)
    obs = pd.DataFrame({"type": [f"t{k}" for k in kind], "donor": [f"d{i % donors}" for i in range(n)]}, index=names)
    mdata = _compat.make_mudata(mods, obs)
    recipes = dict.fromkeys(informative, "rna")
    key = "donor" if donors > 1 else None
    contract.setup(mdata, label_key="type", donor_key=key, modalities=recipes)
    return mdata


@pytest.fixture(scope="module")
def noise() -> pd.DataFrame:
    return tl.modality_value(cells({"a": 0.8, "b": 0.0}))


def test_what_carries_the_answer_adds_and_noise_does_not(noise):
    assert noise.columns.tolist() == list(COLUMNS)
    state = noise[noise["task"] == "cell_state"].set_index("modality")
    assert state.loc["a", "lower"] > 0.2 and state.loc["a", "words"].startswith("adds 0.")
    assert state.loc["b", "lower"] <= 0 and not state.loc["b", "words"].startswith("adds")
    assert state.loc["a", "alone"] == state.loc["b", "without"] > 0.8
    assert state.loc["a", "without"] == state.loc["b", "alone"] < 0.5
    np.testing.assert_allclose(state["difference"], state["with"] - state["without"])
    imputed = noise[noise["task"] == "imputation"].set_index("modality")
    assert imputed["target"].to_dict() == {"a": "b", "b": "a"}
    assert (imputed["lower"] < 0.01).all() and (imputed["without"].abs() < 0.06).all()
    assert (noise.loc[noise["n"] > 0, "unit"] == "cell").all() and (state["n_units"] == N).all()


def test_two_modalities_have_nothing_to_match_without_one(noise):
    row = noise[noise["task"] == "matching"]
    assert len(row) == 1 and row["difference"].isna().all() and row["words"].item().startswith("undefined")


def test_three_modalities_by_donor():
    table = tl.modality_value(cells({"a": 0.6, "b": 0.6, "c": 0.0}, donors=6), n_splits=2)
    match = table[table["task"] == "matching"].set_index("target")
    assert set(match.index) == {"a-b", "a-c", "b-c"} and match["alone"].isna().all()
    assert match.loc["a-b", "modality"] == "c" and match.loc["a-b", "without"] > 0.7
    assert not match.loc["a-b", "words"].startswith("adds")
    imputed = table[table["task"] == "imputation"].set_index(["target", "modality"])
    assert len(imputed) == 6
    assert imputed.loc[("a", "b"), "lower"] > 0.05 and imputed.loc[("a", "c"), "difference"] < 0.01
    assert imputed.loc[("a", "b"), "alone"] == pytest.approx(imputed.loc[("a", "b"), "with"], abs=0.06)
    assert (table["unit"] == "donor").all() and (table["n_units"] == 6).all() and (table["n"] == N).all()
    assert not table["words"].str.contains("says nothing").any()  # six donors speak of new ones


def test_a_modality_can_hurt():
    class Confused(LinearMosaic):
        """Takes a modality called b for more than it is."""

        def embed(self, mdata, *, return_sd=False):
            z = super().embed(mdata)
            if "b" in mdata.mod:
                z = z + 30 * z.std() * np.random.default_rng(0).normal(size=z.shape)
            return z

    table = tl.modality_value(cells({"a": 0.6, "b": 0.6}), model=Confused(), tasks=["cell_state"])
    row = table.set_index("modality").loc["b"]
    assert row["upper"] < 0 and row["words"].startswith("hurts: -0.")


def test_the_modality_is_gone_from_training_too(monkeypatch):
    seen = []
    fit = LinearMosaic.fit

    @wraps(fit)
    def spy(self, mdata, **given):
        seen.append((tuple(mdata.mod), set(mdata.obs_names), contract.labels(mdata).notna().sum()))
        assert set(given["tokenizer"].svd_) == set(mdata.mod)
        return fit(self, mdata, **given)

    monkeypatch.setattr(LinearMosaic, "fit", spy)
    mdata = cells({"a": 0.5, "b": 0.0}, donors=2)
    before = contract.fingerprint(mdata), repr(mdata.uns), list(mdata.obsm)
    table = tl.modality_value(mdata, tasks=["cell_state"], seed=1)
    assert (contract.fingerprint(mdata), repr(mdata.uns), list(mdata.obsm)) == before
    assert sorted(mods for mods, _, _ in seen) == sorted([("a", "b"), ("a",), ("b",)] * 2)
    assert {len(names) for _, names, _ in seen} == {N // 2} and {n for _, _, n in seen} == {0}
    assert table["words"].str.contains("says nothing about new donors").all() and (table["n_units"] == 2).all()


def test_same_seed_same_table():
    mdata = cells({"a": 0.5, "b": 0.3}, n=120)
    first, again = (tl.modality_value(mdata, tasks=["imputation"], seed=2) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)


def test_skill_is_that_of_the_model():
    mdata = cells({"a": 0.6, "b": 0.6})
    folds = make_folds(mdata, n_splits=3, seed=0)
    assert np.bincount(folds.fold).tolist() == [80, 80, 80]
    fold = Fold(mdata, folds.fold == 0, LinearMosaic, seed=0)
    found = fold.skill(("a", "b"), "a")
    query = contract.subset(mdata, folds.fold == 0)
    model = fold.fit(("a", "b"))
    predicted = model.impute(query, "a").mean.to_numpy()
    truth, every = (np.vstack([dense_nan(x, None) for _, x in model.tokenizer_.scaled(m, "a")]) for m in (query, mdata))
    columns = model.tokenizer_.features_["a"]
    expected = 1 - (((truth - predicted) / every.std(axis=0)) ** 2)[:, columns].mean(axis=1)
    np.testing.assert_allclose(found[folds.fold == 0], expected, atol=1e-5)
    assert np.isnan(found[folds.fold != 0]).all()


def test_what_cannot_be_asked():
    both = cells({"a": 0.5, "b": 0.5}, n=60)
    with pytest.raises(InputError, match="at least two modalities.*found one"):
        tl.modality_value(cells({"a": 0.5}))
    with pytest.raises(InputError, match="'cell_state' cannot be asked: MeanKNNRidge does not embed"):
        tl.modality_value(both, model="MeanKNNRidge", tasks=["cell_state"])
    with pytest.raises(InputError, match="'guess' cannot be asked: there is no such task"):
        tl.modality_value(both, tasks=["guess"])
    with pytest.raises(InputError, match="nothing can be asked"):
        tl.modality_value(both, model="KNNLabels")
    with pytest.raises(InputError, match="two cells with several modalities"):
        tl.modality_value(both, n_splits=31)
    del both.uns["omicsfm"]["keys"]["label"]
    with pytest.raises(InputError, match="there are no labels"):
        tl.modality_value(both, tasks=["cell_state"])
    only = tl.modality_value(both, model="MeanKNNRidge")
    assert only["task"].unique().tolist() == ["imputation"]


def test_figure_shows_every_answer(noise):
    ax = draw(noise)
    texts = [t.get_text() for t in ax.texts]
    assert sum("label of a cell: type" in t for t in texts) == 2 and "with b" in texts
    row = noise.iloc[0]
    assert f"{row['difference']:+.3f} [{row['lower']:.3f}, {row['upper']:.3f}]" in texts
    points = [line for line in ax.get_lines() if len(line.get_xdata()) == 1]
    assert [p.get_xdata()[0] for p in points] == noise.loc[noise["n"] > 0, "difference"].tolist()
