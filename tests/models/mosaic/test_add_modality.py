"""A modality is added to a fitted model, and nothing that was there changes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from mudata import MuData

from omicsfm import InputError, OmicsfmWarning
from omicsfm.models import LinearMosaic, Mosaic


def trio(tools: SimpleNamespace, *, n: int = 300, has: dict | None = None, batch=None, seed: int = 4) -> MuData:
    """RNA, protein and a panel of tags that show the same three types."""
    world, rng = np.random.default_rng(11), np.random.default_rng(seed)
    kind = rng.integers(0, 3, n)
    counts = {
        m: rng.poisson(world.gamma(1.0, 6.0, (3, p))[kind]) for m, p in (("rna", 50), ("protein", 15), ("tag", 12))
    }
    return tools.make_cells(counts, has=has, label=np.array(["p", "q", "r"])[kind], batch=batch)


@pytest.fixture(scope="module")
def mdata(tools: SimpleNamespace) -> MuData:
    return trio(tools)


def fit(kind: str, tools: SimpleNamespace, mdata: MuData) -> LinearMosaic:
    if kind == "linear":
        return LinearMosaic(**tools.linear).fit(mdata)
    return Mosaic(**tools.net, max_epochs=2).fit(mdata)


@pytest.mark.parametrize("kind", ["linear", "learnt"])
def test_old_answers_stay_and_new_ones_are_good(tools: SimpleNamespace, mdata: MuData, kind: str, copy_of) -> None:
    if kind == "linear":
        model, old = fit(kind, tools, tools.alone(mdata, "rna", "protein")), None
        assert not hasattr(model, "correction_")
    else:  # with a correction that is applied
        old = tools.crossed(300)
        model = fit(kind, tools, old)
        assert model.gate_["rna->protein"] > 0
        rng = np.random.default_rng(0)
        first = old.obs["kind"].isin(["p", "q"]).to_numpy()
        counts = {m: np.asarray(old.mod[m].X.todense()) for m in ("rna", "protein")}
        counts["tag"] = rng.poisson(np.where(first[:, None], np.arange(1, 13), np.arange(12, 0, -1)))
        mdata = tools.make_cells(counts, label=old.obs["kind"].to_numpy())
    known = tools.alone(mdata, "rna", "protein")
    before = tools.answers(model, known)
    assert model.add_modality(mdata, "tag") is model
    for name, value in tools.answers(model, known).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)
    # The chain: each from each.
    for source, target in (("rna", "tag"), ("tag", "rna"), ("protein", "tag"), ("tag", "protein")):
        imputed = model.impute(tools.alone(mdata, source), target)
        truth = imputed.transform(mdata.mod[target].X)
        error = ((imputed.mean.to_numpy() - truth) ** 2).sum()
        assert error < 0.9 * ((truth - truth.mean(axis=0)) ** 2).sum(), (source, target)
        inside = (imputed.lower.to_numpy() <= truth) & (truth <= imputed.upper.to_numpy())
        assert 0.8 < inside.mean() < 0.97, (source, target)
    z = model.embed(tools.alone(mdata, "tag"))
    assert z.shape == before["mean"].shape and np.isfinite(z).all()
    loaded = copy_of(model)
    np.testing.assert_array_equal(loaded.embed(mdata), model.embed(mdata))
    np.testing.assert_array_equal(loaded.impute(mdata, "tag").upper, model.impute(mdata, "tag").upper)


def test_data_may_lack_a_known_modality(tools: SimpleNamespace, mdata: MuData) -> None:
    model = fit("linear", tools, tools.alone(mdata, "rna", "protein"))
    model.add_modality(tools.alone(mdata, "rna", "tag"), "tag")
    protein = model.impute(tools.alone(mdata, "tag"), "protein")  # which was never seen beside it
    truth = protein.transform(mdata.mod["protein"].X)
    assert ((protein.mean.to_numpy() - truth) ** 2).sum() < 0.8 * ((truth - truth.mean(axis=0)) ** 2).sum()


def test_batches_of_the_new_modality_are_aligned(tools: SimpleNamespace) -> None:
    """A factor on the tags of one batch is taken away; batches that the model does not know are left alone."""
    batch = np.random.default_rng(3).choice(["a", "b"], 400)
    mdata = trio(tools, n=400, batch=batch)
    kind = (mdata.obs["kind"] == "p").to_numpy()
    x = np.asarray(mdata.mod["tag"].X.todense())
    x[(batch == "b") & kind] = np.round(x[(batch == "b") & kind] * np.linspace(0.3, 3, 12))
    mdata.mod["tag"].X = type(mdata.mod["rna"].X)(x.astype(np.float32))
    model = fit("linear", tools, tools.alone(mdata, "rna", "protein"))
    model.add_modality(mdata, "tag")
    assert model.latent_.aligner.offset["tag"].shape[0] == 2
    assert np.abs(model.latent_.aligner.offset["tag"]).max() > 0.1
    z = model.embed(tools.alone(mdata, "tag"))[kind]
    told = np.abs(z[batch[kind] == "a"].mean(axis=0) - z[batch[kind] == "b"].mean(axis=0)).max()
    mdata.obs["batch"] = "elsewhere"
    z = model.embed(tools.alone(mdata, "tag"))[kind]
    untold = np.abs(z[batch[kind] == "a"].mean(axis=0) - z[batch[kind] == "b"].mean(axis=0)).max()
    assert told < 0.6 * untold


def test_refusals_leave_the_model_as_it_was(tools: SimpleNamespace, mdata: MuData, monkeypatch) -> None:
    pair = tools.alone(mdata, "rna", "protein")
    model = fit("linear", tools, pair)
    before = tools.answers(model, pair)
    for data, name, said in (
        (mdata, "rna", "'rna' must be in the data and new"),
        (pair, "tag", "'tag' must be in the data and new"),
        (tools.alone(mdata, "tag"), "tag", "0 cells have 'tag' and a modality of the model"),
        (trio(tools, has={"tag": np.arange(300) < 9}), "tag", "9 cells have 'tag'"),
    ):
        with pytest.raises(InputError, match=said):
            model.add_modality(data, name)
    with pytest.raises(InputError):
        model.add_modality(mdata.mod["tag"], "tag")
    with monkeypatch.context() as patch:
        patch.setattr(model, "_fit_decoder", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model.add_modality(mdata, "tag")
    assert set(model.decoders_) == set(model.latent_.lift) == {"rna", "protein"} == set(model.tokenizer_.var_names_)
    for name, value in tools.answers(model, pair).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)
    single = tools.alone(mdata, "rna")
    with pytest.warns(OmicsfmWarning, match="one modality only"):
        one = fit("linear", tools, single)
    with pytest.raises(InputError, match="fitted on one modality"):
        one.add_modality(mdata, "tag")
