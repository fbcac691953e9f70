from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import omicsfm as ofm
from omicsfm import _compat
from omicsfm.seq import _embedders


@pytest.fixture
def peaks() -> ad.AnnData:
    """Twelve peaks of 300 bp on two chromosomes, in two cells."""
    rng = np.random.default_rng(0)
    start = np.concatenate([rng.integers(0, 4700, 7), rng.integers(0, 900, 5)])
    var = pd.DataFrame({"chrom": ["chr1"] * 7 + ["chr2"] * 5, "start": start, "end": start + 300})
    var.index = [f"{chrom}:{a}-{b}" for chrom, a, b in var.itertuples(index=False)]
    counts = sparse.csr_matrix(rng.poisson(1, (2, 12)).astype(np.float32))
    return ad.AnnData(counts, obs=pd.DataFrame(index=["c0", "c1"]), var=var)


def dense(values) -> np.ndarray:
    return values.toarray() if sparse.issparse(values) else np.asarray(values)


def reread(adata: ad.AnnData, path) -> ad.AnnData:
    return ofm.io.read(ofm.io.write(_compat.make_mudata({"atac": adata}), path)).mod["atac"]


def test_embed_is_the_model_on_the_dna_of_each_feature(peaks, genome_fa):
    dna = ofm.seq.Genome(genome_fa).fetch(peaks.var)
    before = peaks.X.copy()
    ofm.seq.embed(peaks, genome=genome_fa, model="kmer:4", key_added="kmer_4")
    assert (peaks.varm["kmer_4"] != ofm.seq.kmer(dna, k=4)).nnz == 0
    assert (peaks.X != before).nnz == 0
    ofm.seq.embed(peaks, genome_fa, "composition")
    assert np.array_equal(peaks.varm["composition"], ofm.seq.composition(dna).to_numpy())
    ofm.seq.embed(peaks, genome_fa, "onehot:64", width=64)
    assert np.array_equal(peaks.varm["onehot_64"].reshape(12, 64, 4), ofm.seq.one_hot(dna, length=64))


def test_provenance_says_how(peaks, genome_fa):
    genome = ofm.seq.Genome(genome_fa)
    ofm.seq.embed(peaks, genome, "gapped:4:3:canonical", width=200, pad=True)
    told = peaks.uns["omicsfm"]["embeddings"]["gapped_4_3_canonical"]
    assert told["model"] == "gapped:4:3:canonical"
    assert json.loads(told["params"]) == {"k": 4, "informative": 3, "canonical": True}
    assert told["genome"] == {"name": "genome.fa", "fasta_sha256": genome.sha256}
    assert told["window"] == {"width": 200, "pad": True}
    assert told["format"] == "csr"
    assert told["dtype"] == "float32"
    assert list(told["shape"]) == list(peaks.varm["gapped_4_3_canonical"].shape)
    assert told["licence"] == "BSD-3-Clause"
    assert len(told["code_sha256"]) == 64
    assert told["cost"]["wall_s"] > 0
    assert {"omicsfm", "numpy", "scipy"} <= set(told["versions"])
    assert told["created"].endswith("+00:00")


@pytest.mark.parametrize("suffix", [".h5mu", ".zarr"])
def test_what_is_written_is_verified_when_read(peaks, genome_fa, tmp_path, suffix):
    genome = ofm.seq.Genome(genome_fa)
    for model in ("kmer:8", "onehot:9"):
        ofm.seq.embed(peaks, genome, model, control="permuted")
    found = reread(peaks, tmp_path / f"x{suffix}")
    for key, values in peaks.varm.items():
        assert type(found.varm[key]) is type(values)
        assert found.varm[key].dtype == values.dtype
        assert np.array_equal(dense(found.varm[key]), dense(values))
    report = ofm.seq.verify_embeddings(found, genome_fa)
    assert list(report.index) == sorted(peaks.varm)
    assert (report["n_probed"] == 8).all()
    assert (report.loc[["kmer_8", "onehot_9"], "n_recomputed"] >= 8).all()
    assert (report["deviation"] == 0).all()
    assert report["same_code"].all()


def test_features_may_be_left_out_and_reordered(peaks, genome_fa, tmp_path):
    ofm.seq.embed(peaks, genome_fa, "kmer:3")
    some = peaks[:, [11, 3, 0, 7]].copy()
    report = ofm.seq.verify_embeddings(reread(some, tmp_path / "x.h5mu"), genome_fa)
    assert report.loc["kmer_3", "n_recomputed"] == 4
    probed = set(peaks.uns["omicsfm"]["embeddings"]["kmer_3"]["probe"]["names"])
    rest = peaks[:, [name not in probed for name in peaks.var_names]].copy()
    report = ofm.seq.verify_embeddings(rest, genome_fa)
    assert report.loc["kmer_3", "n_probed"] == 0
    assert report.loc["kmer_3", "n_recomputed"] == 4


def test_altered_values_are_found(peaks, genome_fa):
    ofm.seq.embed(peaks, genome_fa, "kmer:3")
    good = peaks.varm["kmer_3"].copy()
    peaks.varm["kmer_3"] = good[np.roll(np.arange(12), 1)]  # rows that slipped by one
    with pytest.raises(ofm.InputError, match=r"varm\['kmer_3'\]: it differs by .* probe holds, and by .* computes now"):
        ofm.seq.verify_embeddings(peaks, genome_fa)
    peaks.varm["kmer_3"] = good[:, :-1]
    with pytest.raises(ofm.InputError, match="63 columns"):
        ofm.seq.verify_embeddings(peaks, genome_fa)
    del peaks.varm["kmer_3"]
    with pytest.raises(ofm.InputError, match="it is gone"):
        ofm.seq.verify_embeddings(peaks, genome_fa)
    peaks.varm["kmer_3"] = good
    ofm.seq.verify_embeddings(peaks, genome_fa)
    peaks.var["start"] -= 1  # another window than the one that was embedded
    peaks.var["end"] -= 1
    with pytest.raises(ofm.InputError, match="it differs by .* computes now"):
        ofm.seq.verify_embeddings(peaks, genome_fa)


def test_a_small_column_beside_a_large_one_is_watched(peaks, genome_fa):
    ofm.seq.embed(peaks, genome_fa, "composition")
    values = peaks.varm["composition"]
    assert values[:, -1].max() == 300  # bases, beside fractions
    values[:, 0] += 0.01
    peaks.varm["composition"] = values
    with pytest.raises(ofm.InputError, match=r"differs by 0\.01 from"):
        ofm.seq.verify_embeddings(peaks, genome_fa)


def test_another_genome_is_found(peaks, genome_fa, tmp_path):
    ofm.seq.embed(peaks, genome_fa, "kmer:3")
    text = genome_fa.read_text(encoding="ascii")
    other = tmp_path / "other.fa"
    other.write_text(text + ">chr9\nACGT\n", encoding="ascii")
    with pytest.raises(ofm.InputError, match=r"another genome, genome\.fa, than 'other\.fa'"):
        ofm.seq.verify_embeddings(peaks, other)


def test_another_model_under_the_same_name_is_found(peaks, genome_fa, monkeypatch):
    monkeypatch.setattr(_embedders, "_REGISTERED", {})
    weights = np.random.default_rng(0).normal(size=(64, 5))

    def factory(rest: str) -> ofm.seq.Embedder:
        def project(sequences: list[str]) -> np.ndarray:
            return (ofm.seq.kmer(sequences, 3) @ weights).astype(np.float16)

        return ofm.seq.Embedder(f"mine:{rest}", project, {"rest": rest}, facts={"weights_sha256": "0" * 64})

    ofm.seq.register_embedder("mine", factory)
    ofm.seq.embed(peaks, genome_fa, "mine:a/b")
    assert list(peaks.varm) == ["mine_a_b"]
    assert peaks.varm["mine_a_b"].dtype == np.float16
    assert peaks.uns["omicsfm"]["embeddings"]["mine_a_b"]["facts"] == {"weights_sha256": "0" * 64}
    assert ofm.seq.verify_embeddings(peaks, genome_fa).loc["mine_a_b", "deviation"] == 0
    weights += 0.01
    with pytest.raises(ofm.InputError, match="computes now"):
        ofm.seq.verify_embeddings(peaks, genome_fa)
    monkeypatch.setattr(_embedders, "_REGISTERED", {})
    with pytest.raises(ofm.InputError, match="there is no embedder 'mine'"):
        ofm.seq.verify_embeddings(peaks, genome_fa)


def test_changed_code_is_told_and_equal_values_suffice(peaks, genome_fa):
    ofm.seq.embed(peaks, genome_fa, "kmer:3")
    peaks.uns["omicsfm"]["embeddings"]["kmer_3"]["code_sha256"] = "0" * 64
    assert not ofm.seq.verify_embeddings(peaks, genome_fa).loc["kmer_3", "same_code"]


def test_the_permuted_control_gives_every_feature_the_vector_of_another(peaks, genome_fa):
    peaks.varm["note"] = np.zeros((12, 1))
    ofm.seq.embed(peaks, genome_fa, "composition", control="permuted", seed=3)
    real, control = (peaks.varm[key] for key in ("composition", "composition_permuted"))
    assert not (real == control).all(axis=1).any()
    assert sorted(map(tuple, real)) == sorted(map(tuple, control))
    told = peaks.uns["omicsfm"]["embeddings"]["composition_permuted"]
    assert (told["control"], told["control_of"], told["seed"]) == ("permuted", "composition", 3)
    for seed, same in ((3, True), (4, False)):
        ofm.seq.embed(peaks, genome_fa, "composition", control="permuted", seed=seed, overwrite=True)
        assert np.array_equal(peaks.varm["composition_permuted"], control) is same
    peaks.varm["composition_permuted"] = real
    with pytest.raises(ofm.InputError, match=r"1 of 2 .*varm\['composition_permuted'\]: it differs by"):
        ofm.seq.verify_embeddings(peaks, genome_fa)


def test_nothing_is_replaced_unasked(peaks, genome_fa):
    peaks.varm["kmer_3_permuted"] = mine = np.ones((12, 2))
    with pytest.raises(ofm.InputError, match="'kmer_3_permuted'. is there already"):
        ofm.seq.embed(peaks, genome_fa, "kmer:3", control="permuted")
    assert list(peaks.varm) == ["kmer_3_permuted"]
    assert peaks.varm["kmer_3_permuted"] is mine or np.array_equal(peaks.varm["kmer_3_permuted"], mine)
    assert "omicsfm" not in peaks.uns
    ofm.seq.embed(peaks, genome_fa, "kmer:3", control="permuted", overwrite=True)
    assert peaks.varm["kmer_3_permuted"].shape == (12, 64)


def test_other_entries_of_uns_stay(peaks, genome_fa):
    peaks.uns["omicsfm"] = {"schema_version": 1, "embeddings": {"older": {"model": "x"}}}
    ofm.seq.embed(peaks, genome_fa, "kmer:2")
    assert peaks.uns["omicsfm"]["schema_version"] == 1
    assert set(peaks.uns["omicsfm"]["embeddings"]) == {"older", "kmer_2"}


def test_what_cannot_be_embedded_is_told(peaks, genome_fa):
    cases = [
        ((_compat.make_mudata({"atac": peaks}), genome_fa), {}, r'found MuData. Fix: pass mdata\["atac"\]'),
        ((peaks[:, :3], genome_fa), {}, "a view cannot be written to"),
        ((peaks, genome_fa), {"key_added": "a/b"}, "must not hold '/'"),
        ((peaks, genome_fa), {"control": "shuffled"}, "must be 'permuted' or None"),
        ((peaks[:, :1].copy(), genome_fa), {"control": "permuted"}, "2 features"),
        ((peaks, genome_fa, "kmer:9"), {}, "whole number from 1 to 8"),
        ((peaks, genome_fa, "bert"), {}, "there is no embedder 'bert'"),
        ((peaks, genome_fa), {"width": 9_999}, "pad=True"),
    ]
    for arguments, options, words in cases:
        with pytest.raises(ofm.InputError, match=words):
            ofm.seq.embed(*arguments, **options)
    with pytest.raises(ofm.InputError, match="no embedding is recorded, found none"):
        ofm.seq.verify_embeddings(peaks, genome_fa)


def test_features_without_cells_and_cells_without_features(peaks, genome_fa, tmp_path):
    bare = peaks[:0].copy()
    ofm.seq.embed(bare, genome_fa, "kmer:2")
    assert ofm.seq.verify_embeddings(reread(bare, tmp_path / "x.h5mu"), genome_fa).loc["kmer_2", "n_probed"] == 8
    none = peaks[:, :0].copy()
    ofm.seq.embed(none, genome_fa, "kmer:2")
    assert none.varm["kmer_2"].shape == (0, 16)
    assert ofm.seq.verify_embeddings(none, genome_fa).loc["kmer_2", "n_recomputed"] == 0
