"""A task: data split by a unit, a target hidden from training, metrics on what was held out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from mudata import MuData

# metric name (with ":detail" where one metric is asked several times) -> one number, or one value per member
Scores = dict[str, float | np.ndarray]


@dataclass(frozen=True)
class Split:
    """One training set and one held-out question.

    Attributes
    ----------
    unit : what is held out (a donor).
    train : what a method may see: a MuData, or effects where there are no cells.
    query : what it is asked about: a MuData, or a design.
    truth : what only the task knows.
    """

    unit: str
    train: Any
    query: Any
    truth: Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """One line of the leak audit."""

    check: str
    found: str
    ok: bool


@runtime_checkable
class Task(Protocol):
    """One question asked of a data set; the same for every method.

    Attributes
    ----------
    name : of the task, as in results.
    split_unit : what is held out.
    primary : metrics on which verdicts are given (without detail).
    """

    primary: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the task, as in results."""

    @property
    def split_unit(self) -> str:
        """What is held out."""

    def splits(self, mdata: MuData) -> Iterator[Split]:
        """Give one split per unit."""

    def can(self, model: Any) -> bool:
        """Tell whether an estimator answers this kind of question."""

    def predict(self, model: Any, split: Split) -> Any:
        """Ask a fitted estimator."""

    def score(self, prediction: Any, split: Split) -> Scores:
        """Compare with the truth."""

    def audit(self, split: Split) -> list[Finding]:
        """Look for what training could have known of the answer."""
