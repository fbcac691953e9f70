"""LinearMosaic on data of other shapes, and on input that cannot work: one clear error or warning each."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData

import omicsfm as ofm
from omicsfm import InputError, OmicsfmWarning, _compat, contract
from omicsfm.models import LinearMosaic

TINY = {"n_latent": 5, "n_tokens": 8, "n_landmarks": 0}


def all_finite(model: LinearMosaic, mdata: MuData) -> dict:
    z, sd = model.embed(mdata, return_sd=True)
    assert len(z) == mdata.n_obs
    assert np.isfinite(np.hstack([z, sd])).all()
    out = {}
    for mod in mdata.mod:
        out[mod] = model.impute(mdata, mod)
        for name in ("mean", "sd", "lower", "upper"):
            assert np.isfinite(getattr(out[mod], name).to_numpy()).all(), (mod, name)
        assert (out[mod].sd.to_numpy() > 0).all()
    return out


def coverage(imputed, mdata: MuData, mod: str, measured: np.ndarray | None = None) -> float:
    """Share of measured values of cells with the modality that lie in their interval."""
    adata = mdata.mod[mod]
    names = adata.obs_names
    truth = imputed.transform(adata.X)
    inside = (truth >= imputed.lower.loc[names].to_numpy()) & (truth <= imputed.upper.loc[names].to_numpy())
    seen = ~np.isnan(truth) if measured is None else measured
    return float(inside[seen].mean())


def test_panels_that_differ_between_batches(real) -> None:
    """pbmc_cite_scvi: 15 of 29 proteins were measured in one of two batches."""
    mdata = real("pbmc_cite_scvi")
    genes = mdata.mod["rna"].X.getnnz(axis=0).argsort()[-600:]  # for speed
    measured = contract.measured(mdata, "rna")
    assert measured is not None
    with _compat.silent():
        rna = mdata.mod["rna"][:, np.sort(genes)].copy()
    small = _compat.make_mudata({"rna": rna, "protein": mdata.mod["protein"].copy()}, mdata.obs)
    ofm.setup(small, batch_key="batch")
    model = LinearMosaic().fit(small)
    imputed = all_finite(model, small)["protein"]
    panel = small.mod["protein"].varm["measured"]
    private = (panel.sum(axis=1) == 1).to_numpy()
    assert private.sum() == 15
    seen = contract.measured(small, "protein")
    # CLR over the panel of a cell: transform() sees no panel, so the truth is made by the recipe with it.
    truth = model.tokenizer_.recipes_["protein"].scale(small.mod["protein"].X, seen)
    inside = (truth >= imputed.lower.to_numpy()) & (truth <= imputed.upper.to_numpy())
    assert 0.85 < inside[seen].mean() < 0.98
    # A feature of one batch has no held-out batch to be judged by: its interval still covers, and is not huge.
    size = ((imputed.upper - imputed.lower).mean() / np.nanstd(truth, axis=0)).to_numpy()
    for g in np.flatnonzero(private):
        assert inside[seen[:, g], g].mean() > 0.85
        assert size[g] < 6
    # What stands in X where nothing was measured has no way in.
    other = contract.subset(small, slice(None))
    X = other.mod["protein"].X.toarray()
    X[~seen] = 99
    other.mod["protein"].X = sp.csr_matrix(X)
    np.testing.assert_array_equal(LinearMosaic().fit(other).embed(other), model.embed(small))


@pytest.mark.filterwarnings("ignore:.* cells have no modality other than:omicsfm.OmicsfmWarning")
def test_bulk_views_with_missing_values(real) -> None:
    """cll_mofa: 200 patients, four views, NaN inside them; no special case."""
    mdata = real("cll_mofa")
    model = LinearMosaic().fit(mdata)
    imputed = all_finite(model, mdata)
    for mod in mdata.mod:
        assert 0.85 < coverage(imputed[mod], mdata, mod) < 0.98, mod
    one = contract.subset(mdata, [3])
    assert np.isfinite(model.embed(one)).all()


def test_a_tiny_multiome(real) -> None:
    mdata = real("pbmc10x_multiome_regions_muon")
    model = LinearMosaic().fit(mdata)
    imputed = all_finite(model, mdata)
    assert 0.85 < coverage(imputed["rna"], mdata, "rna") < 0.95
    assert model.labels_ is None
    with pytest.raises(InputError, match=r"annotate: the model was fitted without labels.*label_key"):
        model.annotate(mdata)


def test_modalities_that_no_cell_links(make_mosaic) -> None:
    half = np.arange(240) < 120
    with pytest.raises(InputError, match=r"no cell links these groups of modalities: rna \| protein.*Fix: add cells"):
        LinearMosaic().fit(make_mosaic(has={"rna": half, "protein": ~half}))


@pytest.mark.parametrize("batches", [None, "by modality"])
@pytest.mark.parametrize("spare", [False, True])
def test_modalities_linked_by_a_chain(make_mosaic, batches: str | None, spare: bool) -> None:
    """rna - protein - atac. Each pair in a batch of its own: holding that out must not take the only link away."""
    i = np.arange(300)
    first, second = i < 150, i >= 150
    batch = np.where(first, "x", "y")
    has = {"rna": first, "protein": np.ones(300, bool), "atac": second}
    if spare:  # two more batches of one modality each: no view is ever gone, but the links are
        has = {"rna": (i < 100) | (i >= 250), "protein": i < 200, "atac": (i >= 100) & (i < 250)}
        batch = np.repeat(["x", "y", "z", "w"], [100, 100, 50, 50])
    mdata = make_mosaic(300, has=has, batch=batch if batches else None, n_vars={"rna": 50, "protein": 20, "atac": 70})
    with pytest.warns(OmicsfmWarning, match="no cell has both 'rna' and 'atac'.*rest on that chain alone"):
        model = LinearMosaic(**TINY).fit(mdata)
    blind = [m for m in ("rna", "protein", "atac") if spare]
    if blind:
        with pytest.warns(OmicsfmWarning, match="cells have no modality other than"):
            imputed = all_finite(model, mdata)
    else:
        imputed = all_finite(model, mdata)
    for mod in mdata.mod:
        assert 0.85 < coverage(imputed[mod], mdata, mod) < 0.98, mod
        # No feature's interval is out of all proportion.
        width = (imputed[mod].upper - imputed[mod].lower).mean() / imputed[mod].transform(mdata.mod[mod].X).std(axis=0)
        assert width.max() < 10, mod
    # The chain carries: types differ in the predicted view that their cells were never measured beside.
    other = contract.subset(mdata, np.flatnonzero(has["rna"] & ~has["atac"]))
    with pytest.warns(OmicsfmWarning) if "atac" in other.mod else _compat.silent():
        predicted = model.impute(other, "atac").mean
    assert predicted.groupby(other.obs["celltype"].astype(str).to_numpy()).mean().std().mean() > 0.001


def test_few_linking_cells_warn_and_stay_careful(make_mosaic) -> None:
    i = np.arange(240)
    mdata = make_mosaic(has={"rna": i < 123, "protein": i >= 117})
    with pytest.warns(OmicsfmWarning, match="only 6 cells have both 'rna' and 'protein': expect wide intervals"):
        model = LinearMosaic(**TINY).fit(mdata)
    with pytest.warns(OmicsfmWarning, match="no modality other than"):
        imputed = all_finite(model, mdata)["protein"]
    assert model.decoders_["protein"].n_calibration == 0  # too few to calibrate on: the normal quantile
    assert coverage(imputed, mdata, "protein") > 0.8


def test_one_modality_works_and_says_so(make_mosaic) -> None:
    mdata = make_mosaic(n_vars={"rna": 60}, batch=np.repeat(["a", "b"], 120))
    with pytest.warns(OmicsfmWarning, match=r"one modality only \('rna'\).*nothing can be imputed"):
        model = LinearMosaic(**TINY).fit(mdata)
    z, sd = model.embed(mdata, return_sd=True)
    assert z.shape == sd.shape == (240, 8)
    assert (model.annotate(mdata)["label"] == mdata.obs["celltype"]).mean() > 0.95
    with pytest.raises(InputError, match=r"cannot predict 'rna'.*fitted on one modality"):
        model.impute(mdata, "rna")


def test_four_modalities_each_cell_with_some(make_mosaic) -> None:
    rng = np.random.default_rng(0)
    n_vars = {"rna": 50, "protein": 20, "atac": 70, "guide": 12}
    has = {m: rng.random(300) < 0.6 for m in n_vars}
    has["rna"] |= ~np.any(list(has.values()), axis=0)
    mdata = make_mosaic(300, has=has, n_vars=n_vars, batch=rng.choice(["a", "b"], 300))
    model = LinearMosaic(**TINY).fit(mdata)
    with pytest.warns(OmicsfmWarning, match="no modality other than"):
        all_finite(model, mdata)
    found = model.annotate(mdata)
    assert (found["label"] == mdata.obs["celltype"]).mean() > 0.95
    order = rng.permutation(300)
    np.testing.assert_allclose(model.embed(contract.subset(mdata, order)), model.embed(mdata)[order], atol=1e-5)


@pytest.mark.parametrize("labels", ["one class", "none", "two classes", "one cell each"])
def test_labels_of_every_kind(make_mosaic, labels: str) -> None:
    mdata = make_mosaic(60)
    kind = {
        "one class": np.full(60, "only", dtype=object),
        "none": np.full(60, np.nan, dtype=object),
        "two classes": np.where(mdata.obs["celltype"] == "t0", "yes", "no").astype(object),
        "one cell each": np.where(np.arange(60) == 7, "rare", mdata.obs["celltype"].astype(str)).astype(object),
    }[labels]
    mdata.obs["celltype"] = kind
    model = LinearMosaic(**TINY).fit(mdata)
    if labels == "none":
        with pytest.raises(InputError, match="without labels"):
            model.annotate(mdata)
        return
    found = model.annotate(mdata)
    assert np.isfinite(found["confidence"]).all()
    assert (found["label"] == kind).mean() > 0.9


@pytest.mark.parametrize("n", [2, 3, 12])
def test_very_few_cells(make_mosaic, n: int) -> None:
    mdata = make_mosaic(n, n_types=1)
    with pytest.warns(OmicsfmWarning, match=f"only {n} cells"):
        model = LinearMosaic().fit(mdata)
    all_finite(model, mdata)


def test_one_cell_is_too_few(make_mosaic) -> None:
    with pytest.raises(InputError, match="at least 2 cells are needed, found 1"):
        LinearMosaic().fit(make_mosaic(1))


def test_not_a_mudata(make_mosaic) -> None:
    mdata = make_mosaic()
    rna = mdata.mod["rna"]
    for wrong in (rna, rna.X, None, {"rna": rna}):
        with pytest.raises(InputError):
            LinearMosaic().fit(wrong)
    model = LinearMosaic(**TINY).fit(mdata)
    for call in (model.embed, model.annotate, lambda q: model.impute(q, "rna")):
        with pytest.raises(InputError):
            call(rna)


def test_bad_counts_are_refused_in_training_and_in_queries(make_mosaic) -> None:
    model = LinearMosaic(**TINY).fit(make_mosaic())
    for value in (-1.0, np.nan, 0.5, np.inf):
        mdata = make_mosaic()
        mdata.mod["rna"].X.data[0] = value
        with pytest.raises(InputError, match="rna"):
            LinearMosaic().fit(mdata)
        with pytest.raises(InputError, match="rna"):
            model.embed(mdata)


def test_a_query_of_other_features_or_modalities(make_mosaic) -> None:
    mdata = make_mosaic()
    model = LinearMosaic(**TINY).fit(mdata)
    other = contract.subset(mdata, slice(None))
    other.mod["rna"].var_names = [f"ENSMUSG{i:011}" for i in range(60)]
    with pytest.raises(InputError, match="only 0% of the features"):
        model.embed(_compat.make_mudata({"rna": other.mod["rna"]}))
    with pytest.raises(InputError, match=r"cannot predict 'atac'. Fix: choose one of protein, rna"):
        model.impute(mdata, "atac")
    with pytest.raises(InputError, match="fitted on rna, protein; found only atac"):
        model.embed(_compat.make_mudata({"atac": mdata.mod["rna"].copy()}))


def test_a_cell_with_nothing_the_model_knows(make_mosaic) -> None:
    """It gets the prior: no state of its own, the widest sd, and a warning about the modality left out."""
    mdata = make_mosaic()
    model = LinearMosaic(**TINY).fit(mdata)
    with _compat.silent():
        guide = AnnData(
            sp.csr_matrix(np.ones((3, 4), dtype=np.float32)),
            obs=pd.DataFrame(index=["x1", "x2", "x3"]),
            var=pd.DataFrame(index=[f"g{i}" for i in range(4)]),
        )
        rna = mdata.mod["rna"][:5].copy()
    query = _compat.make_mudata({"rna": rna, "guide": guide})
    with pytest.warns(OmicsfmWarning, match="left out: guide"):
        z, sd = model.embed(query, return_sd=True)
    nothing = query.obs_names.get_indexer(["x1", "x2", "x3"])
    assert np.isfinite(z).all()
    assert np.ptp(z[nothing], axis=0).max() == 0
    rest = np.setdiff1d(np.arange(8), nothing)
    assert sd[nothing].mean() > sd[rest].mean()


def test_a_query_is_refused_before_fit(make_mosaic) -> None:
    from sklearn.exceptions import NotFittedError

    for call in (LinearMosaic().embed, LinearMosaic().annotate, lambda m: LinearMosaic().impute(m, "rna")):
        with pytest.raises(NotFittedError):
            call(make_mosaic(20))


def test_a_batch_the_model_never_saw(make_mosaic) -> None:
    """No offset, no error; and a query without the column is the same."""
    mdata = make_mosaic(batch=np.repeat(["a", "b"], 120))
    model = LinearMosaic(**TINY).fit(mdata)
    new = contract.subset(mdata, slice(None))
    new.obs["batch"] = "elsewhere"
    bare = contract.subset(mdata, slice(None))
    del bare.obs["batch"]
    np.testing.assert_array_equal(model.embed(new), model.embed(_compat.make_mudata(dict(bare.mod), bare.obs)))
    assert np.isfinite(model.embed(new)).all()
