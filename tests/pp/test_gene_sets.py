"""Tables of what is known of genes: propagation and weights by hand or by another implementation."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from omicsfm import InputError
from omicsfm.pp import _prior_tables
from omicsfm.pp._gene_names import gene_symbols
from omicsfm.pp._gene_sets import gene_set_prior, go_prior, regulon_prior, summary_prior, text_prior
from omicsfm.pp._prior_tables import effect_prior, permuted_prior, reduce_prior


def dense(prior: pd.DataFrame) -> pd.DataFrame:
    return prior.sparse.to_dense()


def gram(prior: pd.DataFrame) -> np.ndarray:
    x = prior.to_numpy(dtype=np.float64)
    return x @ x.T


def write_go(folder: Path, annotation: list[tuple], dag: list[tuple]) -> tuple[Path, Path]:
    paths = folder / "annotation.csv.gz", folder / "dag.csv.gz"
    pd.DataFrame(annotation, columns=["symbol", "go_id", "ont"]).assign(evidence="IDA").to_csv(paths[0], index=False)
    pd.DataFrame(dag, columns=["child", "parent", "rel", "ont"]).to_csv(paths[1], index=False)
    return paths


def test_annotations_reach_every_ancestor_of_a_diamond_once(tmp_path: Path) -> None:
    dag = [
        ("d", "b", "isa", "bp"),
        ("d", "c", "part of", "bp"),
        ("b", "a", "isa", "bp"),
        ("c", "a", "isa", "bp"),
        ("d", "r", "regulates", "bp"),
    ]
    direct = [("G1", "d", "bp"), ("G2", "b", "bp"), ("G3", "c", "bp"), ("G4", "r", "bp"), ("G5", "r", "bp")]
    prior = dense(go_prior(["G1", "G2", "G3", "G4"], *write_go(tmp_path, direct, dag)))
    # Genes with a: G1 G2 G3 (two ways up from G1 count once); b: G1 G2; c: G1 G3; d: one gene, left out; r: G4 G5.
    a, two = np.log(5 / 3), np.log(5 / 2)
    assert set(prior.columns) == {"a", "b", "c", "r"}
    by_hand = np.array([[a, two, two, 0], [a, two, 0, 0], [a, 0, two, 0], [0, 0, 0, two]])
    by_hand /= np.linalg.norm(by_hand, axis=1, keepdims=True)
    np.testing.assert_allclose(prior[["a", "b", "c", "r"]].to_numpy(), by_hand, atol=1e-12)


def test_propagation_equals_a_walk_up_a_deep_random_graph(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n_terms, genes = 60, [f"G{i}" for i in range(40)]
    edges = {(child, int(rng.integers(0, child))) for child in range(1, n_terms) for _ in range(2)}
    edges |= {(i + 1, i) for i in range(30)}  # a chain: 30 steps up
    dag = [(f"t{c}", f"t{p}", "isa" if (c + p) % 2 else "part of", "bp") for c, p in sorted(edges)]
    direct = [(g, f"t{t}", "bp") for g in genes for t in rng.choice(n_terms, 2, replace=False)]
    prior = dense(go_prior(genes, *write_go(tmp_path, direct, dag)))
    parents: dict[str, set[str]] = {}
    for child, parent, *_ in dag:
        parents.setdefault(child, set()).add(parent)
    table = pd.DataFrame(0.0, index=genes, columns=[f"t{t}" for t in range(n_terms)])
    for gene, term, _ in direct:
        above = {term}
        for _ in range(n_terms):  # one step up each time
            above |= {parent for child in above for parent in parents.get(child, ())}
        table.loc[gene, list(above)] = 1
    n = table.sum()
    table = (table * np.log(len(genes) / n.clip(lower=1)) * (n >= 2)).loc[:, lambda t: (t != 0).any()]
    table = table.div(np.sqrt((table**2).sum(axis=1)), axis=0).dropna()
    same = {"check_index_type": False, "check_column_type": False}  # pandas 3 makes text of its own kind of some
    pd.testing.assert_frame_equal(prior[sorted(prior)], table[sorted(table)], check_like=True, atol=1e-12, **same)
    assert len(table.columns) > 20


def test_ontologies_are_chosen_and_others_refused(tmp_path: Path) -> None:
    direct = [("G1", "p", "bp"), ("G2", "p", "bp"), ("G3", "q", "cc"), ("G4", "q", "cc")]
    paths = write_go(tmp_path, direct, [("p", "a", "isa", "bp"), ("q", "z", "isa", "cc")])
    assert set(go_prior(["G1", "G3"], *paths).index) == {"G1", "G3"}
    assert set(go_prior(["G3"], *paths, ontologies=("cc",)).index) == set()  # all of them have it: it says nothing
    with pytest.raises(InputError, match=r"go_prior: ontologies needs .*'bp'.*found \['xx'\]"):
        go_prior(["G1"], *paths, ontologies=("xx",))


SETS = {"pair": ["A", "B"], "three": ["A", "B", "C"], "alone": ["A"], "large": list("ABCDEF"), "far": ["E", "F"]}


def test_weights_are_those_of_the_whole_annotation_by_hand() -> None:
    prior = dense(gene_set_prior(["A", "C", "X"], SETS, max_genes=3))
    assert list(prior.index) == ["A", "C"]  # nothing is known of X: no row, not a row of zeros
    assert set(prior.columns) == {"pair", "three"}
    weights = np.array([np.log(6 / 2), np.log(6 / 3)])
    np.testing.assert_allclose(prior.loc["A", ["pair", "three"]], weights / np.linalg.norm(weights))
    assert prior.loc["C", "three"] == 1 and prior.loc["C", "pair"] == 0


def test_what_is_known_of_a_target_does_not_depend_on_the_others() -> None:
    few, many = (gene_set_prior(list(names), SETS) for names in ("AC", "ABCDEF"))
    np.testing.assert_allclose(gram(few), gram(many.loc[["A", "C"]]), atol=1e-12)


def test_a_gmt_file_is_read_as_its_sets(tmp_path: Path) -> None:
    path = tmp_path / "x.gmt"
    path.write_text("".join("\t".join([name, "url", *genes]) + "\n" for name, genes in SETS.items()), encoding="utf-8")
    pd.testing.assert_frame_equal(gene_set_prior(list("ABC"), path), gene_set_prior(list("ABC"), SETS))


def test_regulons_have_sign_direction_and_even_halves(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    up = [("T1", "A", g, 1) for g in ("P", "Q", "R", "S")]
    down = [("T2", "A", g, -1) for g in ("P", "Q", "R", "S")]
    both = [("T3", "B", "T1", 1), ("T3", "B", "Z", -1), ("T4", "E", "Z", 1)]
    pd.DataFrame(up + down + both, columns=["tf", "confidence", "target", "mor"]).to_csv(path, index=False)
    prior = dense(regulon_prior(["T1", "T2", "P", "Q", "Z", "T4"], path))
    assert list(prior.index) == ["T1", "T2", "P", "Q", "Z"]  # T4 is known at confidence E only
    assert (prior.loc["T1"] @ prior.loc["T2"]) < -0.5
    assert prior.loc["T1"] @ prior.loc["P"] == 0  # to regulate is not to be regulated
    assert prior.loc["P"] @ prior.loc["Q"] == pytest.approx(1)
    assert prior.loc["Z", "in:T3"] == -1
    outward = prior.columns.str.startswith("out:")
    np.testing.assert_allclose((prior.loc["T1"] ** 2).groupby(outward).sum(), [0.5, 0.5])
    assert "T4" in regulon_prior(["T4"], path, confidence=("A", "B", "E")).index


def test_a_row_of_zeros_in_a_table_of_embeddings_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    pd.DataFrame([[0, 0], [3, 4], [0, 2]], index=["ctrl", "A", "B"]).to_csv(path)
    prior = text_prior(["B", "A", "ctrl", "X"], path)
    assert list(prior.index) == ["B", "A"]
    np.testing.assert_allclose(prior.loc["A"], [0.6, 0.8])


def test_names_are_found_by_id_case_and_former_family_name(tmp_path: Path) -> None:
    path = tmp_path / "ids.csv"
    rows = [("STAT1", "ENSG00000115415"), ("C1orf112", None), ("MARCHF8", None), ("AARS1", None), ("SARS2", None)]
    pd.DataFrame(rows, columns=["symbol", "ensembl_id"]).to_csv(path, index=False)
    asked = {
        "STAT1": "STAT1",
        "ENSG00000115415": "STAT1",
        "ENSG00000115415.20": "STAT1",
        "stat1": "STAT1",
        "C1ORF112": "C1orf112",
        "MARCH8": "MARCHF8",
        "AARS": "AARS1",
        "SARS": "SARS",  # SARS1 is not in the table: no guess
        "ENSG00000000000": "ENSG00000000000",
        "dasatinib": "dasatinib",
    }
    assert gene_symbols(asked, path) == asked


@pytest.mark.parametrize("shape", [(30, 90), (90, 30), (40, 40)])
@pytest.mark.parametrize("dense_up_to", [3000, 5])
def test_fewer_features_keep_the_dot_products(
    shape: tuple[int, int], dense_up_to: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_prior_tables, "_DENSE", dense_up_to)
    rng = np.random.default_rng(0)
    low = rng.standard_normal((shape[0], 12)) @ rng.standard_normal((12, shape[1]))
    index = [f"T{i}" for i in range(shape[0])]
    for frame in (
        pd.DataFrame(low, index=index),
        pd.DataFrame.sparse.from_spmatrix(sp.csr_matrix(low), index=index),
    ):
        found = reduce_prior(frame, 20)
        assert list(found.index) == index and set(found.dtypes) == {np.dtype(np.float32)}
        assert found.shape[1] == 12
        np.testing.assert_allclose(gram(found), gram(frame), atol=1e-4 * np.abs(gram(frame)).max())


def test_beyond_the_rank_asked_for_the_nearest_is_given() -> None:
    x = np.random.default_rng(1).standard_normal((20, 35))
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    nearest = (u[:, :6] * s[:6] ** 2) @ u[:, :6].T
    np.testing.assert_allclose(gram(reduce_prior(pd.DataFrame(x), 6)), nearest, atol=1e-4)
    assert reduce_prior(pd.DataFrame(index=[], columns=["a"], dtype=float)).shape[0] == 0


@pytest.mark.parametrize("n", [2, 3, 50])
def test_a_permuted_prior_has_the_same_rows_and_none_in_its_place(n: int) -> None:
    prior = pd.DataFrame(np.arange(2.0 * n).reshape(n, 2), index=[f"T{i}" for i in range(n)])
    found = permuted_prior(prior, 0)
    assert found.index.equals(prior.index)
    assert sorted(map(tuple, found.to_numpy())) == sorted(map(tuple, prior.to_numpy()))
    assert (found.to_numpy() != prior.to_numpy()).all()
    assert found.equals(permuted_prior(prior, 0))
    assert n < 50 or not found.equals(permuted_prior(prior, 1))


def test_one_row_cannot_be_permuted() -> None:
    with pytest.raises(InputError, match="permuted_prior: needs 2 targets or more, found 1"):
        permuted_prior(pd.DataFrame([[1.0]]), 0)


def test_genes_are_described_alike_whose_texts_share_rare_words(tmp_path) -> None:
    texts = {f"N{i}": f"Gene Symbol N{i} This gene encodes a protein number{i} of the cell." for i in range(8)}
    texts["A"] = "Gene Symbol A The ribosome needs this subunit in the cell."
    texts["B"] = "Gene Symbol B A subunit of the ribosome."
    texts["C"] = texts["E"] = "Gene Symbol C The spliceosome and A; splicing."
    texts["D"] = "Gene Symbol D"
    path = tmp_path / "texts.json.gz"
    path.write_bytes(gzip.compress(json.dumps(texts).encode()))
    prior = summary_prior(["B", "A", "D", "C", "X", "N0"], path)
    assert list(prior.index) == ["B", "A", "C"]  # nothing is said of D and X, and nothing of its own of N0
    cosine = gram(prior)
    place = {name: i for i, name in enumerate(prior.index)}
    np.testing.assert_allclose(np.diag(cosine), 1, atol=1e-6)
    assert cosine[place["A"], place["B"]] > 0.5 and cosine[place["A"], place["C"]] == 0  # but for the name of A
    assert not {"symbol", "a", "gene symbol"} & set(prior.columns)


def test_effects_elsewhere_are_centred_averaged_and_never_those_of_the_context_to_predict() -> None:
    rng = np.random.default_rng(2)
    design = pd.DataFrame(
        {"perturbation": ["A", "B", "A+B", "A", "B", "A", "C"], "context": ["x", "x", "x", "y", "y", "z", "z"]}
    )
    effects = pd.DataFrame(rng.standard_normal((7, 9)))
    found = effect_prior(effects, design, exclude_context="z")
    e = effects.to_numpy()
    a, b = ((e[i] - e[[0, 1]].mean(0) + e[j] - e[[3, 4]].mean(0)) / 2 for i, j in ((0, 3), (1, 4)))
    assert list(found.index) == ["A", "B"]
    np.testing.assert_allclose(gram(found), np.array([[a @ a, a @ b], [a @ b, b @ b]]), atol=1e-5)
    changed = effects.copy()
    changed.iloc[[2, 5, 6]] += 100.0
    pd.testing.assert_frame_equal(found, effect_prior(changed, design, exclude_context="z"))
    with pytest.raises(InputError, match="effect_prior: no single target was perturbed outside context 'x'"):
        effect_prior(effects[:3], design[:3], exclude_context="x")
