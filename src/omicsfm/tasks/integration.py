"""Whether a cell's modalities find each other, biology is kept and batches are mixed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData

from omicsfm import contract, metrics
from omicsfm._errors import InputError
from omicsfm.models import Embeds
from omicsfm.tasks._splits import donors, hide_labels, need_donors, paired_donors, pseudo_cells
from omicsfm.tasks._task import Finding, Scores, Split

K_LABEL = 15
K_MIXING = 90


class MosaicIntegration:
    """Split a paired donor into pseudo-cells of one modality each, hide the pairing, and ask for it.

    Training sees all cells, those of the held-out donor as unrelated pseudo-cells without labels. Scored on the
    held-out donor: do the halves of a cell find each other (FOSCTTM, label of the nearest partner), are labels carried
    from the halves of one modality to the other, and from the other donors to each. Protocol of SCMMIB (Fu et al.
    2025, doi:10.1038/s41592-025-02737-9).
    """

    name = "integration"
    split_unit = "donor"
    primary: tuple[str, ...] = ("foscttm", "label_transfer_accuracy", "partner_label_match")

    def splits(self, mdata: MuData) -> Iterator[Split]:
        """Hold out each paired donor in turn."""
        found = paired_donors(mdata)
        need_donors("MosaicIntegration", found)
        several = contract.modality_mask(mdata).to_numpy().sum(axis=1) > 1
        label = contract.labels(mdata) if contract.keys(mdata).label else None
        for donor in found:
            cells = several & (donors(mdata) == donor)
            train, names = pseudo_cells(mdata, cells)
            held = np.isin(train.obs_names, np.concatenate([np.array(v) for v in names.values()]))
            train = hide_labels(train, held)
            query = hide_labels(contract.subset(train, held), np.ones(int(held.sum()), dtype=bool))
            truth: dict[str, Any] = {"names": names, "donor": donor}
            if label is not None:
                truth["label"] = pd.Series(
                    {f"{cell}:{m}": label[cell] for m in names for cell in mdata.obs_names[cells]}, dtype=object
                )
            yield Split(donor, train, query, truth)

    def can(self, model: Any) -> bool:
        """Needs `embed`."""
        return isinstance(model, Embeds)

    def predict(self, model: Any, split: Split) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Embed the question, and the labelled training cells as halves of one modality each."""
        label = contract.labels(split.train) if contract.keys(split.train).label else None
        asked = pd.DataFrame(np.asarray(model.embed(split.query)), index=split.query.obs_names)
        if label is None or not label.notna().any():
            return asked, asked[:0]
        known = contract.subset(split.train, label.notna().to_numpy())
        halves, _ = pseudo_cells(known, np.ones(known.n_obs, dtype=bool))
        return asked, pd.DataFrame(np.asarray(model.embed(halves)), index=halves.obs_names)

    def score(self, prediction: tuple[pd.DataFrame, pd.DataFrame], split: Split) -> Scores:
        """Give one value per held-out cell, averaged over pairs of modalities."""
        asked, reference = prediction
        names, label = split.truth["names"], split.truth.get("label")
        out: Scores = {}
        pairs = list(combinations(names, 2))
        for a, b in pairs:
            detail = "" if len(pairs) == 1 else f":{a}-{b}"
            both = [n[: -len(a) - 1] for n in names[a] if f"{n[: -len(a) - 1]}:{b}" in asked.index]
            x, y = (asked.loc[[f"{n}:{m}" for n in both]].to_numpy() for m in (a, b))
            out[f"foscttm{detail}"] = metrics.foscttm(x, y)
            if label is None:
                continue
            truth = label[[f"{n}:{a}" for n in both]]
            ok = truth.notna().to_numpy()
            kind = truth[ok].to_numpy(dtype=str)
            out[f"partner_label_match{detail}"] = metrics.partner_label_match(x[ok], y[ok], kind)
            transfer = metrics.label_transfer_accuracy
            out[f"label_transfer_accuracy:{a} from {b}"] = transfer(y[ok], kind, x[ok], truth=kind, k=K_LABEL)
            out[f"label_transfer_accuracy:{b} from {a}"] = transfer(x[ok], kind, y[ok], truth=kind, k=K_LABEL)
        if label is not None and len(reference) > K_LABEL:
            train_label = contract.labels(split.train)
            cell = reference.index.str.rsplit(":", n=1).str[0]
            kind = train_label[cell].to_numpy(dtype=str)
            for m in names:
                truth = label[names[m]]
                ok = truth.notna().to_numpy()
                out[f"label_transfer_accuracy:{m} from other donors"] = metrics.label_transfer_accuracy(
                    reference.to_numpy(),
                    kind,
                    asked.loc[names[m]].to_numpy()[ok],
                    truth=truth[ok].to_numpy(dtype=str),
                    k=K_LABEL,
                )
        return out

    def audit(self, split: Split) -> list[Finding]:
        """Pairing and labels of the held-out donor must be out of sight."""
        mask = contract.modality_mask(split.train)
        paired = int((mask.loc[split.query.obs_names].sum(axis=1) > 1).sum())
        return [
            Finding("held-out cells still paired in training", str(paired), paired == 0),
            _labels_hidden(split),
        ]


class CellState:
    """Embed all cells as they are, without labels, and look at the states.

    Every metric is taken over cells that have a label; neighbours across donors only where there are several.
    """

    name = "cell_state"
    split_unit = "data set"
    primary: tuple[str, ...] = ("knn_accuracy_cross_donor", "ilisi")

    def splits(self, mdata: MuData) -> Iterator[Split]:
        """One split: nothing is held out but the labels, which training never sees."""
        if contract.keys(mdata).label is None:
            raise InputError("CellState: labels are needed. Fix: ofm.setup(mdata, label_key=...).")
        label = contract.labels(mdata)
        train = hide_labels(mdata, np.ones(mdata.n_obs, dtype=bool))
        query = contract.subset(train, label.notna().to_numpy())
        yield Split("all", train, query, {"label": label[label.notna()], "donor": donors(query)})

    def can(self, model: Any) -> bool:
        """Needs `embed`."""
        return isinstance(model, Embeds)

    def predict(self, model: Any, split: Split) -> np.ndarray:
        """Embed all labelled cells."""
        return np.asarray(model.embed(split.query))

    def score(self, prediction: np.ndarray, split: Split) -> Scores:
        """Neighbourhood metrics from one neighbour search each, and clusters."""
        label, donor = split.truth["label"].to_numpy(dtype=str), split.truth["donor"]
        near = metrics.neighbors(prediction, min(K_MIXING, len(prediction) - 1))
        clusters = metrics.kmeans_clusters(prediction, len(set(label)))
        out: Scores = {
            "knn_accuracy": metrics.knn_accuracy(near.first(K_LABEL), label),
            "clisi": metrics.clisi(near, label),
            "graph_connectivity": metrics.graph_connectivity(near.first(K_LABEL), label),
            "label_asw": metrics.label_asw(prediction, label),
            "nmi": metrics.nmi(label, clusters),
            "ari": metrics.ari(label, clusters),
        }
        if len(set(donor)) > 1:
            out["knn_accuracy_cross_donor"] = metrics.knn_accuracy_cross_donor(prediction, label, donor, k=K_LABEL)
            out["ilisi"] = metrics.ilisi(near, donor)
        return out

    def audit(self, split: Split) -> list[Finding]:
        """Labels must be out of sight."""
        return [_labels_hidden(split)]


def _labels_hidden(split: Split) -> Finding:
    if contract.keys(split.train).label is None:
        return Finding("labels of the question in training", "0", True)
    seen = int(contract.labels(split.train)[split.query.obs_names].notna().sum())
    return Finding("labels of the question in training", str(seen), seen == 0)
