from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import omicsfm as ofm
from omicsfm import InputError, OmicsfmWarning, _compat
from omicsfm.seq._expected import distance_groups

cooler = pytest.importorskip("cooler", reason="cooler comes with the extra 'hic'")

BIN = 1000
LENGTHS = {"chr1": 29_500, "chr2": 17_000}
N_BINS = {"chr1": 30, "chr2": 17}
DEAD = 4  # bin of chr1 that nothing maps to


def write_map(uri: str, bins: pd.DataFrame, pixels: pd.DataFrame, **options) -> None:
    with warnings.catch_warnings():
        # cooler 0.11 writes with a unit of time that numpy 2.5 deprecates; nothing of ours writes maps.
        warnings.simplefilter("ignore", DeprecationWarning)
        cooler.create_cooler(uri, bins, pixels, ordered=True, symmetric_upper=True, **options)


@pytest.fixture(scope="module")
def dense() -> dict[str, np.ndarray]:
    """Contacts by chromosome: they fall with distance, some pairs have none, one bin of chr1 is dead."""
    rng = np.random.default_rng(0)
    out = {}
    for name, n in N_BINS.items():
        far = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
        counts = np.triu(rng.poisson(20 / (1 + far))).astype(float)
        if name == "chr1":
            counts[DEAD], counts[:, DEAD] = 0, 0
        out[name] = counts + np.triu(counts, 1).T
    return out


@pytest.fixture(scope="module")
def weights(dense) -> np.ndarray:
    weight = np.random.default_rng(1).uniform(0.5, 2, sum(N_BINS.values()))
    weight[[DEAD, 35]] = np.nan
    return weight


@pytest.fixture(scope="module")
def mcool(dense, weights, tmp_path_factory) -> str:
    """Two resolutions in one file, the finer with weights, and contacts between the chromosomes."""
    path = tmp_path_factory.mktemp("map") / "map.mcool"
    whole = np.zeros((47, 47))
    whole[:30, :30], whole[30:, 30:] = dense["chr1"], dense["chr2"]
    whole[:30, 30:] = 3
    whole[DEAD, 30:] = 0
    i, j = np.nonzero(np.triu(whole))
    pixels = pd.DataFrame({"bin1_id": i, "bin2_id": j, "count": whole[i, j].astype(int)})
    bins = cooler.binnify(pd.Series(LENGTHS), BIN)
    for group, table in (("resolutions/1000", bins.assign(weight=weights)), ("resolutions/1001", bins)):
        uri = f"{path}::/{group}"
        write_map(uri, table, pixels, mode="a", assembly="toy1")
    return f"{path}::/resolutions/1000"


@pytest.fixture
def peaks() -> ad.AnnData:
    """Peaks out of order; two share a bin, one is in the dead bin, one crosses a border, one is on chrUn."""
    places = [
        *[("chr2", 100, 300), ("chr1", 2100, 2300), ("chr1", 2600, 2900), ("chr1", 4100, 4500), ("chr1", 9900, 10_400)],
        *[
            ("chr1", 20_000, 20_500),
            ("chrUn", 5, 10),
            ("chr2", 9000, 9100),
            ("chr2", 5200, 5400),
            ("chr1", 29_100, 29_400),
        ],
    ]
    var = pd.DataFrame(places, columns=["chrom", "start", "end"], index=[f"p{i}" for i in range(len(places))])
    with _compat.quiet():
        return ad.AnnData(sparse.csr_matrix((2, len(var)), dtype=np.float32), var=var)


BINS = [30, 2, 2, -1, 10, 20, -1, 39, 35, 29]


def by_hand(dense, valid, *, pooled=False, widest=10_000) -> dict[str, np.ndarray]:
    """Observed over expected with loops over all pairs; NaN where a bin is not valid."""
    group = distance_groups(widest)
    total, pairs = {}, {}
    for name, counts in dense.items():
        for i in range(len(counts)):
            for j in range(i, len(counts)):
                if valid[name][i] and valid[name][j]:
                    key = (0 if pooled else name, group[j - i])
                    total[key] = total.get(key, 0) + counts[i, j]
                    pairs[key] = pairs.get(key, 0) + 1
    out = {}
    for name, counts in dense.items():
        out[name] = np.full(counts.shape, np.nan)
        for i in range(len(counts)):
            for j in range(len(counts)):
                if valid[name][i] and valid[name][j]:
                    key = (0 if pooled else name, group[abs(i - j)])
                    out[name][i, j] = counts[i, j] * pairs[key] / total[key]
    return out


def expected_table(over: dict[str, np.ndarray], max_bins: int = 10_000) -> np.ndarray:
    whole = np.zeros((47, 47))
    whole[:30, :30], whole[30:, 30:] = (np.nan_to_num(over[name]) for name in ("chr1", "chr2"))
    far = np.abs(np.subtract.outer(np.arange(47), np.arange(47)))
    whole[(far == 0) | (far > max_bins)] = 0
    at = np.array(BINS)
    return np.where((at[:, None] < 0) | (at[None] < 0), 0, whole[np.ix_(at, at)])


def raw_valid(dense) -> dict[str, np.ndarray]:
    return {name: counts.sum(axis=0) > 0 for name, counts in dense.items()}


@pytest.mark.parametrize("expected", ["chromosome", "genome"])
def test_contacts_are_counts_over_the_mean_of_all_pairs_at_their_distance(peaks, mcool, dense, expected):
    ofm.seq.add_contacts(peaks, mcool, key_added="contacts:wt", expected=expected)
    found = peaks.varp["contacts:wt"]
    assert sparse.issparse(found) and found.format == "csr" and found.dtype == np.float32
    over = by_hand(dense, raw_valid(dense), pooled=expected == "genome")
    np.testing.assert_allclose(found.toarray(), expected_table(over), rtol=1e-5)
    assert peaks.var["contacts:wt_bin"].tolist() == BINS  # dead, absent and shared bins are told apart
    assert (found.data > 0).all()


def test_balanced_contacts_leave_out_bins_without_weight(peaks, mcool, dense, weights):
    ofm.seq.add_contacts(peaks, mcool, balance="weight")
    w = {"chr1": weights[:30], "chr2": weights[30:]}
    balanced = {name: np.nan_to_num(w[name][:, None] * counts * w[name]) for name, counts in dense.items()}
    over = by_hand(balanced, {name: np.isfinite(v) for name, v in w.items()})
    told = list(BINS)
    told[8] = -1
    assert peaks.var["contacts_bin"].tolist() == told
    np.testing.assert_allclose(peaks.varp["contacts"].toarray(), expected_table(over), rtol=1e-5)


def test_arms_are_compared_within_themselves(peaks, mcool, dense):
    arms = pd.DataFrame({"chrom": ["1", "1"], "start": [0, 12_000], "end": [12_000, 29_500]})
    ofm.seq.add_contacts(peaks, mcool, expected=arms)
    found = peaks.varp["contacts"].toarray()
    parts = {"left": dense["chr1"][:12, :12], "right": dense["chr1"][12:, 12:]}
    over = by_hand(parts, raw_valid(parts))
    assert found[1, 4] == pytest.approx(over["left"][2, 10], rel=1e-5)
    assert found[5, 9] == pytest.approx(over["right"][8, 17], rel=1e-5)
    assert found[1, 5] == 0 and found[4, 9] == 0  # across the centromere
    assert peaks.var["contacts_bin"].tolist() == [-1, 2, 2, -1, 10, 20, -1, -1, -1, 29]  # chr2 is in no region


def test_far_contacts_are_left_out_and_do_not_change_near_ones(peaks, mcool, dense):
    ofm.seq.add_contacts(peaks, mcool, max_distance=9_999)
    found = peaks.varp["contacts"].toarray()
    np.testing.assert_allclose(found, expected_table(by_hand(dense, raw_valid(dense)), max_bins=9), rtol=1e-5)


def test_contacts_without_structure_are_one_at_every_distance(tmp_path):
    n = 120
    far = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    i, j = np.nonzero(np.triu(np.ones((n, n))))
    pixels = pd.DataFrame({"bin1_id": i, "bin2_id": j, "count": 1000 // (1 + distance_groups(n)[far[i, j]])})
    uri = str(tmp_path / "flat.cool")
    write_map(uri, cooler.binnify(pd.Series({"chr1": n * BIN}), BIN), pixels)
    names = [f"chr1:{k * BIN}-{k * BIN + 10}" for k in range(n)]
    with _compat.quiet():
        adata = ad.AnnData(sparse.csr_matrix((1, n), dtype=np.float32), var=pd.DataFrame(index=names))
    ofm.seq.add_contacts(adata, uri)
    np.testing.assert_allclose(adata.varp["contacts"].toarray(), 1 - np.eye(n), rtol=1e-5)


def test_chromosomes_of_ensembl_are_found_with_a_warning(peaks, mcool):
    ensembl = peaks.copy()
    ensembl.var["chrom"] = ensembl.var["chrom"].str.removeprefix("chr")
    ofm.seq.add_contacts(peaks, mcool)
    with pytest.warns(OmicsfmWarning, match="seq.add_contacts.*1 as chr1"):
        ofm.seq.add_contacts(ensembl, mcool)
    assert (ensembl.varp["contacts"] != peaks.varp["contacts"]).nnz == 0


def test_a_whole_mudata_has_contacts_between_modalities(peaks, mcool):
    with _compat.quiet():
        genes = ad.AnnData(
            sparse.csr_matrix((2, 2), dtype=np.float32),
            var=pd.DataFrame({"chrom": "chr1", "start": [9000, 2000], "end": [9001, 2001]}, index=["A", "B"]),
        )
        proteins = ad.AnnData(np.ones((2, 1), dtype=np.float32), var=pd.DataFrame(index=["protein:X"]))
    mdata = _compat.make_mudata({"protein": proteins, "rna": genes, "atac": peaks})
    ofm.seq.add_contacts(mdata, mcool)
    ofm.seq.add_contacts(peaks, mcool)
    names = list(mdata.var_names)
    table = mdata.varp["contacts"].toarray()
    at = [names.index(name) for name in peaks.var_names]
    np.testing.assert_array_equal(table[np.ix_(at, at)], peaks.varp["contacts"].toarray())
    assert table[names.index("B"), names.index("p5")] == peaks.varp["contacts"][1, 5] > 0
    assert mdata.var["contacts_bin"][["protein:X", "A", "B"]].tolist() == [-1, 9, 2]
    assert not table[names.index("protein:X")].any()


def test_they_survive_a_round_trip_with_their_provenance(peaks, mcool, tmp_path):
    ofm.seq.add_contacts(peaks, mcool, key_added="contacts:wt")
    read = ofm.io.read(ofm.io.write(_compat.make_mudata({"atac": peaks}), tmp_path / "x.h5mu")).mod["atac"]
    assert (read.varp["contacts:wt"] != peaks.varp["contacts:wt"]).nnz == 0
    entry = read.uns["omicsfm"]["contacts"]["contacts:wt"]
    assert entry["map"] == "map.mcool::/resolutions/1000"
    assert (entry["assembly"], entry["resolution"], entry["balance"], entry["n_measured"]) == ("toy1", BIN, "raw", 8)
    again = peaks.copy()
    ofm.seq.add_contacts(again, mcool, key_added="contacts:wt", overwrite=True)
    assert again.uns["omicsfm"]["contacts"]["contacts:wt"]["contacts_sha256"] == entry["contacts_sha256"]


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("{path}", r"no map at '/' .*map.mcool::/resolutions/1000.*Fix"),
        ("{path}::/resolutions/7", "no map at '/resolutions/7'.*resolutions/1001"),
        ("{path}.gone", "found none at"),
        ("{text}", "is no cooler"),
    ],
)
def test_a_map_that_is_not_there_is_told(peaks, mcool, tmp_path, uri, told):
    text = tmp_path / "text.cool"
    text.write_text("not a map", encoding="ascii")
    with pytest.raises(InputError, match=told):
        ofm.seq.add_contacts(peaks, uri.format(path=mcool.partition("::")[0], text=text))
    assert not peaks.varp


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda var: var.assign(chrom="chrZ"), "none of the 10 features"),
        (lambda var: var.assign(end=var["end"] + 10**6), "another assembly .*toy1"),
        (lambda var: var.drop(columns="end"), "intervals were needed"),
    ],
)
def test_features_that_do_not_fit_are_told(peaks, mcool, change, told):
    peaks.var = change(peaks.var)
    with pytest.raises(InputError, match=told):
        ofm.seq.add_contacts(peaks, mcool)


def test_a_key_that_is_taken_and_a_view_are_told(peaks, mcool):
    peaks.varp["contacts"] = np.eye(10)
    with pytest.raises(InputError, match="there already"):
        ofm.seq.add_contacts(peaks, mcool)
    with pytest.raises(InputError, match="a view cannot"):
        ofm.seq.add_contacts(peaks[:, :3], mcool, key_added="other")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"balance": "KR"}, "weights 'KR' .* has weight"),
        ({"key_added": "a/b"}, "must not hold '/'"),
        ({"max_distance": 0}, "1 base or more"),
        ({"expected": "arm"}, "expected must be"),
        (
            {"expected": pd.DataFrame({"chrom": "chr1", "start": [0, 5000], "end": [6000, 9000]})},
            "regions of 'chr1' overlap",
        ),
    ],
)
def test_options_that_do_not_fit_are_told(peaks, mcool, options, told):
    with pytest.raises(InputError, match=told):
        ofm.seq.add_contacts(peaks, mcool, **options)


def test_too_many_contacts_are_refused_before_they_are_made(peaks, mcool, monkeypatch):
    monkeypatch.setattr("omicsfm.seq._contacts._MOST", 5)
    with pytest.raises(InputError, match="more than 5.*max_distance"):
        ofm.seq.add_contacts(peaks, mcool)


def test_promoters_of_dm3_have_the_contacts_of_its_map(promoters, omicsfm_data):
    adata = ofm.seq.read_regions(promoters)
    path = omicsfm_data / "hic_drosophila_dm3" / "matrix.mcool"
    ofm.seq.add_contacts(adata, f"{path}::/4", key_added="contacts:wt")
    table, bins = adata.varp["contacts:wt"], adata.var["contacts:wt_bin"].to_numpy()
    on = adata.var["chrom"].isin(["chr2L", "chr2R", "chr3L", "chr3R", "chrX"]).to_numpy()
    assert (bins[~on] == -1).all() and (bins[on] >= 0).mean() > 0.9
    assert (table != table.T).nnz == 0
    counts = cooler.Cooler(f"{path}::/4").matrix(balance=False, sparse=True)[:].tocsr()
    i, j = table.nonzero()
    sample = np.random.default_rng(0).choice(len(i), 200, replace=False)
    seen = np.array([counts[bins[a], bins[b]] for a, b in zip(i[sample], j[sample], strict=True)])
    assert (seen > 0).all()
    assert 0.5 < np.median(table.data) < 1.5
