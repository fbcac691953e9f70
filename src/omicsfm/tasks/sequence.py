"""Label DNA sequences that resemble none of training."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from omicsfm import metrics, seq
from omicsfm._errors import InputError
from omicsfm.metrics._matthews import label_counts, matthews_of_counts
from omicsfm.tasks._task import Finding, Scores, Split

N_BOOT = 2000


class SequenceClassification:
    """Hold out sequences, and ask for their labels.

    The data are a table with columns `sequence` and `label`, and for the official split `part`: "train", "dev" (joins
    training) or "test". Training sequences that are in the question as well, as they are or as their reverse
    complement, are taken out of training and counted: the question stays what was published.

    Parameters
    ----------
    split
        "official": by the column `part`. "clusters": folds between which no two sequences are similar
        (`seq.similarity_clusters`).
    n_folds
        For "clusters".
    seed
        Of the folds.
    """

    primary: tuple[str, ...] = ("matthews", "macro_auroc")
    needs_tokens = False

    def __init__(self, split: str = "official", *, n_folds: int = 5, seed: int = 0) -> None:
        if split not in ("official", "clusters"):
            raise InputError(f"SequenceClassification: no split is called {split!r}. Fix: 'official' or 'clusters'.")
        if n_folds < 2:
            raise InputError(f"SequenceClassification: n_folds must be at least 2, found {n_folds}. Fix: n_folds=5.")
        self.split = split
        self.n_folds = n_folds
        self.seed = seed

    @property
    def name(self) -> str:
        """Name of the task, as in results."""
        return f"sequence_classification_{self.split}"

    @property
    def split_unit(self) -> str:
        """What is held out."""
        return "part" if self.split == "official" else "cluster"

    def splits(self, data: pd.DataFrame) -> Iterator[Split]:
        """Give the official split, or one split per fold of clusters.

        Each split has tables `train` (sequence, label) and `query` (sequence), and as truth `label`, `cluster` (of the
        question's sequences: the units of intervals) and `removed` (kind of copy -> sequences taken out of training).

        Raises
        ------
        InputError
            If a column is missing, or nothing is left to train on or to ask about.
        """
        needed = ["sequence", "label", *(["part"] if self.split == "official" else [])]
        missing = [name for name in needed if name not in getattr(data, "columns", [])]
        if missing:
            raise InputError(
                f"SequenceClassification: a table with columns {', '.join(needed)} is needed, found none called "
                f"{', '.join(missing)}. Fix: rename them, or choose the other split."
            )
        cluster = seq.similarity_clusters(data["sequence"])
        if self.split == "official":
            yield _cut("test", data, cluster, (data["part"] == "test").to_numpy())
            return
        groups = np.random.default_rng(self.seed).permutation(cluster.max() + 1)
        fold = _folds(np.bincount(cluster), groups, self.n_folds)[cluster]
        for i in range(self.n_folds):
            yield _cut(f"fold {i}", data, cluster, fold == i)

    def can(self, model: Any) -> bool:
        """Needs `predict_proba`."""
        return callable(getattr(model, "predict_proba", None))

    def predict(self, model: Any, split: Split) -> pd.DataFrame:
        """Ask for probabilities: a row per sequence, a column per class."""
        return pd.DataFrame(model.predict_proba(split.query["sequence"]), columns=list(model.classes_))

    def score(self, prediction: pd.DataFrame, split: Split) -> Scores:
        """Matthews correlation, AUROC, and whether each label is right."""
        truth = split.truth["label"]
        given = prediction.columns.to_numpy()[prediction.to_numpy().argmax(axis=1)]
        return {
            "matthews": metrics.matthews(truth, given),
            "macro_auroc": metrics.macro_auroc(truth, prediction.to_numpy(), prediction.columns),
            "accuracy": metrics.accuracy(truth, given),
        }

    def audit(self, split: Split) -> list[Finding]:
        """Look for copies across the split, and where clusters are held out for similar sequences as well."""
        copies = seq.duplicates(split.train["sequence"], split.query["sequence"])
        found = Finding("sequences of the question in training, on either strand", str(len(copies)), copies.empty)
        shared = np.isin(split.truth["cluster"], split.truth["train_cluster"]).sum()
        similar = Finding(
            "sequences of the question that resemble one of training",
            f"{shared} of {len(split.query)}",
            self.split == "official" or shared == 0,
        )
        return [found, similar]


def permuted(split: Split, seed: int = 0) -> Split:
    """Give the control: the same split with the labels of training permuted, so that nothing can be learnt."""
    order = np.random.default_rng(seed).permutation(len(split.train))
    return dataclasses.replace(split, train=split.train.assign(label=split.train["label"].to_numpy()[order]))


def matthews_interval(
    truth: Any, given: Any, *, other: Any = None, units: Any = None, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Give the Matthews correlation and its percentile bootstrap interval; or the difference of two methods, paired.

    Parameters
    ----------
    truth, given
        (n,) true and given labels.
    other
        (n,) labels of another method, whose correlation is subtracted. None: no method.
    units
        (n,) what is resampled (clusters of sequences). None: every sequence is its own.
    level
        Coverage of the interval.
    seed
        Of the resamples.

    Returns
    -------
    value, low, high.
    """
    unit_n = np.arange(len(truth)) if units is None else np.asarray(units)
    tables = [
        label_counts("matthews_interval", truth, labels, unit_n) for labels in (given, other) if labels is not None
    ]
    rng = np.random.default_rng(seed)
    n = len(tables[0])
    weights = rng.multinomial(n, np.full(n, 1 / n), size=N_BOOT)
    value, drawn = 0.0, np.zeros(N_BOOT)
    for sign, table in zip((1, -1), tables, strict=False):
        value += sign * float(matthews_of_counts(table.sum(axis=0)))
        drawn += sign * matthews_of_counts((weights @ table.reshape(n, -1)).reshape(-1, *table.shape[1:]))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return value, float(low), float(high)


def _folds(sizes: np.ndarray, order: np.ndarray, n_folds: int) -> np.ndarray:
    """Give each cluster a fold: the large ones first, each to the fold with the fewest sequences."""
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold, total = np.empty(len(sizes), dtype=np.int64), np.zeros(n_folds)
    for cluster in order:
        fold[cluster] = total.argmin()
        total[fold[cluster]] += sizes[cluster]
    return fold


def _cut(unit: str, data: pd.DataFrame, cluster: np.ndarray, asked: np.ndarray) -> Split:
    query = data.loc[asked, ["sequence"]].reset_index(drop=True)
    train, train_cluster = data.loc[~asked, ["sequence", "label"]], cluster[~asked]
    copies = seq.duplicates(query["sequence"], train["sequence"])
    kept = np.ones(len(train), dtype=bool)
    kept[copies["b"].to_numpy()] = False
    if not kept.any() or query.empty:
        raise InputError(
            f"SequenceClassification: '{unit}' leaves {int(kept.sum())} sequences to train on and {len(query)} to ask "
            "about. Fix: check the column part, or ask for fewer folds."
        )
    truth = {
        "label": data.loc[asked, "label"].to_numpy(),
        "cluster": cluster[asked],
        "train_cluster": train_cluster[kept],
        "removed": copies["kind"].value_counts().to_dict(),
    }
    return Split(unit, train[kept].reset_index(drop=True), query, truth)
