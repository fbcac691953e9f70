"""Predict a modality that a donor lacks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from mudata import MuData

from omicsfm import contract, metrics
from omicsfm._errors import InputError
from omicsfm.models import Imputation as Imputed
from omicsfm.models import Imputes
from omicsfm.tasks._splits import donors, hide_labels, paired_donors
from omicsfm.tasks._task import Finding, Scores, Split


class Imputation:
    """Hide one modality of one donor, in training and in the question, and ask for it on the recipe's scale.

    Everything else is given, unpaired donors included. A feature that a method predicts as constant scores a Pearson
    correlation of 0. Correlation and RMSE can order methods differently: both are reported.

    Parameters
    ----------
    targets
        Modalities to predict; None: each that two or more paired donors have.
    """

    name = "imputation"
    split_unit = "donor"
    primary: tuple[str, ...] = ("pearson_per_feature", "rmse_per_feature", "coverage_error")

    def __init__(self, targets: tuple[str, ...] | None = None) -> None:
        self.targets = targets

    def splits(self, mdata: MuData) -> Iterator[Split]:
        """Hold out each target in each paired donor."""
        mask = contract.modality_mask(mdata)
        unit = donors(mdata)
        any_split = False
        for target in self.targets or tuple(mdata.mod):
            has = mask[target].to_numpy() & (mask.sum(axis=1) > 1).to_numpy()
            found = [d for d in paired_donors(mdata) if has[unit == d].any()]
            if len(found) < 2:
                continue
            any_split = True
            for donor in found:
                hidden = mask[target].to_numpy() & (unit == donor)
                train = contract.hide(mdata, target, hidden)
                train = hide_labels(train, np.ones(train.n_obs, dtype=bool))
                asked = mdata.obs_names[has & (unit == donor)]
                query = contract.subset(train, np.isin(train.obs_names, asked))
                truth = {"target": target, "source": contract.subset(mdata, np.isin(mdata.obs_names, query.obs_names))}
                if contract.keys(mdata).label is not None:
                    truth["label"] = contract.labels(mdata)[query.obs_names]
                yield Split(donor, train, query, truth)
        if not any_split:
            raise InputError(
                "Imputation: no modality is shared by 2 paired donors, so none can be hidden and still learnt. "
                "Fix: ofm.setup(mdata, donor_key=... or batch_key=...) with the column that names donors."
            )

    def can(self, model: Any) -> bool:
        """Needs `impute`."""
        return isinstance(model, Imputes)

    def predict(self, model: Any, split: Split) -> tuple[Imputed, np.ndarray]:
        """Ask for the hidden modality; the observed values come back on the same scale, NaN where not measured."""
        target, source = split.truth["target"], split.truth["source"]
        found = model.impute(split.query, target)
        return found, model.tokenizer_.table(source, target).reindex(found.mean.index).to_numpy()

    def score(self, prediction: tuple[Imputed, np.ndarray], split: Split) -> Scores:
        """Give values per feature and per cell."""
        found, truth = prediction
        # A feature that nobody of the donor varies in cannot be ranked; it leaves the score of every method alike.
        mean, lower, upper = found.mean.to_numpy(), found.lower.to_numpy(), found.upper.to_numpy()
        scores: Scores = {
            "pearson_per_feature": metrics.pearson_per_feature(truth, mean, constant_prediction=0.0),
            "pearson_per_cell": metrics.pearson_per_cell(truth, mean),
            "rmse_per_feature": metrics.rmse_per_feature(truth, mean),
            "interval_coverage": metrics.interval_coverage(truth, lower, upper),
            "coverage_error": metrics.coverage_error(truth, lower, upper, level=found.level),
            "interval_width": metrics.interval_width(truth, lower, upper),
        }
        return {f"{name}:{split.truth['target']}": value for name, value in scores.items()}

    def audit(self, split: Split) -> list[Finding]:
        """Look for the target of the donor in training and in the question."""
        target = split.truth["target"]
        names = set(split.query.obs_names)
        left = 0 if target not in split.train.mod else len(names & set(split.train.mod[target].obs_names))
        asked = target in split.query.mod
        return [
            Finding(f"held-out cells with '{target}' in training", str(left), left == 0),
            Finding(f"'{target}' in the question", "yes" if asked else "no", not asked),
        ]
