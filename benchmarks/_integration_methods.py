"""The methods of the peer study: how each is made, what it is asked, and why it is not asked the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Self

import numpy as np
from mudata import MuData

from omicsfm import models
from omicsfm.pp import Tokenizer

STATE = ("pbmc_state", "cortex_state", "cortex_state_all", "cll_state")
PAIRS = ("pbmc_pairs", "cite_pairs")
CITE_IMPUTE = ("pbmc_protein", "pbmc_rna", "cite_protein")
IMPUTE = (*CITE_IMPUTE, "cortex_rna", "cortex_atac", "cll_impute")
LABELS = ("pbmc_labels",)
PEER_STATE = ("pbmc_state", "cortex_state", "cll_state")  # all cells of the cortex are asked of what is cheap alone
CORTEX = ("cortex_state", "cortex_rna", "cortex_atac")
EVERYTHING = (*PAIRS, *IMPUTE, *STATE, *LABELS)

Make = Callable[[int, Tokenizer], Any]  # seed, and the tokenizer that everybody shares


@dataclass(frozen=True)
class Method:
    """One row of the tables.

    Attributes
    ----------
    name : as shown, settings in it.
    family : "ours", "baseline", "peer" or "control".
    make : gives the estimator.
    asked : keys of the questions.
    seeds : number of seeds.
    elsewhere : why it is not asked the other questions.
    """

    name: str
    family: str
    make: Make
    asked: Sequence[str]
    seeds: int = 5
    elsewhere: str = ""


class ScanpyPCA:
    """Principal components of log-normalised RNA, as in scanpy's tutorials; only of cells it was fitted on."""

    def __init__(self, n_comps: int, seed: int = 0) -> None:
        self.n_comps = n_comps
        self.seed = seed

    def fit(self, mdata: MuData) -> Self:
        """Fit to the RNA."""
        import scanpy as sc

        rna = mdata.mod["rna"].copy()
        sc.pp.normalize_total(rna)
        sc.pp.log1p(rna)
        sc.pp.pca(rna, n_comps=self.n_comps, random_state=self.seed)
        self.state_, self.names_ = rna.obsm["X_pca"], rna.obs_names
        return self

    def embed(self, mdata: MuData) -> np.ndarray:
        """Give the components."""
        return self.state_[self.names_.get_indexer(mdata.obs_names)]


def _ours(name: str) -> Make:
    return lambda seed, tokenizer: models.create(name, seed=seed)


def _external(module: str, name: str, **settings: Any) -> Make:
    def make(seed: int, tokenizer: Tokenizer) -> Any:
        return getattr(import_module(f"omicsfm.models.external.{module}"), name)(seed=seed, **settings)

    return make


def _auto(seed: int, tokenizer: Tokenizer) -> Any:
    return import_module("omicsfm.models.stack").auto_model(seed=seed)


def _multivi_default(seed: int, tokenizer: Tokenizer) -> Any:
    """Sizes by scvi-tools' own rule: roots of the number of regions, or else genes."""
    seen = "atac" if "atac" in tokenizer.features_ else "rna"
    hidden = min(128, int(np.sqrt(len(tokenizer.features_[seen]))))
    return models.external.MultiVI(int(np.sqrt(hidden)), n_hidden=hidden, lr=1e-4, max_epochs=500, seed=seed)


def _scanpy_pca(n_comps: int) -> Make:
    return lambda seed, tokenizer: ScanpyPCA(n_comps, seed)


def _alone(modality: str) -> Make:
    return lambda seed, tokenizer: models.ModalityPCA(modality=modality, seed=seed)


NO_BULK = "bulk views are not counts: it does not take them"
NO_IMPUTE = "does not impute"
NO_STATE = "imputes only"

METHODS = {
    method.name: method
    for method in (
        Method("LinearMosaic", "ours", _ours("LinearMosaic"), EVERYTHING),
        Method("Mosaic", "ours", _ours("Mosaic"), EVERYTHING),
        Method("Stack (auto)", "ours", _auto, EVERYTHING, 3),
        Method("CCA", "baseline", _ours("CCA"), (*PAIRS, *STATE), elsewhere=NO_IMPUTE),
        Method("ConcatPCA", "baseline", _ours("ConcatPCA"), (*PAIRS, *STATE), elsewhere=NO_IMPUTE),
        Method("WNN (ours)", "baseline", _ours("WNN"), (*PAIRS, *STATE), elsewhere=NO_IMPUTE),
        Method("RNA tokens", "baseline", _alone("rna"), STATE[:3], elsewhere="one modality"),
        Method("protein tokens", "baseline", _alone("protein"), ("pbmc_state",), elsewhere="one modality"),
        Method("ATAC tokens", "baseline", _alone("atac"), STATE[1:3], elsewhere="one modality"),
        # Twice, because clusters depend on their number more than most methods differ.
        Method("RNA PCA 50 (scanpy)", "baseline", _scanpy_pca(50), STATE[:3], elsewhere="one modality"),
        Method("RNA PCA 20 (scanpy)", "baseline", _scanpy_pca(20), STATE[:3], elsewhere="one modality"),
        *(
            Method(name, "baseline", _ours(name), IMPUTE, elsewhere=NO_STATE)
            for name in ("MeanKNNRidge", "KernelRidgeImputer", "RidgeImputer", "KNNImputer", "MeanImputer")
        ),
        *(
            Method(name, "baseline", _ours(name), LABELS, elsewhere="labels only")
            for name in ("LogisticLabels", "KNNLabels", "MajorityClass")
        ),
        Method("Chance", "control", _ours("Chance"), (*PAIRS, *PEER_STATE)),
        Method(
            "MIDAS, 400 epochs", "peer", _external("midas", "MIDAS", max_epochs=400),
            (*PAIRS, *CITE_IMPUTE, "pbmc_state"), 3, NO_BULK,
        ),
        Method(
            "MIDAS, 65 epochs", "peer", _external("midas", "MIDAS", max_epochs=65),
            (*PAIRS, *CITE_IMPUTE, "pbmc_state", "cortex_state"), 3, NO_BULK,
        ),
        Method(
            "MULTIVI, 20/128, lr 1e-3", "peer", _external("multivi", "MultiVI"),
            (*PAIRS, *CITE_IMPUTE, "pbmc_state", *CORTEX), 3, NO_BULK,
        ),
        Method(
            "MULTIVI, its defaults", "peer", _multivi_default, ("pbmc_pairs", "pbmc_state", "cortex_state"), 3, NO_BULK
        ),
        Method(
            "TOTALVI", "peer", _external("totalvi", "TotalVI"), ("pbmc_state", "pbmc_protein", "cite_protein"), 3,
            "needs RNA in every cell, and protein as the other modality",
        ),
        Method(
            "SCANVI", "peer", _external("scanvi", "ScANVI"), LABELS, 3,
            "needs labels, which the other questions hide; sees RNA alone",
        ),
        Method("PEAKVI", "peer", _external("peakvi", "PeakVI"), ("cortex_state",), 3, "sees ATAC alone"),
        Method("MOFA", "peer", _ours("MOFA"), (*PAIRS, *PEER_STATE), 3, "imputes for training samples only"),
        Method("GLUE", "peer", _external("glue", "GLUE"), (*PAIRS, "pbmc_state", "cortex_state"), 3, "does not impute"),
        Method(
            "SnapATAC2 multi-view", "peer", _external("multi_spectral", "MultiSpectral"), (*PAIRS, *PEER_STATE[:2]), 3,
            "does not impute; " + NO_BULK,
        ),
        Method("WNN (muon)", "peer", _external("muon_wnn", "MuonWNN"), (*PAIRS, *PEER_STATE), 3, NO_IMPUTE),
    )
}  # fmt: skip
