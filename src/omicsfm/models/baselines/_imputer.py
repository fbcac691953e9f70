"""What imputing baselines share: inputs, targets with gaps, held-out intervals. A subclass gives the regressor."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from omicsfm import hub
from omicsfm._errors import InputError, OmicsfmWarning
from omicsfm._progress import progress
from omicsfm.models._cells import blocks, row_of
from omicsfm.models._factor import Pattern
from omicsfm.models._protocols import Imputation
from omicsfm.models._token_model import TokenModel
from omicsfm.models.baselines._conformal import held_out_residuals, spread_and_half_width
from omicsfm.models.baselines._regressors import Mean, Regressor
from omicsfm.models.baselines._views import MIN_CELLS, Views, best_set, block_of, training_sets
from omicsfm.pp import Tokens, vstack

MAX_PANELS = 20
BLOCK_ROWS = 2048  # features are dense here


@hub.state
@dataclass(frozen=True)
class Fit:
    """A target predicted from one set of modalities.

    Attributes
    ----------
    pattern : the input modalities; empty for the mean.
    panels : positions of features that the same training cells have; one regressor each.
    regressors : one per panel.
    sd, half : (n_vars,) standard deviation of held-out residuals, and half the width of the interval.
    n_train : cells that have the target and all inputs.
    """

    pattern: tuple[str, ...]
    panels: list[np.ndarray]
    regressors: list[Any]
    sd: np.ndarray
    half: np.ndarray
    n_train: int

    def predict(self, x_md: np.ndarray) -> np.ndarray:
        """Predict (m, n_vars) from inputs (m, d)."""
        out = np.zeros((len(x_md), len(self.sd)))
        for panel, regressor in zip(self.panels, self.regressors, strict=True):
            out[:, panel] = regressor(x_md)
        return out


class Imputer(TokenModel):
    """Predicts each modality from the others, by one regressor per set of input modalities.

    The sets are those met in training among cells that have the target, and each modality alone; a query cell is
    predicted from the largest fitted set that it has, and gets the mean if it has none. Features measured in some
    batches only are regressed on the cells that have them; in a modality with more than 20 patterns of gaps, gaps are
    filled with the feature's mean for training. Intervals are of one width per feature, from cells held out of the
    regression: whole batches where several are paired, random fifths else.
    """

    level: float

    def _regressor(self, x_nd: np.ndarray, y_ng: Any, like: Any = None) -> Regressor:
        """Fit a regressor, with the penalty of `like` where that is given."""
        raise NotImplementedError

    def _sets(self, tokens: Tokens, obs: np.ndarray, target: str) -> list[tuple[Pattern, np.ndarray]]:
        return training_sets(tokens, obs, target=target)

    def _fit(self, mdata: MuData, tokens: Tokens) -> None:
        self.views_ = Views.fit(tokens)
        self.fits_: dict[str, list[Fit]] = {}
        for mod in progress(sorted(tokens.values), desc=type(self).__name__):
            y_ng = vstack([block for _, block in self.tokenizer_.scaled(mdata, mod)])
            row = row_of(tokens.rows[mod], tokens.n_obs)
            has = np.sort(tokens.rows[mod])
            fallback = self._fit_set(tokens, has, (), y_ng[row[has]], None)
            self.fits_[mod] = [fallback] + [
                self._fit_set(tokens, obs, pattern, y_ng[row[obs]], fallback)
                for pattern, obs in self._sets(tokens, has, mod)
            ]

    def _fit_set(self, tokens: Tokens, obs: np.ndarray, pattern: Pattern, y_ng: Any, fallback: Fit | None) -> Fit:
        """Fit one set of inputs; without a `fallback` it is the mean that is fitted, and it is the fallback."""
        rng = np.random.default_rng(self.seed)
        x_nd = self.views_(tokens, block_of(tokens, obs, pattern))
        batch = tokens.batch[obs]
        n_vars = y_ng.shape[1]
        sd, half = np.empty(n_vars), np.empty(n_vars)
        panels = _panels(y_ng)
        regressors: list[Regressor] = []
        mean = fallback.predict(np.zeros((1, 0)))[0] if fallback is not None else np.zeros(n_vars)
        for rows, panel in panels:
            y_np = y_ng[rows][:, panel]
            # What is still missing here has no pattern that could be used.
            filled = y_np if sparse.issparse(y_np) else _mean_filled(y_np, mean[panel])
            if fallback is not None and len(rows) < MIN_CELLS:
                regressors.append(Mean(mean[panel]))
                sd[panel], half[panel] = fallback.sd[panel], fallback.half[panel]
                continue
            fit = self._regressor if fallback is not None else _mean_regressor
            regressors.append(fit(x_nd[rows], filled) if len(rows) else Mean(mean[panel]))
            # The penalty is one number chosen from many thousand residuals: it is not chosen anew in each fold.
            residual = held_out_residuals(
                partial(fit, like=regressors[-1]), x_nd[rows], filled, y_np, batch=batch[rows], rng=rng
            )
            sd[panel], half[panel] = spread_and_half_width(residual, self.level)
        return Fit(pattern, [panel for _, panel in panels], regressors, sd, half, len(obs))

    def impute(self, mdata: MuData, modality: str) -> Imputation:
        """Predict a modality of every cell from its other modalities.

        A cell without an input that the model can use gets the mean over training cells, and a warning says how many.

        Returns
        -------
        Imputation
            Mean, sd and interval on the recipe's scale (``model.tokenizer_.recipes_[modality]``).
        """
        tokens = self._tokens(mdata)
        if modality not in self.fits_:
            raise InputError(
                f"{type(self).__name__}.impute: cannot predict '{modality}'. "
                f"Fix: choose one of {', '.join(self.fits_)}."
            )
        mean, sd, half, blind = self._predict(tokens, modality)
        if blind:
            warnings.warn(
                f"{blind} cells have no modality that '{modality}' could be predicted from: they get its mean",
                OmicsfmWarning,
                stacklevel=2,
            )
        return Imputation.around(self.tokenizer_, mdata, modality, (mean, sd, half), level=self.level)

    def _predict(self, tokens: Tokens, target: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Mean, sd and half width (n_obs, n_vars), and how many cells got the mean for want of an input."""
        fits = self.fits_[target]
        shape = tokens.n_obs, len(fits[0].sd)
        mean, sd, half = np.empty(shape), np.empty(shape), np.empty(shape)
        blind = 0
        for block in blocks(tokens, n_rows=BLOCK_ROWS):
            fit = best_set(fits, block.without(target))
            blind += 0 if fit.pattern or len(fits) == 1 else len(block.obs)
            mean[block.obs] = fit.predict(self.views_(tokens, block.only(fit.pattern)))
            sd[block.obs], half[block.obs] = fit.sd, fit.half
        return mean, sd, half, blind

    def _compute(self, tokens: Tokens) -> np.ndarray:
        return np.hstack([self._predict(tokens, mod)[0] for mod in self.fits_])


def _mean_regressor(x_nd: np.ndarray, y_ng: Any, like: Any = None) -> Regressor:
    return Mean.fit(y_ng)


def _panels(y_ng: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Group features by the cells that have them: pairs of rows and columns; one group where there are too many."""
    n, n_vars = y_ng.shape
    everything = [(np.arange(n), np.arange(n_vars))]
    if sparse.issparse(y_ng):
        return everything
    seen = ~np.isnan(y_ng)
    if seen.all():
        return everything
    # np.unique(axis=1) would sort whole columns, seconds for a transcriptome.
    which, patterns = pd.factorize(np.array([column.tobytes() for column in np.packbits(seen, axis=0).T], dtype=object))
    if len(patterns) > MAX_PANELS:
        return everything
    panels = [np.flatnonzero(which == i) for i in range(len(patterns))]
    return [(np.flatnonzero(seen[:, panel[0]]), panel) for panel in panels]


def _mean_filled(y_ng: np.ndarray, otherwise_g: np.ndarray) -> np.ndarray:
    """Fill gaps with the mean of the feature; with another value where the feature was never measured."""
    seen = ~np.isnan(y_ng)
    if seen.all():
        return y_ng
    n_g = seen.sum(axis=0)
    mean_g = np.where(n_g > 0, np.where(seen, y_ng, 0).sum(axis=0) / np.maximum(n_g, 1), otherwise_g)
    return np.where(seen, y_ng, mean_g)
