"""Label the cells of a donor from other donors, and know which cells are of no known kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData

from omicsfm import contract, metrics
from omicsfm.models import Annotates
from omicsfm.tasks._splits import donors, duplicates, hide_labels, need_donors, shared_names
from omicsfm.tasks._task import Finding, Scores, Split

MIN_HIDDEN = 20


class Annotation:
    """Hide the labels of one donor; a second time, also hide one cell type from all training labels.

    The type hidden is the rarest one with at least 20 cells in the held-out donor that others have too: its cells are
    what "unknown" should find.

    Parameters
    ----------
    n_unseen
        In how many donors the second question is asked; None: in all.
    """

    name = "annotation"
    split_unit = "donor"
    primary: tuple[str, ...] = ("accuracy", "macro_f1", "expected_calibration_error")

    def __init__(self, n_unseen: int | None = None) -> None:
        self.n_unseen = n_unseen

    def splits(self, mdata: MuData) -> Iterator[Split]:
        """Give two splits per donor: labels hidden, and labels hidden with one type unseen."""
        label, unit = contract.labels(mdata), donors(mdata)
        found = sorted(set(unit[label.notna().to_numpy()]))
        need_donors("Annotation", found)
        left = len(found) if self.n_unseen is None else self.n_unseen
        for donor in found:
            held = unit == donor
            truth = label[held & label.notna().to_numpy()]
            query = hide_labels(
                contract.subset(mdata, np.isin(mdata.obs_names, truth.index)), np.ones(len(truth), bool)
            )
            truth = truth[query.obs_names]
            yield Split(donor, hide_labels(mdata, held), query, {"label": truth})
            count = truth.value_counts()
            elsewhere = set(label[~held].dropna())
            rare = [name for name in count.index[::-1] if count[name] >= MIN_HIDDEN and name in elsewhere]
            if rare and left > 0:
                left -= 1
                hidden = held | (label == rare[0]).to_numpy()
                yield Split(donor, hide_labels(mdata, hidden), query, {"label": truth, "unseen": rare[0]})

    def can(self, model: Any) -> bool:
        """Needs `annotate`."""
        return isinstance(model, Annotates)

    def predict(self, model: Any, split: Split) -> pd.DataFrame:
        """Ask for labels."""
        return model.annotate(split.query).loc[split.query.obs_names]

    def score(self, prediction: pd.DataFrame, split: Split) -> Scores:
        """Accuracy and calibration where every type was seen; detection of the unseen type where one was hidden."""
        truth = split.truth["label"].to_numpy(dtype=str)
        if "unseen" in split.truth:
            score = prediction["novelty"] if "novelty" in prediction else 1 - prediction["confidence"]
            return {"unknown_auroc": metrics.unknown_auroc(truth == split.truth["unseen"], score.to_numpy())}
        label = prediction["label"].to_numpy(dtype=str)
        right = metrics.accuracy(truth, label)
        return {
            "accuracy": right,
            "macro_f1": metrics.macro_f1(truth, label),
            "expected_calibration_error": metrics.expected_calibration_error(
                right.astype(bool), prediction["confidence"].to_numpy()
            ),
        }

    def audit(self, split: Split) -> list[Finding]:
        """No cell of the question may carry a label in training, under its own name or as a copy."""
        known = contract.labels(split.train).notna().to_numpy()
        return [shared_names(split.train, split.query, known), duplicates(split.train, split.query, known)]
