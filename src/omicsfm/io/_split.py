"""One AnnData to one MuData: which modality a feature belongs to."""

from __future__ import annotations

import re

import anndata as ad
import pandas as pd
from mudata import MuData

from omicsfm import _compat

# What 10x Genomics writes in `feature_types`; anything else becomes its own lower-case name.
_FEATURE_TYPES = {
    "gene expression": "rna",
    "peaks": "atac",
    "antibody capture": "protein",
    "crispr guide capture": "guide",
}
# Names of these features are names of genes too often: 'CD4' is a gene and an antibody.
_PREFIXED = ("protein", "guide")
_PEAK = re.compile(r"^(chr)?[\w.]+[:\-_]\d+[-_]\d+$")


def _modality(feature_type: str) -> str:
    name = str(feature_type).strip().lower()
    return _FEATURE_TYPES.get(name, re.sub(r"\W+", "_", name) or "unnamed")


def _looks_like_peaks(names: pd.Index) -> bool:
    head = names[:200]
    return len(head) > 0 and sum(bool(_PEAK.match(name)) for name in head) > 0.9 * len(head)


def from_anndata(adata: ad.AnnData) -> MuData:
    """Split an AnnData by ``var["feature_types"]``, or take it whole as one modality.

    Names become unique: within a modality repeats get ``-1``, ``-2`` (as scanpy does), and where there are several
    modalities proteins and guides are prefixed with ``protein:`` and ``guide:``. A single modality without feature
    types is ``atac`` if its features are named like genome intervals, else ``rna``. `obs` is that of the file.
    """
    with _compat.quiet():
        adata.obs_names_make_unique()
        if "feature_types" in adata.var.columns and not adata.isbacked:
            kinds = adata.var["feature_types"].map(_modality).astype(str)
            mods = {kind: adata[:, (kinds == kind).to_numpy()].copy() for kind in dict.fromkeys(kinds)}
        else:
            mods = {"atac" if _looks_like_peaks(adata.var_names) else "rna": adata}
        for kind, part in mods.items():
            if len(mods) > 1 and kind in _PREFIXED:
                prefix = f"{kind}:"
                part.var_names = [n if n.startswith(prefix) else prefix + n for n in part.var_names]
            part.var_names_make_unique()
        return _compat.make_mudata(mods, adata.obs.copy())
