"""What is known of genes, as a table of targets x features: gene sets, Gene Ontology, regulons, texts.

Weights come from the whole annotation, never from the targets at hand: what is known of one target does not depend on
which others were asked for.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from omicsfm._errors import InputError

_UPWARDS = ("isa", "part of")  # along these, what holds for a term holds for its parent; "regulates" is no such thing


def read_gmt(path: str | Path) -> dict[str, list[str]]:
    """Read gene sets: one line per set, tab-separated: name, description, genes."""
    lines = (line.split("\t") for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip())
    return {name: [gene for gene in genes if gene] for name, _, *genes in lines}


def gene_set_prior(
    targets: Sequence[str], sets: str | Path | Mapping[str, Iterable[str]], *, max_genes: int = 500
) -> pd.DataFrame:
    """Say in which gene sets each target is.

    Parameters
    ----------
    targets
        Gene symbols.
    sets
        GMT file, or name of a set -> its genes.
    max_genes
        Sets with more genes, or fewer than 2, say little and are left out.

    Returns
    -------
    Sparse DataFrame (known targets, sets that hold one of them). An entry is the set's weight, log(annotated genes /
    genes in the set); rows have unit length, so that a dot product is a cosine. Targets in no set are left out.
    """
    found = sets if isinstance(sets, Mapping) else read_gmt(sets)
    pairs = pd.DataFrame([(gene, name) for name, genes in found.items() for gene in genes], columns=["gene", "set"])
    matrix, genes, names = _incidence(pairs["gene"], pairs["set"])
    return _rows(_weighted(matrix, max_genes), genes, names, targets)


def go_prior(
    targets: Sequence[str],
    annotation_path: str | Path,
    dag_path: str | Path,
    *,
    ontologies: Sequence[str] = ("bp", "mf", "cc"),
    max_genes: int = 2000,
) -> pd.DataFrame:
    """Say with which terms of the Gene Ontology each target is annotated, directly or through a narrower term.

    Parameters
    ----------
    targets
        Gene symbols.
    annotation_path
        Table with columns `symbol`, `go_id`, `ont`.
    dag_path
        Table with columns `child`, `parent`, `rel`, `ont`; annotations go up along "isa" and "part of".
    ontologies
        Of "bp", "mf", "cc".
    max_genes
        Terms with more genes, or fewer than 2, say little and are left out.

    Returns
    -------
    Sparse DataFrame (known targets, terms), weighted and of unit length as in :func:`gene_set_prior`.
    """
    _check("go_prior", "ontologies", ontologies, ("bp", "mf", "cc"))
    annotation = pd.read_csv(annotation_path, usecols=["symbol", "go_id", "ont"], dtype=str)
    annotation = annotation[annotation["ont"].isin(ontologies)]
    dag = pd.read_csv(dag_path, dtype=str)
    dag = dag[dag["ont"].isin(ontologies) & dag["rel"].isin(_UPWARDS)]
    terms = pd.Index(np.unique(np.concatenate([annotation["go_id"], dag["child"], dag["parent"]]).astype(str)))
    direct, genes, _ = _incidence(annotation["symbol"], annotation["go_id"], columns=terms)
    up = _closure(terms.get_indexer(dag["child"]), terms.get_indexer(dag["parent"]), len(terms))
    matrix = (direct @ up).tocsr()
    matrix.data[:] = 1.0
    return _rows(_weighted(matrix, max_genes), genes, terms, targets)


def regulon_prior(
    targets: Sequence[str], dorothea_path: str | Path, *, confidence: Sequence[str] = ("A", "B", "C")
) -> pd.DataFrame:
    """Say what each target regulates ("out:<gene>") and by what it is regulated ("in:<factor>"), with sign.

    Parameters
    ----------
    targets
        Gene symbols.
    dorothea_path
        Table with columns `tf`, `confidence`, `target`, `mor` (+1 activates, -1 represses).
    confidence
        Levels to use, "A" (best) to "E".

    Returns
    -------
    Sparse DataFrame (known targets, 2 kinds of features) of signed weights as in :func:`gene_set_prior`. The two halves
    of a target that has both weigh the same, however many genes it regulates; rows have unit length.
    """
    _check("regulon_prior", "confidence", confidence, tuple("ABCDE"))
    edges = pd.read_csv(dorothea_path, dtype={"mor": float})
    edges = edges[edges["confidence"].isin(confidence)]
    genes = pd.Index(np.unique(edges[["tf", "target"]].to_numpy().astype(str)))
    halves = [("out", "tf", "target"), ("in", "target", "tf")]
    parts = [_incidence(edges[row], edges[column], edges["mor"], rows=genes) for _, row, column in halves]
    names = [f"{kind}:{name}" for (kind, *_), part in zip(halves, parts, strict=True) for name in part[2]]
    matrix = sparse.hstack([_unit(_weighted(part[0], len(genes))) for part in parts]).tocsr()
    return _rows(matrix, genes, pd.Index(names), targets)


def text_prior(targets: Sequence[str], embedding_path: str | Path) -> pd.DataFrame:
    """Give the embedding of a text about each target, (known targets, dimensions), rows of unit length.

    Parameters
    ----------
    targets
        Gene symbols.
    embedding_path
        Table with genes in its first column and one dimension in each other, as GenePT's.
    """
    table = pd.read_csv(embedding_path, index_col=0)
    length = np.linalg.norm(table.to_numpy(dtype=float), axis=1)
    table = table.div(length, axis=0)[length > 0]  # a row of zeros stands for "no text"
    return table.reindex([target for target in dict.fromkeys(targets) if target in table.index])


def summary_prior(targets: Sequence[str], summaries_path: str | Path) -> pd.DataFrame:
    """Say with which words each target is described, one or two at a time, weighed by how rare they are.

    Parameters
    ----------
    targets
        Gene symbols.
    summaries_path
        JSON of gene symbol -> text, gzipped, as NCBI's gene summaries.

    Returns
    -------
    Sparse DataFrame (described targets, words) of TF-IDF, rows of unit length. A gene's own symbol is no word of it.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    with gzip.open(summaries_path, "rt", encoding="utf-8") as file:
        texts = {gene: text.replace(f"Gene Symbol {gene}", "") for gene, text in json.load(file).items()}
    genes = pd.Index([gene for gene, text in texts.items() if text.strip()], dtype=object)
    words = TfidfVectorizer(stop_words="english", ngram_range=(1, 2), min_df=2, max_df=0.3, sublinear_tf=True)
    matrix = words.fit_transform([texts[gene] for gene in genes]).tocsr()
    return _rows(matrix, genes, pd.Index(words.get_feature_names_out(), dtype=object), targets)


def _incidence(
    row: pd.Series,
    column: pd.Series,
    weight: pd.Series | None = None,
    *,
    rows: pd.Index | None = None,
    columns: pd.Index | None = None,
) -> tuple[sparse.csr_matrix, pd.Index, pd.Index]:
    """Give pairs as a matrix with entries 1, or the sign of the summed weights, and its row and column names."""
    rows = pd.Index(np.unique(row.to_numpy(dtype=str))) if rows is None else rows
    columns = pd.Index(np.unique(column.to_numpy(dtype=str))) if columns is None else columns
    data = np.ones(len(row)) if weight is None else weight.to_numpy(dtype=np.float64)
    place = (rows.get_indexer(row), columns.get_indexer(column))
    matrix = sparse.csr_matrix((data, place), shape=(len(rows), len(columns)))
    matrix.data = np.sign(matrix.data)
    matrix.eliminate_zeros()
    return matrix, rows, columns


def _closure(child: np.ndarray, parent: np.ndarray, n: int) -> sparse.csr_matrix:
    """Every term with all its ancestors and itself, (n, n), by squaring until nothing is added."""
    up = sparse.csr_matrix((np.ones(len(child)), (child, parent)), shape=(n, n)) + sparse.identity(n, format="csr")
    size = 0
    while up.nnz > size:
        size = up.nnz
        up = (up @ up).tocsr()
        up.data[:] = 1.0  # the number of ways up is of no interest
    return up


def _weighted(matrix: sparse.csr_matrix, max_genes: int) -> sparse.csr_matrix:
    """Weight features by their inverse frequency over all annotated genes; empty the too rare and too common."""
    n = matrix.getnnz(axis=0)
    annotated = int((matrix.getnnz(axis=1) > 0).sum())
    idf = np.where((n >= 2) & (n <= max_genes), np.log(annotated / np.maximum(n, 1)), 0.0)
    out = (matrix @ sparse.diags(idf)).tocsr()
    out.eliminate_zeros()
    return out


def _unit(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Scale rows to unit length; empty rows stay empty."""
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return (sparse.diags(1 / np.where(length > 0, length, 1.0)) @ matrix).tocsr()


def _rows(matrix: sparse.csr_matrix, genes: pd.Index, names: pd.Index, targets: Sequence[str]) -> pd.DataFrame:
    """Give the rows of targets of which something is known, in their order and of unit length."""
    asked = pd.Index(dict.fromkeys(targets), dtype=object)
    place = genes.get_indexer(asked)
    asked, found = asked[place >= 0], matrix[place[place >= 0]]
    known = found.getnnz(axis=1) > 0
    used = np.flatnonzero(found.getnnz(axis=0))
    return pd.DataFrame.sparse.from_spmatrix(_unit(found[known])[:, used], index=asked[known], columns=names[used])


def _check(function: str, name: str, given: Sequence[str], allowed: Sequence[str]) -> None:
    if not given or set(given) - set(allowed):
        raise InputError(f"{function}: {name} needs one or more of {list(allowed)}, found {list(given)}. Fix: choose.")
