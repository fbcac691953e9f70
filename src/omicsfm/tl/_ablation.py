"""Models without one modality, and what they say of held-out cells: values per cell, NaN where none was asked."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from mudata import MuData
from scipy import sparse
from sklearn.base import clone

from omicsfm import contract, metrics
from omicsfm.models._stack_data import mask_of
from omicsfm.models._stack_judge import lenient
from omicsfm.pp import Tokenizer, dense_nan
from omicsfm.tasks._splits import donors

K = 15
MIN_PAIRED = 30  # cells that must be left to learn from
MAX_VALUES = 20_000_000  # held-out cells x features of an imputation

Mods = tuple[str, ...]


@dataclass(frozen=True)
class Folds:
    """How cells are held out.

    Attributes
    ----------
    fold : (n_obs,) number of the fold in which a cell is held out, -1 for those that always train.
    unit : (n_obs,) what is resampled; None: single cells.
    name : "donor", "batch" or "cell".
    """

    fold: np.ndarray
    unit: np.ndarray | None
    name: str


def make_folds(mdata: MuData, *, n_splits: int, seed: int) -> Folds:
    """Hold out whole donors (else batches) where two or more have cells with several modalities; else paired cells."""
    rng = np.random.default_rng(seed)
    has = mask_of(mdata)
    paired = np.sum(list(has.values()), axis=0) > 1
    unit = donors(mdata)
    names = rng.permutation(np.unique(unit[paired]))
    if len(names) > 1:
        group = {str(name): i % n_splits for i, name in enumerate(names)}
        fold = np.array([group.get(u, -1) for u in unit])
        left = [[(cells & paired & (fold != i)).sum() for cells in has.values()] for i in np.unique(fold[fold >= 0])]
        if np.min(left) >= MIN_PAIRED:
            return Folds(fold, unit, "batch" if contract.keys(mdata).donor is None else "donor")
    fold = np.full(mdata.n_obs, -1)
    cells = rng.permutation(np.flatnonzero(paired))
    fold[cells] = np.arange(len(cells)) % n_splits
    return Folds(fold, None, "cell")


class Fold:
    """One held-out part: models fitted on the rest, on any set of modalities, each once.

    Parameters
    ----------
    mdata
        All cells.
    held
        bool (n_obs,): the held-out ones.
    make
        Makes the model.
    seed
        Seed of the tokens and of what is drawn.
    """

    def __init__(self, mdata: MuData, held: np.ndarray, make: Callable[[], Any], *, seed: int) -> None:
        self.mdata, self.held, self.make, self.seed = mdata, held, make, seed
        self.has = mask_of(mdata)
        train = contract.select(mdata, {m: cells & ~held for m, cells in self.has.items()})
        self.tokenizer = Tokenizer(getattr(make(), "n_tokens", 30), seed=seed).fit(train)
        self.train = train
        self._fits: dict[Mods, Any] = {}
        self._accuracy: dict[Mods, np.ndarray] = {}
        self._skill: dict[tuple[Mods, str], np.ndarray] = {}

    def fit(self, mods: Mods) -> Any:
        """Fit the model to what training cells have of some modalities, as if nothing else had been measured."""
        if mods not in self._fits:
            hidden = np.ones(self.mdata.n_obs, dtype=bool)  # no label: they are what states are judged by
            part = contract.select(self.mdata, {m: self.has[m] & ~self.held for m in mods}, unlabelled=hidden)
            model = self.make()
            given = {}
            if {"tokenizer", "tokens"} <= set(inspect.signature(model.fit).parameters):
                tokenizer = self._tokenizer(mods)
                given = {"tokenizer": tokenizer, "tokens": tokenizer.transform(part)}
            with lenient():
                self._fits[mods] = model.fit(part, **given)
        return self._fits[mods]

    def accuracy(self, mods: Mods) -> np.ndarray:
        """Tell whether a held-out cell's nearest labelled training cells have its label; cells seen in `mods` alone."""
        if mods not in self._accuracy:
            out = np.full(self.mdata.n_obs, np.nan)
            label = contract.labels(self.mdata).to_numpy()
            known = contract.labels(self.mdata).notna().to_numpy()
            z, cells = self._states(mods, known & ~self.held)
            asked, query = self._states(mods, known & self.held)
            out[query] = metrics.label_transfer_accuracy(
                z, label[cells].astype(str), asked, truth=label[query].astype(str), k=min(K, len(cells))
            )
            self._accuracy[mods] = out
        return self._accuracy[mods]

    def skill(self, mods: Mods, target: str) -> np.ndarray:
        """Give the share of variance explained, per cell, by `mods` other than the target.

        Taken over the features that make tokens. A cell that has no other of the modalities is predicted by the mean of
        the training cells.
        """
        if (mods, target) not in self._skill:
            out = np.full(self.mdata.n_obs, np.nan)
            cells, truth, mean, sd = self._truth(target)
            predicted = np.broadcast_to(mean, truth.shape).copy()
            other = {m: self.has[m] & self.held & np.isin(np.arange(len(out)), cells) for m in mods if m != target}
            if any(x.any() for x in other.values()):
                query = contract.select(self.mdata, other)
                with lenient():
                    found = self.fit(mods).impute(query, target).mean.to_numpy()
                row = np.searchsorted(cells, self.mdata.obs_names.get_indexer(query.obs_names))
                predicted[row] = found[:, self.tokenizer.features_[target]]
            error = ((truth - predicted) / sd) ** 2
            seen = ~np.isnan(error)
            count = seen.sum(axis=1)
            share = 1 - np.where(seen, error, 0.0).sum(axis=1) / np.maximum(count, 1)
            out[cells] = np.where(count > 0, share, np.nan)
            self._skill[mods, target] = out
        return self._skill[mods, target]

    def matching(self, mods: Mods, pair: tuple[str, str]) -> np.ndarray:
        """Give the share of other held-out cells that are farther from one half of a cell than its other half is."""
        both = self.held & self.has[pair[0]] & self.has[pair[1]]
        out = np.full(self.mdata.n_obs, np.nan)
        if both.sum() > 1:
            model = self.fit(mods)
            with lenient():
                halves = [np.asarray(model.embed(contract.select(self.mdata, {m: both}))) for m in pair]
            out[both] = 1 - metrics.foscttm(*halves)
        return out

    def _states(self, mods: Mods, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        part = contract.select(self.mdata, {m: self.has[m] & cells for m in mods})
        with lenient():
            z = np.asarray(self.fit(mods).embed(part))
        return z, self.mdata.obs_names.get_indexer(part.obs_names)

    def _truth(self, target: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Held-out cells (sorted) with the target measured, their values, the mean of training cells, and the sd."""
        chosen = self.tokenizer.features_[target]
        with_others = np.sum(list(self.has.values()), axis=0) > 1
        cells = np.flatnonzero(self.held & self.has[target] & with_others)
        n = max(200, MAX_VALUES // len(self.tokenizer.var_names_[target]))
        cells = np.sort(np.random.default_rng(self.seed).permutation(cells)[:n])
        # The sd over all cells: over training cells alone rare features would count for more than they vary.
        mean, sd = self._moments(self.train, target)[0], self._moments(self.mdata, target)[1]
        source = contract.select(self.mdata, {target: np.isin(np.arange(self.mdata.n_obs), cells)})
        x = np.vstack([dense_nan(b[:, chosen], None) for _, b in self.tokenizer.scaled(source, target)])
        return cells, x[source.mod[target].obs_names.get_indexer(source.obs_names)], mean, sd

    def _moments(self, mdata: MuData, target: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean and sd of the target's token features over the cells that have them."""
        chosen = self.tokenizer.features_[target]
        total, square, count = (np.zeros(len(chosen)) for _ in range(3))
        for _, block in self.tokenizer.scaled(mdata, target):
            x = block[:, chosen]
            if sparse.issparse(x):
                total, square = total + x.sum(axis=0), square + x.multiply(x).sum(axis=0)
                count += x.shape[0]
            else:
                total, square = total + np.nansum(x, axis=0), square + np.nansum(x**2, axis=0)
                count += (~np.isnan(x)).sum(axis=0)
        mean = np.ravel(total) / np.maximum(count, 1)
        return mean, np.sqrt(np.maximum(np.ravel(square) / np.maximum(count, 1) - mean**2, 1e-12))

    def _tokenizer(self, mods: Mods) -> Tokenizer:
        """Part of the tokenizer: its modalities know nothing of one another."""
        part = clone(self.tokenizer)
        part.batch_key_ = self.tokenizer.batch_key_
        for name in ("var_names_", "recipes_", "features_", "svd_"):
            setattr(part, name, {m: getattr(self.tokenizer, name)[m] for m in mods})
        return part
