"""The questions of the peer study: which data, cut how, asked by which task of `omicsfm.tasks`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from _cortex import NAME as CORTEX
from _cortex import place_genes
from mudata import MuData

import omicsfm as ofm
from omicsfm import _compat, contract, metrics
from omicsfm.tasks import Annotation, CellState, Imputation, MosaicIntegration, Split, Task

N_CORTEX, N_REGIONS, N_LIBRARY_GROUPS, N_FOLDS = 3000, 8000, 3, 5


class FieldState(CellState):
    """`CellState`, and the numbers as other studies print them.

    Those are: kNN of 15 in 5-fold cross-validation; NMI and ARI of the best of 10 Leiden resolutions, chosen by the
    labels themselves (an oracle, the same for every method); and both again for a second set of labels.

    Parameters
    ----------
    also
        Column of obs with a second set of labels; None: there is none.
    """

    split_unit = "sample"
    primary = ("knn_accuracy", "knn_accuracy_cross_donor", "ilisi")

    def __init__(self, also: str | None = None) -> None:
        self.also = also

    def splits(self, mdata: MuData) -> Iterator[Split]:
        """Give the one split, with the second labels in its truth."""
        for split in super().splits(mdata):
            truth = dict(split.truth)
            if self.also:
                truth["also"] = mdata.obs.loc[split.query.obs_names, self.also].to_numpy(dtype=str)
            yield Split(split.unit, split.train, split.query, truth)

    def score(self, prediction: np.ndarray, split: Split) -> dict[str, Any]:
        """Add the numbers of other studies."""
        out = super().score(prediction, split)
        clusters = _leiden(prediction)
        asked = {"": split.truth["label"].to_numpy(dtype=str)}
        if "also" in split.truth:
            asked[f", {self.also}"] = split.truth["also"]
        for which, label in asked.items():
            out[f"knn_accuracy:5-fold{which}"] = _five_fold(prediction, label)
            out[f"nmi:best Leiden{which}"] = max(metrics.nmi(label, c) for c in clusters)
            out[f"ari:best Leiden{which}"] = max(metrics.ari(label, c) for c in clusters)
        return out


class GroupImputation(Imputation):
    """`Imputation` where what is held out is no donor but a group of libraries or patients."""

    split_unit = "group"


@dataclass(frozen=True)
class Ask:
    """One question.

    Attributes
    ----------
    key, title : short name, and what is asked.
    dataset : name in the registry.
    task : the task, with its splits and its leak audit.
    prepare : makes the MuData that is asked about from the registry's.
    kind : "pairs", "state", "impute" or "labels".
    units : only these units are held out; None: all.
    """

    key: str
    title: str
    dataset: str
    task: Task
    prepare: Callable[[MuData], MuData]
    kind: str
    units: tuple[str, ...] | None = None

    def load(self) -> tuple[MuData, list[Split]]:
        """Give the data and their splits, audited."""
        mdata = self.prepare(ofm.datasets.load(self.dataset))
        splits = [s for s in self.task.splits(mdata) if self.units is None or s.unit in self.units]
        for split in splits:
            leaks = [f for f in self.task.audit(split) if not f.ok]
            if leaks:
                raise ofm.InputError(f"{self.key}, held out {split.unit}: leak: {leaks[0].check}: {leaks[0].found}.")
        return mdata, splits


def _pbmc(mdata: MuData) -> MuData:
    ofm.setup(mdata, batch_key="batch", label_key="celltype")
    return mdata


def _pbmc_paired(mdata: MuData) -> MuData:
    return _pbmc(contract.subset(mdata, mdata.obs["batch"].isin(["p3_0", "p4_0"]).to_numpy()))


def _cite(mdata: MuData) -> MuData:
    ofm.setup(mdata, batch_key="batch")
    return mdata


def _cortex_all(mdata: MuData) -> MuData:
    mdata = place_genes(mdata)  # for GLUE, whose guidance joins genes to regions; nobody else reads them
    mdata = contract.subset(mdata, (mdata.obs["celltype"].astype(str) != "Mis").to_numpy())
    # One library in three makes a group: what is imputed is imputed for libraries that training saw one half of.
    number = {name: i for i, name in enumerate(sorted(set(mdata.obs["batch"].astype(str))))}
    mdata.obs["libraries"] = [f"group {number[b] % N_LIBRARY_GROUPS}" for b in mdata.obs["batch"].astype(str)]
    ofm.setup(mdata, batch_key="batch", label_key="subtype")
    return mdata


def _cortex(mdata: MuData) -> MuData:
    mdata = _cortex_all(mdata)
    chosen = np.zeros(mdata.n_obs, dtype=bool)
    chosen[np.random.default_rng(0).permutation(mdata.n_obs)[:N_CORTEX]] = True
    mdata = contract.subset(mdata, chosen)
    atac = mdata.mod["atac"]
    open_in = np.asarray((atac.X > 0).sum(axis=0)).ravel()
    regions = np.sort(np.argsort(-open_in, kind="stable")[:N_REGIONS])
    mods = {"rna": mdata.mod["rna"], "atac": atac[:, regions].copy()}
    out = _compat.make_mudata(mods, pd.DataFrame(mdata.obs))
    ofm.setup(out, batch_key="batch", label_key="subtype")
    return out


def _cortex_groups(mdata: MuData) -> MuData:
    mdata = _cortex(mdata)
    ofm.setup(mdata, batch_key="batch", donor_key="libraries", label_key="subtype")
    return mdata


def _cll(mdata: MuData) -> MuData:
    fold = np.random.default_rng(0).permutation(mdata.n_obs) % N_FOLDS
    mdata.obs["fold"] = [f"fold {i}" for i in fold]
    ofm.setup(mdata, donor_key="fold")
    return mdata


def _cll_state(mdata: MuData) -> MuData:
    ighv = mdata.obs["IGHV"]
    mdata.obs["ighv"] = pd.Series(np.where(ighv == 1, "mutated", "unmutated"), ighv.index, dtype=object).where(
        ighv.notna()
    )
    ofm.setup(mdata, label_key="ighv")
    return mdata


ASKS = {
    ask.key: ask
    for ask in (
        Ask("pbmc_pairs", "PBMC mosaic: pairing hidden", "pbmc_mosaic", MosaicIntegration(), _pbmc, "pairs"),
        Ask("pbmc_protein", "PBMC, protein from RNA", "pbmc_mosaic", Imputation(("protein",)), _pbmc, "impute"),
        Ask("pbmc_rna", "PBMC, RNA from protein", "pbmc_mosaic", Imputation(("rna",)), _pbmc, "impute"),
        Ask("pbmc_state", "PBMC, two paired donors: cell state", "pbmc_mosaic", FieldState(), _pbmc_paired, "state"),
        Ask("pbmc_labels", "PBMC, labels of a held-out donor", "pbmc_mosaic", Annotation(1), _pbmc, "labels"),
        Ask("cite_pairs", "PBMC, two panels: pairing hidden", "pbmc_cite_scvi", MosaicIntegration(), _cite, "pairs"),
        Ask(
            "cite_protein", "PBMC, two panels: protein from RNA", "pbmc_cite_scvi", Imputation(("protein",)), _cite,
            "impute",
        ),
        Ask(
            "cortex_state", f"Mouse cortex, {N_CORTEX:,} cells: cell state", CORTEX,
            FieldState("celltype"), _cortex, "state",
        ),
        Ask(
            "cortex_state_all", "Mouse cortex, all cells and regions: cell state", CORTEX,
            FieldState("celltype"), _cortex_all, "state",
        ),
        Ask(
            "cortex_rna", f"Mouse cortex, {N_CORTEX:,} cells: RNA from ATAC", CORTEX,
            GroupImputation(("rna",)), _cortex_groups, "impute",
        ),
        Ask(
            "cortex_atac", f"Mouse cortex, {N_CORTEX:,} cells: ATAC from RNA", CORTEX,
            GroupImputation(("atac",)), _cortex_groups, "impute",
        ),
        Ask(
            "cll_impute", "CLL bulk: each view hidden for a fifth of the patients", "cll_mofa", GroupImputation(), _cll,
            "impute", ("fold 0",),
        ),
        Ask("cll_state", "CLL bulk: IGHV status among neighbours", "cll_mofa", FieldState(), _cll_state, "state"),
    )
}  # fmt: skip


def _five_fold(state: np.ndarray, label: np.ndarray) -> np.ndarray:
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier

    folds = KFold(5, shuffle=True, random_state=0)
    return (cross_val_predict(KNeighborsClassifier(15), state, label, cv=folds) == label).astype(float)


def _leiden(state: np.ndarray) -> list[np.ndarray]:
    import scanpy as sc

    adata = ad.AnnData(np.zeros((len(state), 1), dtype=np.float32), obsm={"X": state})
    sc.pp.neighbors(adata, n_neighbors=15, use_rep="X", transformer="sklearn", random_state=0)
    found = []
    for resolution in np.linspace(0.2, 2.0, 10):
        sc.tl.leiden(adata, resolution=resolution, flavor="igraph", n_iterations=2, directed=False, random_state=0)
        found.append(adata.obs["leiden"].to_numpy(dtype=str))
    return found
