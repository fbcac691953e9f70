"""Embedding baselines against independent implementations, and the numbers they reach on real cells."""

import time
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.linalg
from sklearn.cross_decomposition import CCA as SklearnCCA
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from omicsfm import InputError, OmicsfmWarning, _compat, contract
from omicsfm.metrics import foscttm
from omicsfm.models.baselines import (
    CCA,
    WNN,
    ConcatPCA,
    KernelRidgeImputer,
    KNNImputer,
    KNNLabels,
    LogisticLabels,
    MajorityClass,
    MeanImputer,
    MeanKNNRidge,
    ModalityPCA,
    RidgeImputer,
)
from omicsfm.models.external import MOFA
from omicsfm.pp import Tokenizer, dense_nan, vstack

IMPUTERS = (MeanImputer, KNNImputer, RidgeImputer, KernelRidgeImputer, MeanKNNRidge)
EMBEDDERS = (ModalityPCA, ConcatPCA, CCA, WNN)
PAIRED = ["p3_0", "p4_0"]


def part(adata, cells):
    with _compat.silent():
        return adata[cells].copy()


def features(tokenizer, mdata, mod):
    """Dense features on the recipe's scale, in the order of ``mdata.obs_names``."""
    scaled = dense_nan(vstack([block for _, block in tokenizer.scaled(mdata, mod)]), None)
    return scaled[np.argsort(contract.rows(mdata, mod))]


def scaled_tokens(x):
    return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0).sum())


def without(mdata, mod, batch):
    """Hide one modality of one batch."""
    drop = mdata.obs_names[(mdata.obs["batch"].astype(str) == batch).to_numpy()]
    mods = {m: part(a, ~a.obs_names.isin(drop) if m == mod else slice(None)) for m, a in mdata.mod.items()}
    out = _compat.make_mudata(mods, mdata.obs)
    contract.setup(out, batch_key="batch", label_key="celltype", modalities={m: m for m in mods})
    return out


def only(mdata, mod, cells=slice(None)):
    adata = part(mdata.mod[mod], cells)
    return _compat.make_mudata({mod: adata}, mdata.obs.loc[adata.obs_names])


@pytest.mark.parametrize("mod", ["rna", "protein"])
def test_modality_pca_is_pca(paired, fitted, mod):
    model = ModalityPCA(mod).fit(paired)
    x = features(model.tokenizer_, paired, mod)[:, model.tokenizer_.features_[mod]]
    expected = PCA(30, svd_solver="full").fit(x)
    k = 5  # further on, neighbouring components of RNA have nearly the same variance and turn into each other
    angles = scipy.linalg.subspace_angles(model.tokenizer_.svd_[mod].components_[:k].T, expected.components_[:k].T)
    assert np.sin(angles.max()) < 1e-3
    z, want = model.embed(paired)[:, :k], expected.transform(x)[:, :k]
    assert np.abs(np.abs(z) - np.abs(want)).max() < 1e-2 * want.std()


def test_modality_pca_takes_the_one_most_cells_have(pbmc):
    assert ModalityPCA().fit(pbmc).modality_ == "rna"  # 1,200 each: the first
    fewer = without(pbmc, "rna", "p3_0")
    model = ModalityPCA().fit(fewer)
    assert model.modality_ == "protein"
    with pytest.warns(OmicsfmWarning, match="400 cells lack 'protein'"):
        z = model.embed(pbmc)
    mask = contract.modality_mask(pbmc)["protein"].to_numpy()
    assert (z[~mask] == 0).all() and (np.abs(z[mask]).sum(axis=1) > 0).all()
    with pytest.raises(InputError, match="no modality 'atac'"):
        ModalityPCA("atac").fit(pbmc)


def test_concat_pca_is_pca_of_scaled_tokens(paired, fitted):
    x = np.hstack([scaled_tokens(fitted[1][m]) for m in ("protein", "rna")])
    expected = PCA(30, svd_solver="full").fit(x)
    model = ConcatPCA().fit(paired)
    assert np.sin(scipy.linalg.subspace_angles(model.components_.T, expected.components_.T).max()) < 1e-3
    assert np.allclose(np.abs(model.embed(paired)), np.abs(expected.transform(x)), atol=1e-4)


def test_concat_pca_fills_a_missing_modality_with_its_mean(pbmc):
    model = ConcatPCA().fit(pbmc)
    query = only(pbmc, "rna")
    x = model.tokenizer_.transform(query).values["rna"]
    x = (x - model.views_.mean["rna"]) * model.views_.scale["rna"]
    filled = np.hstack([np.zeros((len(x), len(model.views_.mean["protein"]))), x])
    got = model.embed(query)[contract.rows(query, "rna")]
    assert np.allclose(got, (filled - model.mean_) @ model.components_.T)


def regularised_cca(a, b, ridge, k):
    """Vinod (1976) by whitening and a singular value decomposition."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    cov = [x.T @ x / len(x) for x in (a, b)]
    root = [np.linalg.cholesky(c + ridge * np.trace(c) / len(c) * np.eye(len(c))) for c in cov]
    cross = np.linalg.solve(root[0], a.T @ b / len(a))
    u, s, vt = np.linalg.svd(np.linalg.solve(root[1], cross.T).T)
    return a @ np.linalg.solve(root[0].T, u[:, :k]), b @ np.linalg.solve(root[1].T, vt[:k].T), s[:k]


def test_cca_is_regularised_cca(paired, fitted):
    u, v, s = regularised_cca(fitted[1]["protein"], fitted[1]["rna"], 0.05, 15)
    model = CCA().fit(paired)
    assert np.allclose(model.correlation_, s, atol=1e-6)
    assert np.allclose(np.abs(model.embed(paired)), np.abs((u + v) / 2 * s), atol=1e-4)
    for mod, variate in (("protein", u), ("rna", v)):  # one modality alone: its own variates
        query = only(paired, mod)
        assert np.allclose(
            np.abs(model.embed(query)), np.abs(variate * s)[paired.obs_names.get_indexer(query.obs_names)], atol=1e-4
        )


def test_cca_without_ridge_is_scikit_learns(paired, fitted):
    x = [fitted[1][m][:, :10] for m in ("protein", "rna")]
    model = CCA(3, ridge=0.0, n_tokens=10).fit(paired)
    u, v = SklearnCCA(3, scale=False, max_iter=5000, tol=1e-10).fit_transform(*x)
    assert np.allclose(model.correlation_, [np.corrcoef(u[:, i], v[:, i])[0, 1] for i in range(3)], atol=1e-3)


def test_cca_of_three_modalities_that_never_meet_all_at_once(make_mosaic):
    n = 300
    i = np.arange(n)
    has = {"rna": i % 3 != 0, "protein": i % 3 != 1, "atac": i % 3 != 2}
    mdata = make_mosaic(n, has=has, n_vars={"rna": 60, "protein": 30, "atac": 80})
    model = CCA().fit(mdata)
    z = {m: model.embed(only(mdata, m)) for m in has}
    label = {m: mdata.obs.loc[mdata.mod[m].obs_names, "celltype"].to_numpy() for m in has}
    for m, other in (("rna", "protein"), ("protein", "atac"), ("atac", "rna")):
        names = [only(mdata, x).obs_names for x in (m, other)]
        assert list(names[0]) == list(mdata.mod[m].obs_names)
        vote = KNeighborsClassifier(15).fit(z[m], label[m])
        assert vote.score(z[other], label[other]) > 0.9


def split(pbmc, batch):
    """Make RNA-only and protein-only cells of a paired batch."""
    mods, halves = {}, {}
    for mod, adata in pbmc.mod.items():
        mods[mod] = part(adata, slice(None))
        mine = (pbmc.obs.loc[adata.obs_names, "batch"].astype(str) == batch).to_numpy()
        halves[mod] = [f"{n}:{mod}" for n in adata.obs_names[mine]]
        mods[mod].obs_names = [f"{n}:{mod}" if m else n for n, m in zip(adata.obs_names, mine, strict=True)]
    names = pd.unique(np.concatenate([a.obs_names for a in mods.values()]))
    obs = pbmc.obs.loc[[n.removesuffix(":rna").removesuffix(":protein") for n in names], ["batch", "celltype"]]
    mdata = _compat.make_mudata(mods, obs.set_axis(names, axis=0))
    contract.setup(mdata, batch_key="batch", label_key="celltype", modalities={m: m for m in mods})
    return mdata, halves


@pytest.mark.parametrize(("model", "most"), [(CCA, 0.078), (WNN, 0.11)])
def test_hidden_pairs_are_found_again(pbmc, model, most):
    found = []
    for batch in PAIRED:
        mdata, halves = split(pbmc, batch)
        z = pd.DataFrame(model().fit(mdata).embed(mdata), index=mdata.obs_names)
        found.append(foscttm(z.loc[halves["rna"]].to_numpy(), z.loc[halves["protein"]].to_numpy()).mean())
    assert np.mean(found) < most


@pytest.mark.parametrize("model", [*EMBEDDERS, *IMPUTERS, MajorityClass, LogisticLabels, KNNLabels])
def test_a_mosaic_of_1600_cells_takes_a_second(pbmc, model):
    tokenizer = Tokenizer().fit(pbmc)
    tokens = tokenizer.transform(pbmc)
    start = time.process_time()
    model().fit(pbmc, tokenizer=tokenizer, tokens=tokens)
    assert time.process_time() - start < 2.0  # 0.0 to 0.6 here


@pytest.mark.parametrize("model", [CCA, WNN, *IMPUTERS, MOFA])
def test_one_modality_is_one_clear_error(pbmc, model):
    mdata = only(pbmc, "rna")
    contract.setup(mdata, batch_key="batch")
    with pytest.raises(InputError, match=f"{model.__name__}.fit: at least two modalities are needed, found one"):
        model().fit(mdata)


@pytest.mark.parametrize("model", [ModalityPCA, ConcatPCA])
def test_one_modality_can_be_embedded(pbmc, model):
    mdata = only(pbmc, "rna")
    contract.setup(mdata, batch_key="batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OmicsfmWarning)
        z = model().fit(mdata).embed(mdata)
    assert z.shape == (1200, 30) and np.isfinite(z).all()


def test_modalities_that_no_cell_links(pbmc):
    mdata, _ = split(contract.subset(pbmc, np.isin(pbmc.obs["batch"].astype(str), PAIRED[:1])), PAIRED[0])
    with pytest.raises(InputError, match="no cell links"):
        CCA().fit(mdata)
    ModalityPCA("rna").fit(mdata)


def test_not_a_mudata():
    adata = ad.AnnData(np.ones((3, 2), dtype=np.float32))
    for model in (*EMBEDDERS, *IMPUTERS, MajorityClass, MOFA):
        with pytest.raises(InputError, match="needed a MuData"):
            model().fit(adata)
