"""What an estimator can do, said by small protocols; and the one shape of an imputation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from mudata import MuData

from omicsfm import _html
from omicsfm.pp import Tokenizer, dense_nan


@dataclass(frozen=True, repr=False)
class Imputation:
    """Prediction of one modality for every cell asked about, on the recipe's scale.

    Attributes
    ----------
    mean, sd, lower, upper : DataFrames (n_obs, n_vars), index the query's obs names, columns the training features.
        ``lower`` and ``upper`` bound a split-conformal interval of the stated level.
    level : nominal coverage of the interval.
    transform : puts observed raw values, (n, n_vars) in the order of the columns, on the same scale (dense array).
    """

    mean: pd.DataFrame
    sd: pd.DataFrame
    lower: pd.DataFrame
    upper: pd.DataFrame
    level: float
    transform: Callable[[Any], np.ndarray]

    @classmethod
    def around(
        cls,
        tokenizer: Tokenizer,
        mdata: MuData,
        modality: str,
        parts: tuple[np.ndarray, np.ndarray, np.ndarray],
        *,
        level: float,
    ) -> Imputation:
        """Give tables of a modality from the mean, sd and half width of the interval, (n_obs, n_vars) each."""
        names, recipe = tokenizer.var_names_[modality], tokenizer.recipes_[modality]
        mean, sd, half = parts

        def frame(values: np.ndarray) -> pd.DataFrame:
            return pd.DataFrame(values, index=mdata.obs_names, columns=names)

        return cls(
            mean=frame(mean),
            sd=frame(sd),
            lower=frame(mean - half),
            upper=frame(mean + half),
            level=level,
            transform=lambda x: dense_nan(recipe.scale(x), None),
        )

    def __repr__(self) -> str:
        return f"Imputation: {self.mean.shape[0]:,} cells x {self.mean.shape[1]:,} features, {self.level:.0%} intervals"

    def _repr_html_(self) -> str:
        width = (self.upper - self.lower).mean()
        summary = pd.DataFrame({"mean": self.mean.mean(), "sd": self.sd.mean(), "width of the interval": width})
        return _html.heading(repr(self)) + _html.table(summary, index=True, rows=10)


@runtime_checkable
class Embeds(Protocol):
    """Gives a cell state for cells measured in any subset of modalities."""

    def fit(self, mdata: MuData) -> Any:
        """Learn from a MuData that satisfies the contract."""

    def embed(self, mdata: MuData) -> np.ndarray:
        """Give (n_obs, n_latent), rows in ``mdata.obs_names`` order."""


@runtime_checkable
class Imputes(Protocol):
    """Predicts a modality that cells lack."""

    def fit(self, mdata: MuData) -> Any:
        """Learn from a MuData that satisfies the contract."""

    def impute(self, mdata: MuData, modality: str) -> Imputation:
        """Predict `modality` for every cell from its other modalities."""


@runtime_checkable
class Annotates(Protocol):
    """Gives labels with calibrated confidence and an "unknown" option."""

    def fit(self, mdata: MuData) -> Any:
        """Learn from a MuData that satisfies the contract and has some labels."""

    def annotate(self, mdata: MuData) -> pd.DataFrame:
        """Give columns label, confidence, unknown; index ``mdata.obs_names``."""


@runtime_checkable
class Saves(Protocol):
    """Writes itself to a directory that ``ofm.load`` reads."""

    def fit(self, mdata: MuData) -> Any:
        """Learn from a MuData that satisfies the contract."""

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the fitted model."""
