"""Tokenizer: projection by name, cells independent of one another, hidden values without effect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData

from omicsfm import InputError, OmicsfmWarning, _compat, contract, io
from omicsfm.pp import RNA, MaskedSVD, SparseSVD, Tokenizer, vstack


@pytest.fixture(scope="module")
def matrices(make_blobs) -> dict[str, np.ndarray]:
    return {
        "rna": make_blobs(90, 60),
        "atac": make_blobs(90, 80, seed=1, depth=0.3),
        "protein": make_blobs(90, 15, seed=2),
    }


@pytest.fixture(scope="module")
def train(build_mdata, matrices) -> MuData:
    return build_mdata({m: sp.csr_matrix(x) for m, x in matrices.items()}, batch=np.repeat(["a", "b"], 45))


@pytest.fixture(scope="module")
def tokenizer(train: MuData) -> Tokenizer:
    return Tokenizer(5).fit(train)


def query(train: MuData, mod: str, keep: np.ndarray, names: list[str] | None = None) -> MuData:
    """Only one modality, with some of its features, in a MuData that `setup` never saw."""
    adata = train.mod[mod][:, keep].copy()
    if names is not None:
        adata.var_names = names
    return _compat.make_mudata({mod: adata})


def test_shapes_rows_and_batches(train: MuData, tokenizer: Tokenizer) -> None:
    tokens = tokenizer.transform(train)
    assert tokens.n_obs == 90
    assert list(tokens.values) == ["rna", "atac", "protein"]
    for mod, x_nd in tokens.values.items():
        assert x_nd.shape == (90, 5)
        assert np.isfinite(x_nd).all()
        np.testing.assert_array_equal(tokens.rows[mod], np.arange(90))
    np.testing.assert_array_equal(tokens.batch, np.repeat(["a", "b"], 45))
    assert tokenizer.recipe_names() == {"rna": "rna", "atac": "atac", "protein": "protein"}


@pytest.mark.parametrize("mod", ["rna", "atac", "protein"])
def test_features_are_matched_by_name(mod: str, train: MuData, tokenizer: Tokenizer) -> None:
    wanted = tokenizer.transform(train).values[mod]
    n_vars = train.mod[mod].n_vars
    permuted = tokenizer.transform(query(train, mod, np.random.default_rng(0).permutation(n_vars)))
    np.testing.assert_allclose(permuted.values[mod], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mod", ["rna", "atac", "protein"])
def test_features_that_training_never_saw_are_ignored(mod: str, train: MuData, tokenizer: Tokenizer) -> None:
    """Also in totals and means: a query with more genes is the same cell."""
    adata = train.mod[mod]
    names = [*adata.var_names, *(f"new{i}" for i in range(7))]
    X = sp.hstack([adata.X, sp.csr_matrix(np.full((90, 7), 9.0))]).tocsr()
    with _compat.silent():
        wider = AnnData(X, obs=pd.DataFrame(index=adata.obs_names), var=pd.DataFrame(index=names))
    found = tokenizer.transform(_compat.make_mudata({mod: wider})).values[mod]
    np.testing.assert_array_equal(found, tokenizer.transform(train).values[mod])


@pytest.mark.parametrize("mod", ["rna", "atac", "protein"])
def test_absent_features_count_as_unmeasured(mod: str, train: MuData, tokenizer: Tokenizer) -> None:
    keep = np.arange(0, train.mod[mod].n_vars, 2)
    absent = tokenizer.transform(query(train, mod, keep)).values[mod]
    panel = pd.DataFrame({"a": np.isin(np.arange(train.mod[mod].n_vars), keep)}, index=train.mod[mod].var_names)
    panel["b"] = panel["a"]
    masked = contract.subset(train, slice(None))
    masked.mod[mod].varm["measured"] = panel
    np.testing.assert_array_equal(tokenizer.transform(masked).values[mod], absent)
    # and not as zeros: with half of the features the tokens still say what the whole ones do
    whole = tokenizer.transform(train).values[mod]
    zeros = contract.subset(train, slice(None))
    zeros.mod[mod].X = train.mod[mod].X.multiply(panel["a"].to_numpy()).tocsr()
    lost = np.linalg.norm(absent - whole)
    assert lost < np.linalg.norm(tokenizer.transform(zeros).values[mod] - whole)
    assert np.corrcoef(absent[:, 0], whole[:, 0])[0, 1] > 0.9


def test_too_little_overlap_is_an_error(train: MuData, tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match=r"modality 'rna': only 8% of the features .*Fix: use the same kind"):
        tokenizer.transform(query(train, "rna", np.arange(5)))
    tokenizer.transform(query(train, "rna", np.arange(6)))  # a tenth will do
    with pytest.raises(InputError, match="only 0%"):
        tokenizer.transform(query(train, "rna", np.arange(60), [f"ENSG{i:011}" for i in range(60)]))


def test_unknown_modalities_are_named(train: MuData, tokenizer: Tokenizer) -> None:
    mods = {"rna": train.mod["rna"].copy(), "guide": train.mod["protein"].copy()}
    with pytest.warns(OmicsfmWarning, match="left out: guide"):
        tokens = tokenizer.transform(_compat.make_mudata(mods))
    assert list(tokens.values) == ["rna"]
    with pytest.raises(InputError, match=r"fitted on rna, atac, protein; found only guide"):
        tokenizer.transform(_compat.make_mudata({"guide": train.mod["protein"].copy()}))


def test_a_cell_is_projected_alone_as_among_others(train: MuData, tokenizer: Tokenizer) -> None:
    together = tokenizer.transform(train)
    for i in (0, 44, 89):
        alone = tokenizer.transform(contract.subset(train, [i]))
        for mod in together.values:
            np.testing.assert_allclose(alone.values[mod][0], together.values[mod][i], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mod", ["rna", "atac", "protein"])
def test_a_whole_cell_is_projected_the_same_beside_cells_with_gaps(
    mod: str, train: MuData, tokenizer: Tokenizer
) -> None:
    """Cells of a full panel and of half a panel in one block: neither changes the other."""
    mixed = contract.subset(train, slice(None))
    n_vars = train.mod[mod].n_vars
    mixed.mod[mod].varm["measured"] = pd.DataFrame(
        {"a": np.ones(n_vars, bool), "b": np.arange(n_vars) % 2 == 0}, index=train.mod[mod].var_names
    )
    together = tokenizer.transform(mixed).values[mod]
    np.testing.assert_allclose(together[:45], tokenizer.transform(train).values[mod][:45], rtol=1e-5, atol=1e-6)
    half = tokenizer.transform(contract.subset(mixed, np.arange(45, 90))).values[mod]
    np.testing.assert_allclose(together[45:], half, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("store", [np.asarray, sp.csr_matrix, sp.csc_matrix])
def test_storage_does_not_matter(build_mdata, matrices, tokenizer: Tokenizer, train: MuData, dtype, store) -> None:
    other = build_mdata({m: store(x.astype(dtype)) for m, x in matrices.items()}, batch=np.repeat(["a", "b"], 45))
    before = {m: a.X.copy() for m, a in other.mod.items()}
    again = Tokenizer(5).fit(other)
    wanted = tokenizer.transform(train).values
    for mod, found in again.transform(other).values.items():
        np.testing.assert_allclose(found, wanted[mod], rtol=1e-5, atol=1e-5)
        assert np.array_equal(tokenizer.features_[mod], again.features_[mod])
        X = other.mod[mod].X
        assert X.dtype == dtype
        assert type(X) is type(before[mod])
        assert (X != before[mod]).sum() == 0


def test_a_backed_file_gives_the_same_bits(train: MuData, tokenizer: Tokenizer, tmp_path: Path) -> None:
    io.write(train, tmp_path / "t.h5mu")
    backed = _compat.read_h5mu_backed(tmp_path / "t.h5mu")
    try:
        assert backed.mod["rna"].isbacked
        again = Tokenizer(5).fit(backed)
        for mod, found in again.transform(backed).values.items():
            np.testing.assert_array_equal(found, tokenizer.transform(train).values[mod])
    finally:
        for adata in backed.mod.values():
            adata.file.close()


def test_a_view_gives_the_same_bits(train: MuData, tokenizer: Tokenizer) -> None:
    cells = np.arange(89, 0, -3)
    with _compat.quiet():
        view = train[cells]
        copy = view.copy()
    found = tokenizer.transform(view)
    for mod, x in tokenizer.transform(copy).values.items():
        np.testing.assert_array_equal(found.values[mod], x)


def test_rows_point_into_obs_whatever_the_order(tokenizer: Tokenizer, train: MuData) -> None:
    rng = np.random.default_rng(0)
    rna, protein = train.mod["rna"][rng.permutation(90)[:60]].copy(), train.mod["protein"][rng.permutation(90)].copy()
    shuffled = _compat.make_mudata({"rna": rna, "protein": protein}, train.obs.iloc[rng.permutation(90)])
    tokens, wanted = tokenizer.transform(shuffled), tokenizer.transform(train)
    for mod, adata in shuffled.mod.items():
        assert list(tokens.obs_names[tokens.rows[mod]]) == list(adata.obs_names)
        original = wanted.obs_names.get_indexer(adata.obs_names)
        np.testing.assert_allclose(tokens.values[mod], wanted.values[mod][original], rtol=1e-5, atol=1e-6)


def panels(build_mdata, matrices, value: float, kind: str = "protein") -> MuData:
    """Two batches; the first lacks some features of `kind`, where X holds `value`."""
    x_ng = matrices[kind].copy()
    lacks = np.arange(x_ng.shape[1]) < x_ng.shape[1] // 3
    x_ng[:45, lacks] = value
    measured = pd.DataFrame({"a": ~lacks, "b": True})
    return build_mdata({kind: sp.csr_matrix(x_ng)}, batch=np.repeat(["a", "b"], 45), measured={kind: measured})


@pytest.mark.parametrize("kind", ["rna", "atac", "protein"])
def test_hidden_counts_leave_every_bit(build_mdata, matrices, kind: str) -> None:
    zero, seven = panels(build_mdata, matrices, 0.0, kind), panels(build_mdata, matrices, 7.0, kind)
    a, b = Tokenizer(5).fit(zero), Tokenizer(5).fit(seven)
    found = a.transform(zero).values[kind]
    np.testing.assert_array_equal(found, b.transform(seven).values[kind])
    np.testing.assert_array_equal(found, a.transform(seven).values[kind])


def test_a_panel_that_all_features_need_is_fitted_by_masked_svd(build_mdata, matrices) -> None:
    mdata = panels(build_mdata, matrices, 0.0)
    tokenizer = Tokenizer(5).fit(mdata)
    assert isinstance(tokenizer.svd_["protein"], MaskedSVD)
    assert len(tokenizer.features_["protein"]) == 15
    together = tokenizer.transform(mdata).values["protein"]
    alone = tokenizer.transform(contract.subset(mdata, [3, 50])).values["protein"]
    np.testing.assert_allclose(together[[3, 50]], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("max_features", [52, 2000])
def test_blocks_of_one_batch_each_are_stacked(build_mdata, make_blobs, monkeypatch, max_features: int) -> None:
    """A first block that is whole (sparse) and a second one with a panel (dense), and the other way round."""
    monkeypatch.setattr(RNA, "max_features", max_features)  # 52: features that all cells have suffice
    n = 8192 + 300
    x_ng = make_blobs(n, 60, n_types=3)
    lacks = np.arange(60) >= 52
    x_ng[8192:, lacks] = 0
    batch = np.where(np.arange(n) < 8192, "a", "b")
    tokens = []
    for order in (np.arange(n), np.arange(n)[::-1]):
        mdata = build_mdata(
            {"rna": sp.csr_matrix(x_ng[order])},
            batch=batch[order],
            measured={"rna": pd.DataFrame({"a": True, "b": ~lacks})},
        )
        tokenizer = Tokenizer(3).fit(mdata)
        assert isinstance(tokenizer.svd_["rna"], SparseSVD if max_features == 52 else MaskedSVD)
        tokens.append(tokenizer.transform(mdata).values["rna"][np.argsort(order)])
        whole = vstack([block for _, block in tokenizer.scaled(mdata, "rna")])
        assert whole.shape == (n, 60)
    assert np.isfinite(tokens[0]).all()
    np.testing.assert_allclose(tokens[0], tokens[1], atol=1e-2)


def test_missing_values_and_measured_zero_rows(build_mdata) -> None:
    rng = np.random.default_rng(0)
    x_ng = rng.standard_normal((40, 3)) @ rng.standard_normal((3, 20)) + rng.normal(0, 0.1, (40, 20))
    x_ng[rng.random(x_ng.shape) < 0.2] = np.nan
    x_ng[7] = np.nan
    counts = rng.poisson(2.0, (40, 30)).astype(float)
    counts[5] = 0
    mdata = build_mdata({"metabolite": x_ng, "rna": sp.csr_matrix(counts)}, modalities={"metabolite": "continuous"})
    tokens = Tokenizer(3).fit(mdata).transform(mdata)
    assert all(np.isfinite(x).all() for x in tokens.values.values())
    assert len(tokens.values["rna"]) == 40  # the empty cell has a token of its own


def test_a_constant_modality_is_refused(build_mdata) -> None:
    with pytest.raises(InputError, match="every feature of modality 'rna' is constant"):
        Tokenizer(3).fit(build_mdata({"rna": np.full((10, 4), 2.0)}))


def test_a_batch_offset_does_not_choose_the_features(build_mdata, make_blobs) -> None:
    x_ng = make_blobs(400, 3000, n_types=3)
    batch = np.repeat(["a", "b"], 200)
    plain = Tokenizer(3).fit(build_mdata({"rna": sp.csr_matrix(x_ng)}, batch=batch)).features_["rna"]
    assert len(plain) == 2000
    rest = np.setdiff1d(np.arange(3000), plain)[:3]
    x_ng[:200, rest] = 3.0
    x_ng[200:, rest] = 0.0
    shifted = Tokenizer(3).fit(build_mdata({"rna": sp.csr_matrix(x_ng)}, batch=batch)).features_["rna"]
    assert not set(rest) & set(shifted)


def test_same_seed_same_bits(train: MuData) -> None:
    a, b = (Tokenizer(5, seed=2).fit(train) for _ in range(2))
    for mod, svd in a.svd_.items():
        assert isinstance(svd, SparseSVD)
        assert np.array_equal(svd.components_, b.svd_[mod].components_)


def test_signal_is_a_share(tokenizer: Tokenizer) -> None:
    assert all(0 < s <= 1 for s in tokenizer.signal().values())


def test_tokens_as_a_table_of_all_cells(train, tokenizer):
    some = np.arange(train.n_obs) % 3 > 0
    query = contract.hide(train, "rna", ~some)
    table = tokenizer.transform(query).table("rna")
    np.testing.assert_array_equal(np.isnan(table).all(axis=1), ~some)
    np.testing.assert_allclose(table[some], tokenizer.transform(train).table("rna")[some], atol=1e-5)
    scaled = tokenizer.table(query, "protein")
    assert scaled.index.equals(query.obs_names) and scaled.notna().to_numpy().all()
    assert tokenizer.table(query, "rna").isna().all(axis=1).tolist() == (~some).tolist()


def test_what_is_no_mudata_is_told(train, tokenizer):
    with pytest.raises(InputError, match="needed a MuData, found an AnnData"):
        tokenizer.transform(train.mod["rna"])
