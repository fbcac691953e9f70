"""LinearMosaic on the real PBMC mosaic: the calls of the issue, and what nobody would notice if it went wrong."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData
from sklearn.base import clone

import omicsfm as ofm
from omicsfm import InputError, OmicsfmWarning, _compat, contract
from omicsfm.models import LinearMosaic
from omicsfm.pp import Tokenizer


@pytest.fixture(scope="module")
def train(real) -> MuData:
    """One donor of each kind; a third of the labels are NaN."""
    mdata = real("pbmc_mosaic")
    rng = np.random.default_rng(0)
    mdata.obs["known"] = mdata.obs["celltype"].astype(object).where(rng.random(mdata.n_obs) < 0.67)
    ofm.setup(mdata, batch_key="batch", label_key="known")
    return mdata


@pytest.fixture(scope="module")
def model(train: MuData) -> LinearMosaic:
    return LinearMosaic(seed=0).fit(train)


def cut(adata: AnnData, cells: object) -> AnnData:
    """Some cells; anndata 0.13 warns about pandas when it slices."""
    with _compat.silent():
        return adata[cells].copy()


def paired(mdata: MuData) -> np.ndarray:
    return contract.modality_mask(mdata).to_numpy().all(axis=1)


def only(mdata: MuData, mod: str) -> MuData:
    """The cells of one modality as if nothing else had been measured, in a MuData that `setup` never saw."""
    out = _compat.make_mudata({mod: mdata.mod[mod].copy()})
    out.obs["batch"] = mdata.obs["batch"].astype(str)[out.obs_names].to_numpy()
    return out


@pytest.mark.filterwarnings("ignore:.* cells have no modality other than:omicsfm.OmicsfmWarning")
def test_the_calls_of_the_issue(train: MuData, model: LinearMosaic, tmp_path: Path) -> None:
    z, sd = model.embed(train, return_sd=True)
    assert z.shape == sd.shape
    assert len(z) == train.n_obs == 1600
    np.testing.assert_array_equal(model.embed(train), z)
    assert np.isfinite(z).all()
    assert (sd > 0).all()
    imputed = model.impute(train, "protein")
    protein = train.mod["protein"]
    for table in (imputed.mean, imputed.sd, imputed.lower, imputed.upper):
        assert list(table.index) == list(train.obs_names)
        assert list(table.columns) == list(protein.var_names)
        assert np.isfinite(table.to_numpy()).all()
    assert ((imputed.lower < imputed.mean) & (imputed.mean < imputed.upper)).all(axis=None)
    assert imputed.level == 0.9
    scaled = imputed.transform(protein.X)
    log = np.log1p(protein.X.toarray().astype(np.float64))
    np.testing.assert_allclose(scaled, log - log.mean(axis=1, keepdims=True), atol=1e-6)
    found = model.annotate(train)
    assert list(found.index) == list(train.obs_names)
    assert list(found.columns[:3]) == ["label", "confidence", "unknown"]
    assert found["confidence"].between(0, 1).all()
    hidden = train.obs["known"].isna()
    assert (found["label"] == train.obs["celltype"].astype(str))[hidden].mean() > 0.9
    model.save(tmp_path / "model")
    loaded = ofm.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.embed(train), z)
    np.testing.assert_array_equal(loaded.impute(train, "rna").upper, model.impute(train, "rna").upper)
    pd.testing.assert_frame_equal(loaded.annotate(train), found)
    assert loaded.get_params() == model.get_params()


def test_rows_follow_obs_names(train: MuData, model: LinearMosaic) -> None:
    """Cells in another order, and modalities each in an order of its own."""
    rng = np.random.default_rng(1)
    mods = {m: cut(a, rng.permutation(a.n_obs)) for m, a in reversed(train.mod.items())}
    shuffled = _compat.make_mudata(mods, train.obs.iloc[rng.permutation(train.n_obs)])
    assert list(shuffled.obs_names) != list(train.obs_names)
    order = train.obs_names.get_indexer(shuffled.obs_names)
    z, sd = model.embed(train, return_sd=True)
    z2, sd2 = model.embed(shuffled, return_sd=True)
    np.testing.assert_allclose(z2, z[order], atol=1e-5)
    np.testing.assert_allclose(sd2, sd[order], atol=1e-6)
    both = contract.subset(train, paired(train))
    other = contract.subset(shuffled, paired(shuffled))
    wanted, found = model.impute(both, "protein"), model.impute(other, "protein")
    np.testing.assert_allclose(found.mean.loc[wanted.mean.index], wanted.mean, atol=1e-4)


def test_any_subset_of_modalities_and_single_cells(train: MuData, model: LinearMosaic) -> None:
    z = model.embed(train)
    for names, mod in product((["rna"], ["protein"], ["rna", "protein"]), ("one", "many")):
        cells = np.flatnonzero(contract.modality_mask(train)[names].to_numpy().all(axis=1))
        cells = cells[:1] if mod == "one" else cells[::7]
        query = _compat.make_mudata({m: cut(train.mod[m], train.obs_names[cells]) for m in names})
        query.obs["batch"] = train.obs["batch"].astype(str)[query.obs_names].to_numpy()
        found = model.embed(query)
        assert found.shape == (len(cells), z.shape[1])
        assert np.isfinite(found).all()
        assert len(model.annotate(query)) == len(cells)
        if len(names) == 2:  # all that was measured in them: alone as among others
            np.testing.assert_allclose(found, z[cells], atol=1e-5)
        for target in {"rna", "protein"} - set(names):
            assert np.isfinite(model.impute(query, target).mean).all(axis=None)


def test_a_view_is_as_good_as_a_copy(train: MuData, model: LinearMosaic) -> None:
    cells = np.flatnonzero(paired(train))[::-5]
    with _compat.quiet():
        view = train[cells]
    copy = contract.subset(train, cells)
    np.testing.assert_array_equal(model.embed(view), model.embed(copy))
    np.testing.assert_array_equal(model.impute(view, "rna").mean, model.impute(copy, "rna").mean)


def test_same_seed_same_bits_and_another_seed(train: MuData, model: LinearMosaic) -> None:
    state = np.random.get_state()[1].copy()
    again = clone(model).fit(train)
    np.testing.assert_array_equal(again.embed(train), model.embed(train))
    both = contract.subset(train, paired(train))
    np.testing.assert_array_equal(again.impute(both, "protein").upper, model.impute(both, "protein").upper)
    pd.testing.assert_frame_equal(again.annotate(both), model.annotate(both))
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # nothing touches the global generator


def test_nothing_given_is_changed(train: MuData, model: LinearMosaic) -> None:
    before = contract.fingerprint(train)
    obs, obsm, uns = train.obs.copy(), set(train.obsm), set(train.uns["omicsfm"])
    LinearMosaic(n_landmarks=0).fit(train)
    both = contract.subset(train, paired(train))
    raw = both.mod["protein"].X.copy()
    model.embed(both)
    imputed = model.impute(both, "protein")
    imputed.transform(raw)
    model.annotate(both)
    assert contract.fingerprint(train) == before
    assert (both.mod["protein"].X != raw).nnz == 0
    pd.testing.assert_frame_equal(train.obs, obs)
    assert set(train.obsm) == obsm
    assert set(train.uns["omicsfm"]) == uns


def test_a_measured_cell_of_zeros_is_not_missing(train: MuData, model: LinearMosaic) -> None:
    """All-zero protein counts are a measurement; absent protein is not."""
    cells = train.obs_names[paired(train)][:40]
    zero = contract.subset(train, cells)
    zero.mod["protein"].X = sp.csr_matrix(zero.mod["protein"].shape, dtype=np.float32)
    absent = _compat.make_mudata({"rna": zero.mod["rna"].copy()})
    absent.obs["batch"] = zero.obs["batch"].astype(str)[absent.obs_names].to_numpy()
    (z0, sd0), (z1, sd1) = model.embed(zero, return_sd=True), model.embed(absent, return_sd=True)
    assert np.isfinite(z0).all()
    assert np.linalg.norm(z0 - z1) > 0.1 * np.linalg.norm(z1)
    assert (sd0.mean(axis=0) < sd1.mean(axis=0)).all()


def test_labels_of_unlabelled_cells_have_no_way_in(train: MuData, model: LinearMosaic) -> None:
    """The truth of held-out cells stands in another column: turn it around and nothing changes."""
    other = contract.subset(train, slice(None))
    hidden = other.obs["known"].isna().to_numpy()
    kinds = other.obs["celltype"].astype(str).to_numpy().copy()
    kinds[hidden] = np.random.default_rng(0).permutation(kinds[hidden])
    other.obs["celltype"] = kinds
    for mod in other.mod.values():
        mod.obs["celltype"] = "B"
    again = LinearMosaic(seed=0).fit(other)
    np.testing.assert_array_equal(again.embed(other), model.embed(train))
    pd.testing.assert_frame_equal(again.annotate(other), model.annotate(train))


def test_labels_do_not_shape_the_state(train: MuData, model: LinearMosaic) -> None:
    other = contract.subset(train, slice(None))
    other.obs["known"] = np.random.default_rng(0).permutation(other.obs["known"].to_numpy())
    np.testing.assert_array_equal(LinearMosaic(seed=0).fit(other).embed(other), model.embed(train))


def test_a_hidden_modality_is_hidden(train: MuData, model: LinearMosaic) -> None:
    """Imputation never looks at what it imputes; a donor's removed protein cannot matter to a fit without it."""
    both = contract.subset(train, paired(train))
    altered = contract.subset(both, slice(None))
    rng = np.random.default_rng(0)
    altered.mod["protein"].X = sp.csr_matrix(rng.poisson(3.0, altered.mod["protein"].shape).astype(np.float32))
    a, b = model.impute(both, "protein"), model.impute(altered, "protein")
    for name in ("mean", "sd", "lower", "upper"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    rna = only(both, "rna")
    np.testing.assert_allclose(model.impute(rna, "protein").mean.loc[a.mean.index], a.mean, atol=1e-5)


def test_a_hidden_donor_does_not_reach_the_fit(train: MuData) -> None:
    """Fit without the protein of one donor: whatever it was, the same bits."""
    fits = []
    for scale in (1.0, 3.0):
        source = contract.subset(train, slice(None))
        protein = source.mod["protein"]
        held = (source.obs["batch"].astype(str)[protein.obs_names] == "p4_0").to_numpy()
        X = protein.X.tolil()
        X[held] = X[held] * scale
        protein.X = X.tocsr()
        mdata = _compat.make_mudata({"rna": source.mod["rna"].copy(), "protein": cut(protein, ~held)})
        mdata.obs["batch"] = source.obs["batch"].astype(str)[mdata.obs_names].to_numpy()
        ofm.setup(mdata, batch_key="batch")
        model = LinearMosaic(seed=0).fit(mdata)
        query = contract.subset(mdata, (mdata.obs["batch"] == "p4_0").to_numpy())
        fits.append(model.impute(query, "protein").upper.to_numpy())
    np.testing.assert_array_equal(*fits)


def test_less_measured_is_less_certain(train: MuData, model: LinearMosaic) -> None:
    """Taking a modality away widens the posterior of every cell on every factor."""
    both = contract.subset(train, paired(train))
    k = model.n_shared_
    tokens = model.tokenizer_.transform(both)
    assert tokens.n_obs == 800
    full = model.latent_.factors.posterior(("protein", "rna"))[2]
    for mod in ("rna", "protein"):
        part = model.latent_.factors.posterior((mod,))[2]
        assert (np.diag(part) > np.diag(full)).all()
        wider = model.embed(only(both, mod), return_sd=True)[1]
        assert (wider[:, :k] > model.embed(both, return_sd=True)[1][:, :k]).all()
    with pytest.warns(OmicsfmWarning, match="800 cells have no modality other than 'protein'"):
        blind = model.impute(only(both, "protein"), "protein")
    # Nothing but protein is there: the mean over cells with its full spread, which still covers.
    assert np.ptp(blind.mean.to_numpy(), axis=0).max() < 1e-9
    truth = blind.transform(cut(both.mod["protein"], blind.mean.index).X)
    assert 0.87 < ((truth >= blind.lower) & (truth <= blind.upper)).to_numpy().mean() < 0.95
    assert np.median(blind.sd.iloc[0] / truth.std(axis=0)) == pytest.approx(1, abs=0.1)
    seeing = model.impute(both, "protein")
    told = np.array([np.corrcoef(seeing.mean.loc[blind.mean.index].iloc[:, g], truth[:, g])[0, 1] for g in range(224)])
    assert (blind.sd.mean() > seeing.sd.mean())[told > 0.7].all()


def test_a_class_never_seen_is_unknown_more_often(train: MuData) -> None:
    other = contract.subset(train, slice(None))
    truth = other.obs["celltype"].astype(str)
    other.obs["known"] = other.obs["celltype"].astype(object).where((truth != "B") & other.obs["known"].notna())
    ofm.setup(other, batch_key="batch", label_key="known")
    found = LinearMosaic(n_landmarks=0).fit(other).annotate(other)
    assert "B" not in set(found["label"])
    fresh = other.obs["known"].isna() & (truth != "B")
    novel, known = found["unknown"][truth == "B"].mean(), found["unknown"][fresh].mean()
    assert novel > 2 * known
    assert found["confidence"][truth == "B"].mean() < found["confidence"][fresh].mean()


def test_given_tokens_are_the_tokens_it_would_make(train: MuData, model: LinearMosaic) -> None:
    tokenizer = Tokenizer(30, seed=0).fit(train)
    given = LinearMosaic(seed=0).fit(train, tokenizer=tokenizer, tokens=tokenizer.transform(train))
    np.testing.assert_array_equal(given.embed(train), model.embed(train))
    with pytest.raises(InputError, match="tokens came without their tokenizer"):
        LinearMosaic().fit(train, tokens=tokenizer.transform(train))


def test_tokens_of_other_cells_are_refused(train: MuData) -> None:
    """The same number of cells in another order would give a model of nonsense without a word."""
    tokenizer = Tokenizer(5).fit(train)
    rng = np.random.default_rng(0)
    shuffled = contract.subset(train, rng.permutation(train.n_obs))
    with pytest.raises(InputError, match=r"LinearMosaic.fit: the tokens are not those of these cells"):
        LinearMosaic(n_landmarks=0).fit(train, tokenizer=tokenizer, tokens=tokenizer.transform(shuffled))


def test_refitting_leaves_nothing_of_the_first_fit(train: MuData, model: LinearMosaic) -> None:
    other = contract.subset(train, paired(train))
    again = LinearMosaic(seed=0).fit(other)
    assert again.fit(train) is again
    np.testing.assert_array_equal(again.embed(train), model.embed(train))
