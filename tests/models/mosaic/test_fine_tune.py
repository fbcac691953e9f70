"""Fine-tuning: new batches come to the reference, which stays; a failure leaves no trace."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from mudata import MuData
from sklearn.exceptions import NotFittedError

import omicsfm as ofm
from omicsfm import InputError
from omicsfm.models import Mosaic


@pytest.fixture(scope="module")
def reference(tools: SimpleNamespace) -> SimpleNamespace:
    batch = np.random.default_rng(5).choice(["a", "b"], 400)
    mdata = tools.crossed(400, batch=batch, shift=batch == "b")
    model = Mosaic(**tools.net, max_epochs=4, batch_penalty="none", label_weight=0.3).fit(mdata)
    assert model.gate_["rna->protein"] > 0 and model.latent_.aligner.batches == ["a", "b"]
    return SimpleNamespace(mdata=mdata, model=model, batch=batch)


def of_batch(tools: SimpleNamespace, name: str, *, n: int = 240, shifted: bool = True) -> MuData:
    """Cells of a new batch; every RNA feature of it has a factor of its own."""
    mdata = tools.crossed(n, seed=8, batch=np.full(n, name))
    if shifted:
        rna = mdata.mod["rna"]
        rna.X = type(rna.X)(np.round(rna.X.toarray() * np.random.default_rng(3).lognormal(0, 0.7, 60)))
    return mdata


def apart(z: np.ndarray, wanted: np.ndarray, mdata: MuData) -> float:
    """How far the kinds of cells of a batch lie from where the same cells would be without its shift."""
    kind = mdata.obs["kind"].to_numpy()
    return float(sum(np.linalg.norm((z - wanted)[kind == k].mean(axis=0)) for k in "pqrs"))


def test_a_new_batch_comes_to_the_reference(reference: SimpleNamespace, tools: SimpleNamespace, copy_of) -> None:
    model = copy_of(reference.model)
    new = of_batch(tools, "c")
    old = of_batch(tools, "a", shifted=False)  # the same cells
    was = apart(model.embed(tools.alone(new, "rna")), model.embed(tools.alone(old, "rna")), new)
    offset = {m: x.copy() for m, x in model.latent_.aligner.offset.items()}
    assert model.fine_tune(new, max_epochs=2) is model
    aligner = model.latent_.aligner
    assert aligner.batches == ["a", "b", "c"]
    for m, value in offset.items():
        np.testing.assert_array_equal(aligner.offset[m][:2], value)
    # Both by the tuned model: its correction has changed for old batches too.
    assert apart(model.embed(tools.alone(new, "rna")), model.embed(tools.alone(old, "rna")), new) < 0.7 * was
    imputed = model.impute(new, "protein")
    truth = imputed.transform(new.mod["protein"].X)
    inside = (imputed.lower.to_numpy() <= truth) & (truth <= imputed.upper.to_numpy())
    assert 0.85 < inside.mean() < 0.95
    # What it is now, it is after saving too; and it may be tuned again, by the same cells or others.
    loaded = copy_of(model)
    np.testing.assert_array_equal(loaded.embed(new), model.embed(new))
    np.testing.assert_array_equal(loaded.impute(new, "protein").upper, imputed.upper)
    offset = aligner.offset["rna"].copy()
    loaded.fine_tune(new, max_epochs=1)
    np.testing.assert_array_equal(loaded.latent_.aligner.offset["rna"], offset)
    loaded.fine_tune(of_batch(tools, "d"), max_epochs=1)
    assert loaded.latent_.aligner.batches == ["a", "b", "c", "d"]


def test_gates_and_earned_are_those_of_the_new_cells(
    reference: SimpleNamespace, tools: SimpleNamespace, copy_of
) -> None:
    """Here protein no longer says what RNA says together: the correction is not borne out, and is not applied."""
    model = copy_of(reference.model)
    new = of_batch(tools, "a", shifted=False)
    x = new.mod["protein"].X.toarray()
    rng = np.random.default_rng(0)
    first = new.obs["kind"].isin(["p", "q"]).to_numpy()  # of cells with one first switch, any protein
    for rows in (np.flatnonzero(first), np.flatnonzero(~first)):
        x[rows] = x[rng.permutation(rows)]
    new.mod["protein"].X = type(new.mod["rna"].X)(x)
    model.fine_tune(new, max_epochs=1)
    weight = {f"{row.source}->{row.target}": row.weight for row in model.earned_.itertuples() if row.what == "tokens"}
    assert weight == {key: model.gate_[key] for key in ("rna->protein", "protein->rna")}
    assert weight["rna->protein"] < reference.model.gate_["rna->protein"]
    imputed = model.impute(new, "protein")
    truth = imputed.transform(x)
    inside = (imputed.lower.to_numpy() <= truth) & (truth <= imputed.upper.to_numpy())
    assert 0.85 < inside.mean() < 0.95


def test_without_a_correction_one_may_be_learnt(tools: SimpleNamespace) -> None:
    """From new cells, where those of training were too few or said nothing."""
    few = tools.crossed(300, has={"protein": np.arange(300) < 50})
    model = Mosaic(**tools.net, max_epochs=2).fit(few)
    assert model.correction_ is None
    new = tools.crossed(500, seed=9)
    model.fine_tune(new, max_epochs=6)
    assert model.gate_["rna->protein"] > 0
    assert np.isfinite(model.impute(new, "protein").mean.to_numpy()).all()


@pytest.mark.parametrize("step", ["_train_on", "recalibrate"])
def test_a_failure_leaves_the_model_as_it_was(
    reference: SimpleNamespace, tools: SimpleNamespace, copy_of, monkeypatch, step: str
) -> None:
    from omicsfm.models import mosaic

    model = copy_of(reference.model)
    new = of_batch(tools, "c", n=100)
    before = tools.answers(model, new), model.gate_.copy(), model.earned_

    def fail(*_, **__):
        raise OSError("full")

    monkeypatch.setattr(model if step == "_train_on" else mosaic, step, fail)
    with pytest.raises(OSError, match="full"):
        model.fine_tune(new, max_epochs=1)
    for name, value in tools.answers(model, new).items():
        np.testing.assert_array_equal(value, before[0][name], err_msg=name)
    assert model.gate_ == before[1]
    assert model.earned_.equals(before[2])


def test_few_new_cells_and_one_modality(reference: SimpleNamespace, tools: SimpleNamespace, copy_of) -> None:
    """They give their batch an offset and change nothing else."""
    model = copy_of(reference.model)
    expected = tools.answers(model, reference.mdata)
    model.fine_tune(of_batch(tools, "c", n=30), max_epochs=1)
    model.fine_tune(tools.alone(of_batch(tools, "d", n=80), "rna"), max_epochs=1)
    assert model.latent_.aligner.batches == ["a", "b", "c", "d"]
    for name, value in tools.answers(model, reference.mdata).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_it_is_the_same_every_time(reference: SimpleNamespace, tools: SimpleNamespace, copy_of) -> None:
    new = of_batch(tools, "c", n=120)
    first, second = (copy_of(reference.model).fine_tune(new, max_epochs=1) for _ in range(2))
    for name, value in tools.answers(first, new).items():
        np.testing.assert_array_equal(value, tools.answers(second, new)[name], err_msg=name)


def test_an_added_modality_in_a_new_batch(tools: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    n = 160
    kind = np.arange(n) % 2
    counts = {m: rng.poisson(rng.gamma(1.0, 6.0, (2, p))[kind]) for m, p in (("rna", 40), ("protein", 12), ("tag", 9))}
    mdata = tools.make_cells(counts, batch=np.where(rng.random(n) < 0.5, "a", "b"))
    model = Mosaic(**tools.net, max_epochs=1).fit(tools.alone(mdata, "rna", "protein"))
    model.add_modality(mdata, "tag")
    mdata.obs["batch"] = "c"
    model.fine_tune(mdata, max_epochs=1)
    assert np.isfinite(model.embed(mdata)).all()
    assert np.isfinite(model.impute(tools.alone(mdata, "tag"), "rna").mean.to_numpy()).all()


def test_refusals(reference: SimpleNamespace, tools: SimpleNamespace) -> None:
    with pytest.raises(NotFittedError):
        Mosaic().fine_tune(reference.mdata)
    with pytest.raises(InputError):
        reference.model.fine_tune(reference.mdata.mod["rna"])
    other = ofm.contract.subset(reference.mdata, slice(None))
    other.mod["rna"].var_names = [f"X{i}" for i in range(60)]
    with pytest.raises(InputError, match="only 0% of the features"):
        reference.model.fine_tune(tools.alone(other, "rna"))
    assert reference.model.latent_.aligner.batches == ["a", "b"]
