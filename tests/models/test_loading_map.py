from __future__ import annotations

import gzip

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import omicsfm as ofm
from omicsfm import InputError, _compat
from omicsfm.models import LinearMosaic, LoadingMap
from omicsfm.models._nearby import neighbours

pytestmark = pytest.mark.filterwarnings("ignore:one modality only")

N_CELLS, N_PEAKS, N_TYPES = 360, 1200, 3


def places(start: np.ndarray, chrom: np.ndarray, width: int = 500) -> pd.DataFrame:
    names = [f"{c}:{a}-{a + width}" for c, a in zip(chrom, start, strict=True)]
    return pd.DataFrame({"chrom": chrom, "start": start, "end": start + width}, index=names)


@pytest.fixture(scope="module")
def world():
    """Domains of 100 kb are open in one cell type each; a peak of DNA 'x' is more open in the type of its domain."""
    rng = np.random.default_rng(0)
    start = np.sort(rng.choice(6_000_000 // 1000, N_PEAKS, replace=False)) * 1000
    chrom = rng.choice(["chr1", "chr2"], N_PEAKS)
    domain = rng.integers(0, N_TYPES, (2, 60))
    kind = domain[(chrom == "chr2").astype(int), start // 100_000]
    return places(start, chrom), kind


def counts(kind: np.ndarray, seed: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    rng = np.random.default_rng(seed)
    cell = rng.integers(0, N_TYPES, N_CELLS)
    rate = np.where(cell[:, None] == kind, 0.5, 0.1)
    return sparse.csr_matrix(rng.poisson(rate).astype(np.float32)), cell


def make(var: pd.DataFrame, kind: np.ndarray, seed: int):
    x, cell = counts(kind, seed)
    obs = pd.DataFrame(
        {"cell_type": pd.Categorical([f"t{c}" for c in cell])}, index=[f"s{seed}_{i}" for i in range(len(cell))]
    )
    with _compat.quiet():
        mdata = _compat.make_mudata({"atac": ad.AnnData(x, obs=obs[[]], var=var.copy())}, obs)
    ofm.setup(mdata, label_key="cell_type")
    return mdata


@pytest.fixture(scope="module")
def trained(world):
    """A model of the even peaks."""
    var, kind = world
    mdata = make(var[::2], kind[::2], seed=1)
    return mdata, LinearMosaic(n_tokens=8).fit(mdata)


def accuracy(model, mdata) -> float:
    return float((model.annotate(mdata)["label"].to_numpy() == mdata.obs["cell_type"].to_numpy()).mean())


def test_peaks_that_overlap_carry_their_loadings(world, trained):
    mdata, model = trained
    moved = mdata["atac"].var.copy()
    moved[["start", "end"]] += 200
    moved.index = [f"new{i}" for i in range(len(moved))]
    shuffled = moved.sample(frac=1, random_state=0)
    found = LoadingMap().fit(model, mdata["atac"]).loadings(_features(shuffled))
    order = [int(name.removeprefix("new")) for name in shuffled.index]
    # Training peaks are 1,000 bases apart at least: a moved one overlaps its own alone.
    np.testing.assert_allclose(found, model.tokenizer_.svd_["atac"].components_.T[_chosen(model)][order])


def _chosen(model) -> np.ndarray:
    """Rows of the projection in the order of the peaks."""
    return np.argsort(model.tokenizer_.features_["atac"])


def _features(var: pd.DataFrame, **varm) -> ad.AnnData:
    with _compat.quiet():
        return ad.AnnData(sparse.csr_matrix((1, len(var)), dtype=np.float32), var=var, varm=varm)


def test_cells_with_none_of_the_peaks_are_annotated_without_refitting(world, trained):
    mdata, model = trained
    var, kind = world
    query = make(var[1::2], kind[1::2], seed=2)
    assert not set(query["atac"].var_names) & set(mdata["atac"].var_names)
    mapped = LoadingMap(reach=50_000).fit(model, mdata["atac"])
    assert mapped.correlation_[:2].min() > 0.5  # two directions tell three types apart
    before = model.embed(mdata)
    adapted = mapped.adapt(model, query)
    assert accuracy(adapted, query) > 0.9
    further = make(var[1::2], kind[1::2], seed=3)
    assert accuracy(adapted, further) > 0.9
    np.testing.assert_array_equal(model.embed(mdata), before)


def test_neighbours_that_say_nothing_are_told_by_their_correlation_and_do_not_help(world, trained):
    """A permuted control: places of the training peaks belong to others."""
    mdata, model = trained
    var, kind = world
    order = np.random.default_rng(0).permutation(len(mdata["atac"].var))
    wrong = mdata["atac"].var.iloc[order].set_axis(mdata["atac"].var_names)
    mapped = LoadingMap(reach=50_000).fit(model, _features(wrong))
    assert np.abs(mapped.correlation_).max() < 0.2
    query = make(var[1::2], kind[1::2], seed=2)
    assert accuracy(mapped.adapt(model, query), query) < 0.6


def test_dna_informs_loadings_of_unseen_peaks(trained, world, omicsfm_data):
    """Real DNA (promoters of dm3); what is planted is that peaks rich in one 3-mer are open in one type."""
    path = omicsfm_data / "drosophila_dm3_upstream2000" / "dm3_upstream2000.fa.gz"
    with gzip.open(path, "rt", encoding="ascii") as handle:
        dna = [
            r.partition("\n")[2].replace("\n", "")[:1000] for r in handle.read(3_000_000).split(">")[1 : N_PEAKS + 1]
        ]
    assert len(dna) == N_PEAKS
    k = ofm.seq.kmer(dna, k=3, canonical=True)
    total = np.asarray(k.sum(axis=0)).ravel()
    column = k[:, int(np.argsort(total)[-3])].toarray().ravel()
    kind = np.digitize(column, np.quantile(column, [1 / 3, 2 / 3]))
    var = world[0].iloc[: len(dna)]
    old, new = np.arange(0, len(dna), 2), np.arange(1, len(dna), 2)
    mdata, query = make(var.iloc[old], kind[old], seed=1), make(var.iloc[new], kind[new], seed=2)
    mdata["atac"].varm["kmer_3"], query["atac"].varm["kmer_3"] = k[old], k[new]
    model = LinearMosaic(n_tokens=8).fit(mdata)
    mapped = LoadingMap("kmer_3").fit(model, mdata["atac"])
    assert mapped.correlation_[0] > 0.5
    assert accuracy(mapped.adapt(model, query), query) > 0.7  # a third by chance
    tokens = model.tokenizer_.transform(mdata).values["atac"]
    type_of = mdata.obs["cell_type"].to_numpy()
    states = np.stack([tokens[type_of == f"t{t}"].mean(axis=0) for t in range(N_TYPES)])
    openness = mapped.accessibility(states, query["atac"])
    assert (openness.argmax(axis=0) == kind[new]).mean() > 0.6  # a third by chance
    query["atac"].varm["kmer_3"] = query["atac"].varm["kmer_3"][np.random.default_rng(0).permutation(len(new))]
    assert accuracy(mapped.adapt(model, query), query) < 0.6


def test_the_correlation_is_of_peaks_left_out_for_real(world, trained):
    """Noise columns, more than half as many as peaks, would fit the peaks they were fitted on."""
    mdata, model = trained
    noise = np.random.default_rng(0).normal(size=(mdata["atac"].n_vars, 400))
    adata = _features(mdata["atac"].var, noise=noise)
    assert LoadingMap("noise").fit(model, adata).correlation_.max() < 0.2


def test_near_weighs_overlaps_first_then_neighbours_within_reach():
    peaks = places(np.array([5000, 1000, 1400, 900]), np.array(["1", "1", "1", "2"]))
    asked = places(np.array([1300, 1900, 90_000, 900]), np.array(["1", "1", "1", "3"]))
    near = neighbours(asked, peaks, 4000).toarray()
    np.testing.assert_allclose(near[0], [0, 0.5, 0.5, 0])  # overlaps two: 1000-1500 and 1400-1900
    gaps = np.array([5000 - 2400 + 1, 401, 1])  # touching is a base apart
    weight = np.exp(-3 * gaps / 4000)
    np.testing.assert_allclose(near[1], [*(weight / weight.sum()), 0])
    assert not near[2:].any()


def test_no_peak_is_its_own_neighbour():
    peaks = places(np.array([1000, 1200, 9000]), np.array(["1", "1", "2"]))
    near = neighbours(peaks, peaks, 100, others=True).toarray()
    np.testing.assert_array_equal(near, [[0, 1, 0], [1, 0, 0], [0, 0, 0]])


def test_unknown_peaks_are_passed_over_and_not_taken_for_zero(world, trained):
    mdata, model = trained
    var, kind = world
    some = var[1::2].copy()
    some.loc[some.index[::3], "chrom"] = "chrUn"
    mapped = LoadingMap(reach=50_000).fit(model, mdata["atac"])
    query = make(some, kind[1::2], seed=2)
    known = np.isfinite(mapped.loadings(query["atac"])).all(axis=1)
    assert not known[::3].any() and known[1::3].mean() > 0.95
    adapted = mapped.adapt(model, query)
    assert adapted.tokenizer_.var_names_["atac"] == list(query["atac"].var_names[known])
    assert accuracy(adapted, query) > 0.85


def test_an_adapted_model_is_saved_and_read(world, trained, tmp_path):
    mdata, model = trained
    var, kind = world
    query = make(var[1::2], kind[1::2], seed=2)
    adapted = LoadingMap().fit(model, mdata["atac"]).adapt(model, query)
    read = ofm.load(adapted.save(tmp_path / "model"))
    np.testing.assert_array_equal(read.embed(query), adapted.embed(query))


def test_bad_input_is_told(world, trained):
    mdata, model = trained
    var, kind = world
    with pytest.raises(InputError, match="a fitted LinearMosaic"):
        LoadingMap().fit(LinearMosaic(), mdata["atac"])
    with pytest.raises(InputError, match="no chromatin called 'peaks'"):
        LoadingMap(modality="peaks").fit(model, mdata["atac"])
    with pytest.raises(InputError, match="peaks of the model are not in adata"):
        LoadingMap().fit(model, _features(var[1::2]))
    with pytest.raises(InputError, match=r"varm\['kmer_4'\] was needed"):
        LoadingMap("kmer_4").fit(model, mdata["atac"])
    far = var[1::2].assign(chrom="chrUn")
    with pytest.raises(InputError, match="something is known"):
        LoadingMap().fit(model, mdata["atac"]).adapt(model, make(far, kind[1::2], seed=2))
