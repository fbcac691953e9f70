"""Labelled sequences: checked, numbered, and cut so that copies of a sequence stay together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from omicsfm import seq
from omicsfm._errors import InputError
from omicsfm.seq._sequences import as_list

MIN_PER_CLASS = 5  # different sequences of a class, with which it can be in training and held out


@dataclass(frozen=True)
class Labelled:
    """Sequences and what they are.

    Attributes
    ----------
    sequences : n strings, as given.
    y : (n,) class of each, as a position in `classes`.
    classes : the labels, sorted.
    group : (n,) number of each distinct sequence; a reverse complement has the number of its other strand.
    """

    sequences: list[str]
    y: np.ndarray
    classes: np.ndarray
    group: np.ndarray

    @classmethod
    def of(cls, sequences: Any, y: Any) -> Labelled:
        """Check the input of `fit`.

        Raises
        ------
        InputError
            On letters that are no DNA, labels that are missing or too few, fewer than 2 classes, or a class with fewer
            than 5 different sequences.
        """
        found = as_list("SequenceModel.fit", sequences)
        labels = np.asarray(y)
        if labels.shape != (len(found),):
            raise InputError(
                f"SequenceModel.fit: one label per sequence is needed, found {len(found)} sequences and labels of "
                f"shape {labels.shape}. Fix: give a list, array or Series of as many labels."
            )
        if pd.isna(labels).any():
            raise InputError(
                f"SequenceModel.fit: labels must not be missing, found {int(pd.isna(labels).sum())}. "
                "Fix: drop those sequences."
            )
        if labels.dtype.kind not in "biuf":
            labels = labels.astype(str)
        classes, code = np.unique(labels, return_inverse=True)
        upper = [sequence.upper() for sequence in found]
        other = seq.reverse_complement(found) if found else []
        group = np.unique([min(pair) for pair in zip(upper, other, strict=True)], return_inverse=True)[1]
        data = cls(found, code, classes, group)
        data._check_classes()
        return data

    def _check_classes(self) -> None:
        if len(self.classes) < 2:
            raise InputError(
                f"SequenceModel.fit: at least 2 classes are needed, found {self.classes.tolist()}. "
                "Fix: give labels that differ."
            )
        for i, name in enumerate(self.classes):
            n = len(np.unique(self.group[self.y == i]))
            if n < MIN_PER_CLASS:
                raise InputError(
                    f"SequenceModel.fit: at least {MIN_PER_CLASS} different sequences of each class are needed, found "
                    f"{n} of class {name}. Fix: add some, or leave the class out."
                )

    def __len__(self) -> int:
        return len(self.sequences)

    def take(self, rows: np.ndarray) -> Labelled:
        """Give some of the sequences; classes stay as they are."""
        return Labelled([self.sequences[i] for i in rows], self.y[rows], self.classes, self.group[rows])

    def folds(self, n_folds: int, seed: int) -> np.ndarray:
        """Give each sequence a fold: copies (of either strand) together, classes spread evenly."""
        rng = np.random.default_rng(seed)
        groups, first, of = np.unique(self.group, return_index=True, return_inverse=True)
        order = rng.permutation(len(groups))
        order = order[np.argsort(self.y[first[order]], kind="stable")]
        fold = np.empty(len(groups), dtype=np.int64)
        fold[order] = np.arange(len(groups)) % n_folds
        return fold[of]

    def hold_out(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Cut into rows to train on and rows held out: a tenth, but 1,500 where a fifth is as many."""
        share = np.clip(1500 / len(self), 0.1, 0.2)
        held = self.folds(round(1 / share), seed) == 0
        return np.flatnonzero(~held), np.flatnonzero(held)

    def sample(self, n: int, seed: int) -> Labelled:
        """Give about `n` sequences drawn at random, every class in proportion; all of them where there are fewer."""
        if len(self) <= n:
            return self
        n_folds = len(self) // n
        drawn = self.take(np.flatnonzero(self.folds(n_folds, seed) == 0))
        counts = np.bincount(drawn.y, minlength=len(self.classes))
        return drawn if counts.min() >= MIN_PER_CLASS else self
