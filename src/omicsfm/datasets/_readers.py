"""Verified files -> a MuData as its authors left it; one reader for each shape in which data are published."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from mudata import MuData

from omicsfm import _compat, contract, io
from omicsfm._errors import InputError
from omicsfm.datasets._schema import Entry

Paths = Mapping[str, Path]


def _mudata(entry: Entry, paths: Paths) -> MuData:
    """Read the entry's one .h5mu or .h5ad."""
    mdata = io.read(next(path for name, path in paths.items() if name.endswith((".h5mu", ".h5ad"))))
    for adata in mdata.mod.values():
        adata.uns.pop("files", None)  # muon: where a file lay on the authors' disk
    return mdata


def _mop(entry: Entry, paths: Paths) -> MuData:
    """Read scMoMaT's layout: features x cells in npz, names one a line, annotations of the cells in a csv."""
    meta = pd.read_csv(paths["meta_c1.csv"], index_col=0)
    obs = pd.DataFrame(
        {
            "batch": meta["Batch"].astype("category"),
            "celltype": meta["cluster (remapped)"].astype("category"),
            "subtype": meta["Ident"].astype("category"),
        },
        index=meta.index.astype(str),
    )
    regions = pd.Series(_lines(paths["regions.txt"])).str.replace(r"^(\w+)_(\d+)_(\d+)$", r"\1:\2-\3", regex=True)
    names = {"rna": _lines(paths["genes.txt"]), "atac": list(regions)}
    files = {"rna": "GxC1.npz", "atac": "RxC1.npz"}
    return _compat.make_mudata(
        {mod: _adata(sp.load_npz(paths[file]).T, obs.index, names[mod]) for mod, file in files.items()}, obs
    )


def _cite(entry: Entry, paths: Paths) -> MuData:
    """Read two CITE-seq batches whose proteins lie in obsm and differ; join them over their union of features."""
    batches = {}
    for name, path in paths.items():
        adata = next(iter(io.read(path).mod.values()))
        batch = name.removeprefix("pbmc_").removesuffix("_protein_v3.h5ad")
        cells = adata.obs_names + f"_{batch}"
        proteins = [f"protein:{str(protein).removesuffix('_TotalSeqB')}" for protein in adata.uns["protein_names"]]
        batches[batch] = _compat.make_mudata(
            {
                "rna": _adata(adata.X, cells, list(adata.var_names)),
                "protein": _adata(adata.obsm["protein_expression"], cells, proteins),
            }
        )
    return contract.concat(batches, batch_key="batch")


def _rdata_counts(entry: Entry, paths: Paths) -> MuData:
    """Read a dgCMatrix (genes x cells, values run-length coded) with its cell types from an R workspace."""
    import rdata

    with warnings.catch_warnings():
        # The class 'rle' comes as a plain mapping of values and lengths, which is what is used below.
        warnings.filterwarnings("ignore", message="Missing constructor for R class", category=UserWarning)
        ((_, found),) = rdata.read_rda(next(iter(paths.values()))).items()
    values = np.repeat(found["x"]["values"], found["x"]["lengths"])
    genes, cells = (list(map(str, names)) for names in found["Dimnames"])
    matrix = sp.csc_matrix((values, found["i"], found["p"]), shape=tuple(found["Dim"]))
    obs = pd.DataFrame({"cell_type": pd.Categorical(found["cell_type"])}, index=cells)
    return _compat.make_mudata({"rna": _adata(matrix.T, obs.index, genes)}, obs)


def _csv_counts(entry: Entry, paths: Paths) -> MuData:
    """Read a table of cells x genes whose counts carry rounding noise."""
    table = pd.read_csv(next(iter(paths.values())), index_col=0)
    counts = _whole(sp.csr_matrix(table.to_numpy(dtype=np.float64)), entry, tolerance=1e-3)
    return _compat.make_mudata({"rna": _adata(counts, table.index, list(table.columns))})


def _pbmc68k(entry: Entry, paths: Paths) -> MuData:
    """Read the log1p CP10k values of the raw slot and compute the counts back from them and the cells' totals."""
    adata = next(iter(io.read(next(iter(paths.values()))).mod.values()))
    log1p = sp.csr_matrix(adata.raw.X)
    per_10k = log1p.astype(np.float64).expm1()
    counts = _whole(sp.diags(adata.obs["n_counts"].to_numpy(dtype=float) / 1e4) @ per_10k, entry, tolerance=0.1)
    mod = _adata(log1p, adata.obs_names, list(adata.raw.var_names))
    mod.layers["counts"] = counts.astype(np.float32)
    obs = adata.obs[["bulk_labels", "louvain", "phase", "n_genes", "n_counts", "percent_mito"]]
    return _compat.make_mudata({"rna": mod}, obs.copy())


READERS: dict[str, Callable[[Entry, Paths], MuData]] = {
    "mudata": _mudata,
    "mop": _mop,
    "cite": _cite,
    "rdata_counts": _rdata_counts,
    "csv_counts": _csv_counts,
    "pbmc68k": _pbmc68k,
}


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split()


def _adata(matrix: Any, cells: pd.Index, features: list[str]) -> ad.AnnData:
    """Make an AnnData (cells x features) with a CSR float32 matrix."""
    obs = pd.DataFrame(index=cells.astype(str).rename(None))
    with _compat.quiet():  # anndata 0.13 sets an option that pandas 3 deprecates
        return ad.AnnData(sp.csr_matrix(matrix, dtype=np.float32), obs=obs, var=pd.DataFrame(index=features))


def _whole(matrix: Any, entry: Entry, *, tolerance: float) -> sp.csr_matrix:
    """Round counts that are integers but for noise; refuse what is not."""
    matrix = sp.csr_matrix(matrix)
    rounded = np.rint(matrix.data)
    if matrix.nnz and (off := float(np.abs(matrix.data - rounded).max())) > tolerance:
        raise InputError(
            f"datasets.load: '{entry.name}' needs counts within {tolerance} of integers, found one {off:.3g} away. "
            "Fix: declare the modality 'continuous' in the registry."
        )
    matrix.data = rounded
    matrix.eliminate_zeros()
    return matrix
