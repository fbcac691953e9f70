"""Imputing baselines against scikit-learn, their intervals, and whatever can be missing of inputs and targets."""

import warnings

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.kernel_ridge import KernelRidge as SklearnKernelRidge
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import KNeighborsRegressor

from omicsfm import OmicsfmWarning, _compat, contract, testing
from omicsfm.models import baselines
from omicsfm.models.baselines import (
    CCA,
    WNN,
    ConcatPCA,
    KernelRidgeImputer,
    KNNImputer,
    MeanImputer,
    MeanKNNRidge,
    ModalityPCA,
    RidgeImputer,
)
from omicsfm.models.baselines._regressors import KNN, STRENGTHS, Ridge
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


@pytest.mark.parametrize(
    ("model", "r"), [(KNNImputer, 0.365), (RidgeImputer, 0.370), (KernelRidgeImputer, 0.378), (MeanKNNRidge, 0.379)]
)
def test_protein_from_rna(pbmc, model, r):
    pearson, coverage = [], []
    for batch in PAIRED:
        train = without(pbmc, "protein", batch)
        query = contract.subset(train, (train.obs["batch"].astype(str) == batch).to_numpy())
        found = model().fit(train).impute(query, "protein")
        truth = found.transform(part(pbmc.mod["protein"], query.obs_names).X)
        mean = found.mean.to_numpy()
        pearson.append(np.nanmean([np.corrcoef(mean[:, j], truth[:, j])[0, 1] for j in range(truth.shape[1])]))
        coverage.append(((truth >= found.lower) & (truth <= found.upper)).to_numpy().mean())
    assert np.mean(pearson) > r
    assert 0.87 < np.mean(coverage) < 0.93


def test_imputers_are_the_regressions_of_scikit_learn(paired, fitted):
    x = scaled_tokens(fitted[1]["rna"])
    train, test = np.arange(600), np.arange(600, 800)
    y = features(fitted[0], paired, "protein")[train]
    mdata = contract.subset(paired, train)
    query = contract.subset(paired, test)
    tokenizer = Tokenizer().fit(paired)  # the same tokens for train and test

    def predict(model):
        fit = model.fit(mdata, tokenizer=tokenizer).fits_["protein"][1]
        return fit.regressors[0], model.impute(query, "protein").mean.to_numpy()

    # Views are centred and scaled on the training cells alone.
    mean, scale = fitted[1]["rna"][train].mean(axis=0), np.sqrt(fitted[1]["rna"][train].var(axis=0).sum())
    x = (fitted[1]["rna"] - mean) / scale
    assert np.allclose(predict(KNNImputer())[1], KNeighborsRegressor(20).fit(x[train], y).predict(x[test]), atol=1e-3)

    regressor, found = predict(RidgeImputer())
    unit = (np.linalg.svd(x[train] - x[train].mean(axis=0))[1] ** 2).mean()
    expected = RidgeCV(STRENGTHS * unit).fit(x[train], y)
    assert regressor.strength * unit == pytest.approx(expected.alpha_, rel=1e-6)
    assert np.allclose(found, expected.predict(x[test]), atol=1e-3)
    both = (found + predict(KNNImputer())[1]) / 2
    assert np.allclose(predict(MeanKNNRidge())[1], both, atol=1e-4)

    regressor, found = predict(KernelRidgeImputer(n_landmarks=600))
    lifted = regressor.features(x[train])
    penalty = regressor.ridge.strength * np.linalg.eigvalsh(np.cov(lifted.T, bias=True) * 600)
    penalty = penalty[penalty > penalty[-1] * 1e-10].mean()
    # scikit-learn's has no intercept: the kernel and the targets are centred for it.
    kernel = np.exp(-((x[train][:, None] - x[train][None]) ** 2).sum(axis=2) / regressor.width)
    cross = np.exp(-((x[test][:, None] - x[train][None]) ** 2).sum(axis=2) / regressor.width)
    middle = kernel - kernel.mean(axis=0) - kernel.mean(axis=1)[:, None] + kernel.mean()
    cross = cross - cross.mean(axis=1)[:, None] - kernel.mean(axis=0) + kernel.mean()
    expected = SklearnKernelRidge(alpha=penalty, kernel="precomputed").fit(middle, y - y.mean(axis=0))
    assert np.allclose(found, expected.predict(cross) + y.mean(axis=0), atol=1e-3)
    near = predict(KernelRidgeImputer(n_landmarks=300))[1]
    assert 0 < np.abs(near - found).mean() < 0.1 * found.std()


def test_sparse_targets_give_what_dense_ones_give():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(90, 5)), rng.poisson(0.5, (90, 12)).astype(float)
    ask = rng.normal(size=(7, 5))
    assert np.allclose(Ridge.fit(x, csr_matrix(y))(ask), Ridge.fit(x, y)(ask))
    assert Ridge.fit(x, csr_matrix(y)).strength == Ridge.fit(x, y).strength
    assert np.allclose(KNN.fit(x, csr_matrix(y), k=4)(ask), KNN.fit(x, y, k=4)(ask))


def test_mean_imputer_is_the_mean_of_all_cells_that_have_it(pbmc):
    model = MeanImputer().fit(pbmc)
    expected = features(model.tokenizer_, pbmc, "protein").mean(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the mean is what was asked for: nothing to warn of
        found = model.impute(pbmc, "protein")
    assert np.allclose(found.mean, expected) and (found.sd.nunique() == 1).all()


def test_intervals_are_the_conformal_quantile():
    rng = np.random.default_rng(0)
    residual = rng.normal(size=(57, 3))
    residual[:20, 1] = np.nan
    residual[:, 2] = np.nan
    sd, half = baselines._conformal.spread_and_half_width(residual, 0.9)
    for j, n in ((0, 57), (1, 37)):
        size = sorted(abs(residual[~np.isnan(residual[:, j]), j]))
        assert len(size) == n and half[j] == size[int(np.ceil(0.9 * (n + 1))) - 1]
        assert sd[j] == pytest.approx(np.sqrt(np.mean(np.square(size))))
    assert sd[2] == pytest.approx(np.sqrt((sd[0] ** 2 + sd[1] ** 2) / 2)) and half[2] > sd[2]


def test_batches_are_held_out_where_enough_is_left():
    rng = np.random.default_rng(0)
    batch = np.repeat(["a", "b", "c"], [40, 40, 20])
    assert [set(batch[f]) for f in baselines._conformal.folds(batch, rng)] == [{"a"}, {"b"}, {"c"}]
    lopsided = np.repeat(["a", "b"], [90, 10])
    found = list(baselines._conformal.folds(lopsided, rng))
    assert len(found) == 5 and sorted(np.concatenate(found)) == list(range(100))


def test_held_out_error_never_saw_its_cells():
    """Nearest neighbours know every cell they saw by heart: with one neighbour, a seen cell has no error."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)), rng.normal(size=(60, 3))
    residual = baselines._conformal.held_out_residuals(
        lambda a, b: KNN.fit(a, b, k=1), x, y, y, batch=np.full(60, "a"), rng=rng
    )
    assert residual.shape == (60, 3) and (np.abs(residual) > 1e-6).all()


@pytest.mark.parametrize("model", IMPUTERS)
def test_features_of_one_batch_only(real, model):
    whole = real("pbmc_cite_scvi")
    mods = {"rna": part(whole.mod["rna"], (slice(None), slice(300))), "protein": whole.mod["protein"]}
    mdata = _compat.make_mudata(mods, whole.obs)
    contract.setup(mdata, batch_key="batch")
    table = mdata.mod["protein"].varm["measured"].to_numpy()
    assert not table.all() and table.any(axis=1).all()
    batch = contract.batches(mdata).to_numpy()
    fitted = model().fit(mdata)
    found = fitted.impute(mdata, "protein")
    truth = features(fitted.tokenizer_, mdata, "protein")
    seen = ~np.isnan(truth)
    assert np.isfinite(found.mean.to_numpy()).all() and np.isfinite(found.upper.to_numpy()).all()
    inside = ((truth >= found.lower) & (truth <= found.upper)).to_numpy()
    assert 0.85 < inside[seen].mean() < 1
    if model is not MeanImputer:
        r = [np.corrcoef(found.mean.iloc[:, j][seen[:, j]], truth[seen[:, j], j])[0, 1] for j in range(seen.shape[1])]
        assert np.nanmean(np.array(r)[~table.all(axis=1)]) > 0.3  # of the proteins that one batch has
        assert len(fitted.fits_["protein"][1].panels) == len(np.unique(table, axis=0))
    assert set(batch) == {str(c) for c in mdata.mod["protein"].varm["measured"].columns}


def test_four_modalities_with_gaps(real):
    mdata = real("cll_mofa")
    model = RidgeImputer().fit(mdata)
    assert {f.pattern for f in model.fits_["mRNA"]} >= {(), ("Drugs",), ("Drugs", "Methylation", "Mutations")}
    testing.check_output(RidgeImputer, mdata)
    for embedder in EMBEDDERS:
        testing.check_any_subset(embedder, mdata)


def test_a_query_is_predicted_from_the_largest_set_it_has(real):
    mdata = real("cll_mofa")
    model = RidgeImputer().fit(mdata)
    query = contract.subset(mdata, contract.modality_mask(mdata).all(axis=1).to_numpy())
    both = _compat.make_mudata({m: query.mod[m] for m in ("Drugs", "Mutations")})
    fits = {f.pattern: f for f in model.fits_["mRNA"]}
    expected = fits["Drugs", "Mutations"].predict(np.hstack([_inputs(model, both, m) for m in ("Drugs", "Mutations")]))
    assert np.allclose(model.impute(both, "mRNA").mean, expected)


def _inputs(model, mdata, mod):
    tokens = model.tokenizer_.transform(mdata)
    return ((tokens.values[mod] - model.views_.mean[mod]) * model.views_.scale[mod])[np.argsort(tokens.rows[mod])]


@pytest.mark.parametrize("model", IMPUTERS[1:])
def test_a_cell_without_inputs_gets_the_mean(pbmc, model):
    fitted = model().fit(pbmc)
    query = contract.subset(pbmc, ~contract.modality_mask(pbmc)["rna"].to_numpy())
    with pytest.warns(OmicsfmWarning, match="400 cells have no modality"):
        found = fitted.impute(query, "protein")
    assert np.allclose(found.mean, features(fitted.tokenizer_, pbmc, "protein").mean(axis=0))
