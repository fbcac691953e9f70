"""The mouse cortex: its name in the registry, and places for its genes."""

from __future__ import annotations

import numpy as np
from mudata import MuData
from scipy import sparse

import omicsfm as ofm

NAME = "mop_snareseq_mouse_cortex"


def place_genes(mdata: MuData) -> MuData:
    """Give its genes, whose `var` has no places, those of the regions that the authors linked to them."""
    links = sparse.csr_matrix(sparse.load_npz(ofm.datasets.fetch(NAME)["GxR.npz"]))
    peaks = mdata.mod["atac"].var
    gene, peak = links.nonzero()
    of = peaks.iloc[peak].assign(gene=gene, chrom=lambda t: t["chrom"].astype(str))
    first = of.groupby("gene")["chrom"].transform("first")
    span = of[of["chrom"] == first].groupby("gene").agg({"chrom": "first", "start": "min", "end": "max"})
    var = mdata.mod["rna"].var.copy()
    for column in ("chrom", "start", "end"):
        var[column] = span[column].reindex(np.arange(len(var))).to_numpy()
    mdata.mod["rna"].var = var
    return mdata
