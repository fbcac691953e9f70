from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import omicsfm as ofm
from omicsfm import InputError, _compat, contract
from omicsfm.tl._cis_pairs import near_pairs, start_sites
from omicsfm.tl._pseudo_bulk import pooled_expression
from omicsfm.tl._trans_null import judge

N_CELLS, N_GENES, PER_GENE = 900, 24, 5


def make(*, linked: bool = True, seed: int = 0):
    """Genes on four chromosomes with five peaks around each; the first peak of a gene is open where it is expressed.

    300 cells have both modalities, 300 only RNA, 300 only chromatin.
    """
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(N_CELLS, 12))
    gene_axis = rng.normal(size=(12, N_GENES))
    peak_axis = rng.normal(size=(12, N_GENES * PER_GENE))
    if linked:
        peak_axis[:, ::PER_GENE] = gene_axis
    rna = rng.poisson(2 * np.exp(0.3 * state @ gene_axis)).astype(np.float32)
    atac = rng.poisson(0.6 * np.exp(0.3 * state @ peak_axis)).astype(np.float32)
    chrom = np.repeat(["chr1", "chr2", "chr3", "chr4"], N_GENES // 4)
    start = np.tile(np.arange(N_GENES // 4) * 1_000_000 + 500_000, 4)
    genes = pd.DataFrame({"chrom": chrom, "start": start, "end": start + 5000}, index=[f"g{i}" for i in range(N_GENES)])
    shift = np.tile(np.arange(PER_GENE) * 10_000 - 20_000, N_GENES)
    first = np.repeat(start, PER_GENE) + shift
    names = [f"{c}:{a}-{a + 500}" for c, a in zip(np.repeat(chrom, PER_GENE), first, strict=True)]
    cells = np.array([f"c{i}" for i in range(N_CELLS)])

    def table(x, rows, var):
        with _compat.quiet():
            return ad.AnnData(sparse.csr_matrix(x[rows]), obs=pd.DataFrame(index=cells[rows]), var=var)

    mdata = _compat.make_mudata(
        {
            "rna": table(rna, slice(0, 600), genes),
            "atac": table(atac, np.r_[0:300, 600:900], pd.DataFrame(index=names)),
        },
        pd.DataFrame(index=cells),
    )
    ofm.setup(mdata)
    mdata.obsm["X_mosaic"] = state[: mdata.n_obs]
    return mdata


@pytest.fixture(scope="module")
def linked():
    mdata = make()
    return mdata, ofm.tl.peak_to_gene(mdata)


def test_planted_links_are_found_and_hardly_any_other(linked):
    mdata, table = linked
    found = table[table["q"] <= 0.1]
    planted = {(mdata["atac"].var_names[i * PER_GENE], f"g{i}") for i in range(N_GENES)}
    pairs = set(zip(found["peak"], found["gene"], strict=True))
    assert len(pairs & planted) >= 20
    assert len(pairs - planted) <= 0.2 * len(pairs)
    assert (found["correlation"] > 0).all()
    assert len(table) == N_GENES * PER_GENE and table["p"].is_monotonic_increasing


def test_what_is_not_linked_has_uniform_p_values():
    """Cell states move peaks and genes on all chromosomes alike: that is no link."""
    p = np.concatenate([ofm.tl.peak_to_gene(make(linked=False, seed=s))["p"] for s in range(3)])
    assert 0.02 < np.mean(p < 0.05) < 0.09
    assert 0.42 < np.mean(p < 0.5) < 0.58


def test_links_lie_in_varp_at_peak_and_gene_and_survive_a_round_trip(linked, tmp_path):
    mdata, table = linked
    read = ofm.io.read(ofm.io.write(mdata, tmp_path / "x.h5mu"))
    links = sparse.csr_matrix(read.varp["peak_to_gene"])
    found = table[table["q"] <= 0.1]
    assert links.nnz == len(found)
    at = [read.var_names.get_indexer(found[name]) for name in ("peak", "gene")]
    np.testing.assert_allclose(np.asarray(links[at[0], at[1]]).ravel(), found["correlation"], rtol=1e-6)
    assert contract.history(read)[-1]["step"] == "peak_to_gene"


def test_same_seed_same_table(linked):
    _, table = linked
    pd.testing.assert_frame_equal(ofm.tl.peak_to_gene(make()), table)
    assert not ofm.tl.peak_to_gene(make(), seed=1).equals(table)


def test_correlation_and_p_are_those_of_the_definition():
    """Against numpy's correlation and a background value left out for real."""
    rng = np.random.default_rng(0)
    peak, gene = [rng.normal(size=(30, 60)) for _ in range(2)], [rng.normal(size=(30, 6)) for _ in range(2)]
    chrom_p, chrom_g = np.repeat(["a", "b", "c"], 20), np.repeat(["a", "b", "c"], 2)
    pairs = np.array([0, 3, 25, 59]), np.array([0, 1, 2, 5])
    found = judge(peak, gene, pairs=pairs, chroms=(chrom_p, chrom_g), seed=0)

    def r(i, j):
        return np.mean([np.corrcoef(p[:, i], g[:, j])[0, 1] for p, g in zip(peak, gene, strict=True)])

    def far(value, others):
        return abs(np.arctanh(value) - others.mean()) / (others.std(ddof=1) * np.sqrt(1 + 1 / len(others)))

    null, own = [], {}
    for j in pairs[1]:
        background = np.arctanh([r(i, j) for i in range(60) if chrom_p[i] != chrom_g[j]])
        null += [far(np.tanh(b), np.delete(background, k)) for k, b in enumerate(background)]
        own[j] = background
    for k, (i, j) in enumerate(zip(*pairs, strict=True)):
        assert found.correlation[k] == pytest.approx(r(i, j))
        assert found.p[k] == pytest.approx(
            (1 + np.sum(np.array(null) >= far(r(i, j), own[j]) - 1e-12)) / (1 + len(null))
        )


def test_constant_and_unmeasured_features_have_no_p():
    rng = np.random.default_rng(0)
    peak, gene = rng.normal(size=(20, 60)), rng.normal(size=(20, 3))
    peak[:, 0], gene[3, 1] = 1.0, np.nan
    chroms = np.repeat(["a", "b"], 30), np.array(["a", "a", "a"])
    pairs = np.array([0, 1, 2]), np.array([0, 1, 2])
    found = judge([peak], [gene], pairs=pairs, chroms=chroms, seed=0)
    assert np.isnan(found.p[:2]).all() and np.isnan(found.correlation[:2]).all() and np.isfinite(found.p[2])


@pytest.mark.parametrize("max_distance", [0, 40, 1000])
def test_near_pairs_are_those_of_all_pairs(max_distance):
    rng = np.random.default_rng(max_distance)

    def intervals(n, longest):
        start = rng.integers(0, 500, n)
        end = start + rng.integers(1, longest, n)
        return pd.DataFrame({"chrom": rng.choice(["chr1", "chr2", "chr3"], n), "start": start, "end": end})

    peaks, genes = intervals(40, 30), intervals(25, 120)
    peaks.loc[0, "chrom"] = "chrUn"
    found = near_pairs(peaks, genes, max_distance)
    expected = []
    for j, g in genes.iterrows():
        for i, p in peaks.iterrows():
            gap = max(0, p["start"] - g["end"], g["start"] - p["end"])
            if p["chrom"] == g["chrom"] and gap <= max_distance:
                expected.append((i, j, gap))
    assert list(found.itertuples(index=False, name=None)) == expected


def test_distance_is_counted_from_the_start_site_where_a_strand_is_told():
    genes = pd.DataFrame({"chrom": "chr1", "start": [100] * 3, "end": [900] * 3, "minus": [False, True, False]})
    sites = start_sites(genes, stranded=np.array([True, True, False]))
    assert sites[["start", "end"]].to_numpy().tolist() == [[100, 101], [899, 900], [100, 900]]


def test_cells_are_pooled_within_the_modality_that_they_have():
    mdata = make()
    state = np.arange(N_CELLS) % 3
    found = pooled_expression(mdata, "atac", state, 4)
    counts = mdata["atac"].X.toarray()
    of_row = state[np.r_[0:300, 600:900]]
    for s in range(3):
        mean = counts[of_row == s].mean(axis=0)
        np.testing.assert_allclose(found[s], np.log1p(1e4 * mean / mean.sum()))
    assert np.isnan(found[3]).all()  # no cell: not known, which is not zero


def test_features_outside_of_a_panel_are_missing_not_zero():
    mdata = make()
    batch = np.where(np.arange(N_CELLS) % 2, "b", "a")
    mdata.obs["batch"] = batch
    measured = pd.DataFrame(True, index=mdata["rna"].var_names, columns=["a", "b"])
    measured.loc["g0", "b"] = False
    measured.loc["g1"] = False
    mdata["rna"].varm["measured"] = measured
    ofm.setup(mdata, batch_key="batch")
    state = np.zeros(N_CELLS, dtype=int)
    found = pooled_expression(mdata, "rna", state, 1)[0]
    counts, in_a = mdata["rna"].X.toarray(), (batch == "a")[:600]
    mean = counts.mean(axis=0)
    mean[0] = counts[in_a, 0].mean()
    total = mean.sum() - mean[1]
    np.testing.assert_allclose(found[0], np.log1p(1e4 * mean[0] / total))
    assert np.isnan(found[1])


def test_contacts_stand_beside_links_and_are_nan_where_the_map_cannot_tell():
    mdata = make()
    n = mdata.n_vars
    bins = np.arange(n)
    bins[mdata.var_names.get_loc("g0")] = -1
    first = mdata["atac"].var_names[PER_GENE]
    bins[mdata.var_names.get_loc("g1")] = bins[mdata.var_names.get_loc(first)]
    mdata.var["contacts_bin"] = bins
    mdata.varp["contacts"] = sparse.csr_matrix(np.arange(n * n, dtype=np.float32).reshape(n, n))
    table = ofm.tl.peak_to_gene(mdata, contacts="contacts")
    assert table.loc[table["gene"] == "g0", "contact"].isna().all()
    other = table[table["gene"] == "g1"].set_index("peak")["contact"]
    assert np.isnan(other[first]) and other.drop(first).notna().all()
    row = table[table["gene"] == "g2"].iloc[0]
    at = mdata.var_names.get_loc(row["peak"]), mdata.var_names.get_loc("g2")
    assert row["contact"] == at[0] * n + at[1]


@pytest.mark.parametrize(
    ("change", "options", "told"),
    [
        (None, {"peaks": "dna"}, "no modality 'dna'"),
        (None, {"use_rep": "X_gone"}, "integrate"),
        (None, {"contacts": "contacts:wt"}, "add_contacts"),
        (None, {"max_distance": -1}, "0 or more"),
        ("far_away", {}, "no peak is within"),
        (None, {"n_states": 500}, "10 states or more"),
        ("one_chromosome", {}, "on other chromosomes"),
        ("no_places", {}, "intervals were needed"),
    ],
)
def test_bad_input_is_told(change, options, told):
    mdata = make()
    if change == "one_chromosome":
        places = mdata["rna"].var.loc[["g0"] * len(mdata["atac"].var_names)]
        mdata["atac"].var = places.set_axis(mdata["atac"].var_names)
    if change == "far_away":
        mdata["rna"].var = mdata["rna"].var.assign(chrom="chrUn")
    if change == "no_places":
        mdata["rna"].var = mdata["rna"].var[[]]
    with pytest.raises(InputError, match=told):
        ofm.tl.peak_to_gene(mdata, **options)


def test_genes_of_blood_are_linked_to_their_own_promoters(omicsfm_data, monkeypatch):
    monkeypatch.setenv("OMICSFM_DATA", str(omicsfm_data))
    mdata = ofm.datasets.load("pbmc10x_multiome_regions_muon", progress=False)
    ofm.tl.integrate(mdata, "ConcatPCA")
    table = ofm.tl.peak_to_gene(mdata)
    found = table[table["q"] <= 0.1]
    assert {"CD8A", "MS4A1", "BCL11B"} <= set(found["gene"])
    assert (found["correlation"] > 0).mean() > 0.9
