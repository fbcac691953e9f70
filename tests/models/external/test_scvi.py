"""The adapters of scvi-tools: the contract, the same numbers as the peer's own, and nothing of it left behind.

scvi-tools takes some ten seconds to import: all that needs it is in this file, and nothing imports it on collection.
"""

import logging
import random
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from sklearn.neighbors import KNeighborsClassifier

from omicsfm import InputError, OmicsfmWarning, _compat, contract, metrics, testing
from omicsfm.models.external import _scvi, _scvi_tame, scanvi
from omicsfm.models.external.multivi import MultiVI
from omicsfm.models.external.peakvi import PeakVI
from omicsfm.models.external.scanvi import ScANVI
from omicsfm.models.external.totalvi import TotalVI
from omicsfm.testing._answers import lenient
from omicsfm.testing._toy import alone


def small(model, **params):
    """A factory of a model that trains in a fraction of a second."""
    return lambda: model(4, n_hidden=8, **{"max_epochs": 2, "accelerator": "cpu", **params})


def toy_atac(n=80, seed=0):
    """RNA and chromatin of cells of two types, a quarter each without the other."""
    profile = np.random.default_rng(1)
    rng = np.random.default_rng(seed)
    kind = np.arange(n) % 2
    names = np.array([f"a{i}" for i in range(n)])
    has = {"rna": np.arange(n) % 4 != 1, "atac": np.arange(n) % 4 != 2}
    rate = {"rna": profile.gamma(1.0, 2.0, (2, 40)), "atac": profile.gamma(0.3, 0.8, (2, 90))}
    mods = {}
    for mod, rate_cg in rate.items():
        cells = rng.permutation(np.flatnonzero(has[mod]))
        x = sp.csr_matrix(rng.poisson(rate_cg[kind[cells]]).astype(np.float32))
        var = pd.DataFrame(index=[f"{mod}:{i}" for i in range(x.shape[1])])
        mods[mod] = AnnData(x, obs=pd.DataFrame(index=names[cells]), var=var)
    obs = pd.DataFrame({"batch": np.where(np.arange(n) < n // 2, "one", "two"), "label": kind.astype(str)}, index=names)
    mdata = _compat.make_mudata(mods, obs)
    contract.setup(mdata, batch_key="batch", label_key="label")
    return mdata


def fit(factory, mdata):
    with lenient():
        return factory().fit(mdata)


def embed(model, mdata):
    with lenient():
        return model.embed(mdata)


def everyone(mdata):
    """A deep copy."""
    return contract.subset(mdata, np.ones(mdata.n_obs, dtype=bool))


@pytest.fixture(scope="module")
def toy():
    return testing.toy_mosaic()


@pytest.fixture(scope="module")
def fitted(toy):
    """Each model once; none of the tests changes it."""
    models = {model.__name__: fit(small(model), toy) for model in (MultiVI, TotalVI, ScANVI)}
    models["PeakVI"] = fit(small(PeakVI), toy_atac())
    return models


@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("model", [MultiVI, TotalVI, ScANVI])
def test_contract(model, check):
    check(small(model))


@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
def test_contract_of_chromatin(check):
    check(small(PeakVI), toy_atac())
    if check in (testing.check_output, testing.check_any_subset, testing.check_round_trip):
        check(small(MultiVI), toy_atac())


@pytest.mark.parametrize(
    ("module", "model", "data"),
    [
        (_scvi, MultiVI, testing.toy_mosaic),
        (_scvi, MultiVI, toy_atac),
        (_scvi, TotalVI, testing.toy_mosaic),
        (scanvi, ScANVI, testing.toy_mosaic),
        (_scvi, PeakVI, toy_atac),
    ],
)
def test_states_are_those_of_the_peer(module, model, data, monkeypatch):
    train, theirs = module.run_training, {}

    def spy(method, split, **kwargs):
        train(method, split, **kwargs)
        peer = method.__self__
        theirs["latent"] = peer.get_latent_representation()
        theirs["label"] = peer.predict() if hasattr(peer, "predict") else None

    monkeypatch.setattr(module, "run_training", spy)
    mdata = data()
    ours = fit(small(model), mdata)
    counts = ours._query(mdata)
    placed = ours._can_place(counts)
    assert placed.sum() >= 60 and placed.all() == (model is MultiVI)
    np.testing.assert_allclose(embed(ours, mdata)[placed], theirs["latent"], rtol=1e-4, atol=1e-5)
    if theirs["label"] is not None:
        with lenient():
            found = ours.annotate(mdata)
        assert [f"{ours.labels_.index(label):06d}" for label in found["label"][placed]] == theirs["label"].tolist()


def test_padding_is_never_read_back(fitted, toy):
    model = fitted["MultiVI"]
    before = embed(model, toy)
    other = fit(small(MultiVI), toy)
    other.weights_ = {k: v + 1 if k.startswith("z_encoder_protein") else v for k, v in model.weights_.items()}
    other._net = None
    after = embed(other, toy)
    mask = contract.modality_mask(toy)
    empty = (np.asarray(toy.mod["rna"].X).sum(axis=1) == 0)[toy.mod["rna"].obs_names.get_indexer(toy.obs_names)]
    without = ~mask["protein"].to_numpy() & ~empty
    assert without.sum() > 10
    np.testing.assert_array_equal(after[without], before[without])
    assert np.abs(after[~without] - before[~without]).max(axis=1).min() > 1e-3


@pytest.mark.parametrize("name", ["MultiVI", "TotalVI"])
def test_a_cell_is_not_predicted_from_its_own_values(name, fitted, toy):
    model = fitted[name]
    other = everyone(toy)
    other.mod["protein"].X = np.asarray(other.mod["protein"].X)[::-1] * 3
    with lenient():
        found, again = model.impute(toy, "protein"), model.impute(other, "protein")
    if name == "MultiVI":
        pd.testing.assert_frame_equal(found.mean, again.mean)
        assert not np.allclose(embed(model, toy), embed(model, other))
    only = toy.obs_names[~contract.modality_mask(toy)["protein"].to_numpy()]
    asked = contract.modality_mask(toy).all(axis=1)
    rna = alone(toy, "rna")
    with lenient():
        lacking = model.impute(rna, "protein")
    both = toy.obs_names[asked]
    # Whether a cell has protein that is hidden, or has none, is the same question.
    np.testing.assert_allclose(found.mean.loc[both], lacking.mean.loc[both], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.mean.loc[only], lacking.mean.loc[only], rtol=1e-4, atol=1e-5)


def test_zeros_that_were_measured_are_asked_for_and_get_the_mean_state(fitted, toy):
    model = fitted["MultiVI"]
    query = everyone(toy)
    query.mod["rna"].X[:] = 0
    del query.mod["protein"]
    query = alone(query, "rna")
    with pytest.warns(OmicsfmWarning, match=f"{query.n_obs} cells have no count in every modality"):
        state = model.embed(query)
    np.testing.assert_array_equal(state, np.tile(model.mean_state_, (query.n_obs, 1)))
    with pytest.warns(OmicsfmWarning, match=f"{query.n_obs} cells have nothing that 'protein'"):
        found = model.impute(query, "protein")
    outlet = model.outlets_["protein"]
    np.testing.assert_allclose(found.mean.iloc[0], outlet.mean)
    np.testing.assert_allclose(found.upper.iloc[0] - found.mean.iloc[0], outlet.mean_half)
    with pytest.warns(OmicsfmWarning, match="most frequent label and are unknown"):
        table = fitted["ScANVI"].annotate(query)
    assert table["unknown"].all() and table["label"].nunique() == 1


@pytest.mark.parametrize("name", ["MultiVI", "TotalVI", "ScANVI"])
def test_a_new_batch_is_no_obstacle(name, fitted, toy):
    model = fitted[name]
    query = everyone(toy)
    query.obs["batch"] = "never seen"
    found = embed(model, query)
    if name != "TotalVI":
        np.testing.assert_array_equal(found, embed(model, toy))
        return
    parts = []
    for batch in ("one", "two"):
        query.obs["batch"] = batch
        parts.append(embed(model, query))
    np.testing.assert_allclose(found, np.mean(parts, axis=0), atol=1e-5)
    assert not np.allclose(parts[0], parts[1], atol=1e-3)


@pytest.mark.parametrize("model", [MultiVI, TotalVI])
def test_order_of_modalities_does_not_matter(model, fitted, toy):
    turned = _compat.make_mudata({m: toy.mod[m].copy() for m in reversed(list(toy.mod))}, toy.obs.copy())
    contract.setup(turned, batch_key="batch", label_key="label", modalities={"rna": "rna", "protein": "protein"})
    assert list(turned.mod) == list(toy.mod)[::-1]
    name = model.__name__
    np.testing.assert_array_equal(embed(fit(small(model), turned), toy), embed(fitted[name], toy))


@pytest.mark.parametrize("model", [MultiVI, TotalVI, ScANVI])
def test_nothing_is_left_behind(model, toy, monkeypatch, tmp_path, capfd):
    import torch

    monkeypatch.chdir(tmp_path)
    numpy_state, python_state, torch_state = np.random.get_state()[1].copy(), random.getstate(), torch.get_rng_state()
    torch.set_num_threads(2)
    filters, disabled = list(warnings.filters), logging.root.manager.disable
    torch.backends.cudnn.benchmark = False
    testing.outputs(fit(small(model, seed=3), toy), toy)
    assert (np.random.get_state()[1] == numpy_state).all() and random.getstate() == python_state
    assert torch.equal(torch.get_rng_state(), torch_state) and torch.get_num_threads() == 2
    assert warnings.filters == filters and logging.root.manager.disable == disabled
    assert not torch.backends.cudnn.benchmark
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_everything_is_put_back_after_an_error(toy, monkeypatch):
    import torch

    def fails(*args, **kwargs):
        torch.rand(3)
        raise RuntimeError("inside scvi")

    monkeypatch.setattr(_scvi, "run_training", fails)
    state, disabled = torch.get_rng_state(), logging.root.manager.disable
    with pytest.raises(RuntimeError, match="inside scvi"):
        fit(small(MultiVI), toy)
    assert torch.equal(torch.get_rng_state(), state) and logging.root.manager.disable == disabled


def test_nan_is_tried_again_and_then_explained():
    import torch

    class Peer:
        def __init__(self, weight):
            self.module = torch.nn.Linear(1, 1)
            torch.nn.init.constant_(self.module.weight, weight)

    rates = []

    def train(lr, fail):
        rates.append(lr)
        if len(rates) <= fail:
            raise ValueError("Expected parameter loc (Tensor of shape (3, 2)) to satisfy the constraint Real()")
        return Peer(1.0)

    assert _scvi_tame.guarded("X", lambda lr: train(lr, 1), 0.1).module.weight.item() == 1
    assert rates == [0.1, 0.01]
    rates.clear()
    with pytest.raises(InputError, match=r"X\.fit: the network became NaN.*Fix: lower lr"):
        _scvi_tame.guarded("X", lambda lr: train(lr, 2), 0.1)
    with pytest.raises(InputError, match="became NaN"):
        _scvi_tame.guarded("X", lambda lr: Peer(float("nan")), 0.1)
    with pytest.raises(ValueError, match="something else"):
        _scvi_tame.guarded("X", lambda lr: (_ for _ in ()).throw(ValueError("something else")), 0.1)


def test_no_batch_of_one_cell():
    assert _scvi_tame.no_lone_cell(128, [129]) == 127
    assert _scvi_tame.no_lone_cell(128, [1000, 256]) == 128
    size = _scvi_tame.no_lone_cell(64, [129, 65])
    assert 129 % size != 1 and 65 % size != 1


def test_models_say_what_they_lack(toy):
    with pytest.raises(InputError, match=r"PeakVI\.fit.*atac.*found protein \(protein\), rna \(rna\)"):
        fit(small(PeakVI), toy)
    with pytest.raises(InputError, match=r"ScANVI\.fit.*rna.*found protein"):
        fit(small(ScANVI), alone_with_labels(toy))
    with pytest.raises(InputError, match=r"MultiVI\.fit: at least two modalities"):
        fit(small(MultiVI), alone(toy, "rna"))
    unlabelled = everyone(toy)
    unlabelled.uns.clear()
    contract.setup(unlabelled, batch_key="batch", modalities={"rna": "rna", "protein": "protein"})
    with pytest.raises(InputError, match="no label key"):
        fit(small(ScANVI), unlabelled)
    unlabelled.obs["label"] = "T"
    contract.setup(unlabelled, label_key="label")
    with pytest.raises(InputError, match="at least two labels.*found 1"):
        fit(small(ScANVI), unlabelled)
    with pytest.raises(InputError, match="cannot predict 'rna'.*protein"):
        fit(small(TotalVI), toy).impute(toy, "rna")


def alone_with_labels(toy):
    mdata = alone(toy, "protein")
    contract.setup(mdata, label_key="label", modalities={"protein": "protein"})
    return mdata


def test_other_modalities_are_left_out_with_a_word(make_mosaic):
    mdata = make_mosaic(40, n_vars={"rna": 30, "protein": 8, "guide": 6})
    with pytest.warns(OmicsfmWarning, match="left out is guide"):
        model = small(MultiVI)().fit(mdata)
    assert model.modalities_ == {"rna": "rna", "protein": "protein"}
    with lenient(), pytest.raises(InputError, match="cannot predict 'guide'"):
        model.impute(mdata, "guide")


@pytest.mark.parametrize("model", [MultiVI, TotalVI])
def test_panels_that_differ_by_batch(model, toy):
    mdata = everyone(toy)
    protein = mdata.mod["protein"]
    panel = pd.DataFrame({"one": True, "two": np.arange(15) >= 3}, index=protein.var_names)
    protein.varm["measured"] = panel
    fitted = fit(small(model), mdata)
    outlet = fitted.outlets_["protein"]
    names = [fitted.batches_[code] for code in outlet.batches]
    assert names == ["one", "two"] and outlet.panel[0].all() and not outlet.panel[1][:3].any()
    # What stands where nothing was measured is never looked at.
    other = everyone(mdata)
    gone = (mdata.obs["batch"][protein.obs_names] == "two").to_numpy()
    x = np.array(other.mod["protein"].X)
    x[np.ix_(gone, np.arange(3))] = 77
    other.mod["protein"].X = x
    np.testing.assert_array_equal(embed(fit(small(model), other), other), embed(fitted, mdata))
    with lenient():
        mean = fitted.impute(mdata, "protein").mean.to_numpy()
    assert np.isfinite(mean).all()


def test_a_query_may_lack_features(fitted, toy):
    query = everyone(toy)
    short = query.mod["rna"][:, 5:].copy()
    query = _compat.make_mudata({"rna": short, "protein": query.mod["protein"]}, query.obs)
    shuffled = everyone(toy)
    rna = shuffled.mod["rna"][:, np.random.default_rng(0).permutation(60)].copy()
    shuffled = _compat.make_mudata({"rna": rna, "protein": shuffled.mod["protein"]}, shuffled.obs)
    for name in ("MultiVI", "TotalVI", "ScANVI"):
        full = embed(fitted[name], toy)
        np.testing.assert_array_equal(embed(fitted[name], shuffled), full)
        assert not np.allclose(embed(fitted[name], query), full)


def test_real_cells_are_placed_and_proteins_predicted(real):
    mdata = contract.subset(real("pbmc_mosaic"), slice(None, None, 2))
    mask = contract.modality_mask(mdata)
    hidden = np.flatnonzero(mask.all(axis=1))[::3]
    seen = ~np.isin(np.arange(mdata.n_obs), hidden)
    train = contract.select(mdata, {"rna": mask["rna"].to_numpy(), "protein": mask["protein"].to_numpy() & seen})
    contract.setup(train, batch_key="batch", label_key="celltype")
    model = MultiVI(max_epochs=25, accelerator="cpu").fit(train)
    query = contract.subset(train, hidden)
    found = model.impute(query, "protein")
    truth = np.vstack([np.asarray(b) for _, b in model.tokenizer_.scaled(contract.subset(mdata, hidden), "protein")])
    order = contract.rows(contract.subset(mdata, hidden), "protein")
    truth = truth[np.argsort(order)]
    r = metrics.pearson_per_feature(truth, found.mean.to_numpy(), constant_prediction=0.0)
    assert np.nanmean(r) > 0.2
    inside = (truth >= found.lower.to_numpy()) & (truth <= found.upper.to_numpy())
    assert 0.8 < inside.mean() < 0.97
    state = model.embed(train)
    known = np.setdiff1d(np.arange(train.n_obs), hidden)
    kind = train.obs["celltype"].astype(str).to_numpy()
    assert KNeighborsClassifier(10).fit(state[known], kind[known]).score(state[hidden], kind[hidden]) > 0.6
