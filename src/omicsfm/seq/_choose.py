"""Which of several embeddings to use, decided without a look at what will be tested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from omicsfm._errors import InputError

_STRENGTH = 0.1  # of the logistic models (C), on standardised columns


@dataclass(frozen=True)
class EmbeddingChoice:
    """The embedding that predicts best within the rows that train.

    Attributes
    ----------
    name
        Key of the candidate; of equal ones the first.
    scores
        DataFrame, one row per candidate in their order, one column per fold: macro-averaged one-vs-rest AUROC.
    """

    name: str
    scores: pd.DataFrame


def choose_embedding(
    candidates: Mapping[str, Any], y: Any, *, groups: Any = None, folds: int = 5, seed: int = 0
) -> EmbeddingChoice:
    """Choose layer and pooling (or any embedding) by cross-validation on training rows.

    Parameters
    ----------
    candidates
        (n, d) arrays or CSR matrices by name, such as :func:`layer_embeddings` gives, **of the training rows only**:
        inside of an outer cross-validation call it once per outer fold.
    y
        (n,) labels, two or more classes.
    groups
        (n,) what must not be split, such as chromosomes, blocks or clusters.
    folds
        Number of folds, the same for all candidates.
    seed
        Of the folds.

    Returns
    -------
    EmbeddingChoice

    Raises
    ------
    InputError
        If numbers of rows differ, there are fewer than two classes, or a class or the groups are too few for the folds.
    """
    labels = np.asarray(y)
    classes, counts = np.unique(labels, return_counts=True)
    sizes = {name: value.shape[0] for name, value in candidates.items()}
    if not sizes or set(sizes.values()) != {len(labels)} or len(classes) < 2 or counts.min() < folds:
        raise InputError(
            f"seq.choose_embedding: candidates with {len(labels)} rows each and 2 or more classes of at least {folds} "
            f"rows were needed; found rows {sizes} and classes of {counts.tolist()} rows. "
            "Fix: pass the training rows of each, or fewer folds."
        )
    if groups is None:
        splits = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels))
    else:
        if len(np.unique(groups)) < folds:
            raise InputError(
                f"seq.choose_embedding: {folds} folds need as many groups, found {len(np.unique(groups))}. "
                "Fix: fewer folds."
            )
        by_group = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        splits = list(by_group.split(labels, labels, np.asarray(groups)))
    rows = {name: [_score(value, labels, *split) for split in splits] for name, value in candidates.items()}
    scores = pd.DataFrame.from_dict(rows, orient="index")
    return EmbeddingChoice(str(scores.mean(axis=1).idxmax()), scores)


def _score(x: Any, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    scale = StandardScaler(with_mean=not sparse.issparse(x))
    model = make_pipeline(scale, LogisticRegression(C=_STRENGTH, max_iter=1000)).fit(x[train], y[train])
    p = model.predict_proba(x[test])
    # A group may leave a class out of a fold: the mean is over those that are there.
    present = [i for i, c in enumerate(model.classes_) if 0 < (y[test] == c).sum() < len(test)]
    return float(np.mean([roc_auc_score(y[test] == model.classes_[i], p[:, i]) for i in present]))
