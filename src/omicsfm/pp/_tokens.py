"""Tokens: some thirty numbers per cell and modality, which is all that the models see of a matrix."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from omicsfm import contract, hub, io
from omicsfm._errors import InputError, OmicsfmWarning
from omicsfm._progress import progress
from omicsfm.pp._features import BatchMoments
from omicsfm.pp._masked import MaskedSVD
from omicsfm.pp._recipes import RECIPES, Matrix, Recipe
from omicsfm.pp._svd import SparseSVD, dense_nan

STREAM_PASSES = 6  # over a backed matrix: one that merges blocks, five that refine
MIN_OVERLAP = 0.1  # below this share of a modality's token features, a query is not the same assay


@dataclass(frozen=True)
class Tokens:
    """Tokens of the cells of one MuData.

    Attributes
    ----------
    values : modality -> float array (n_obs of the modality, n_tokens).
    rows : modality -> int64 array (n_obs of the modality,), positions of those rows in `obs_names`.
    obs_names : Index (n_obs,) of all cells.
    batch : str array (n_obs,).
    """

    values: dict[str, np.ndarray]
    rows: dict[str, np.ndarray]
    obs_names: pd.Index
    batch: np.ndarray

    @property
    def n_obs(self) -> int:
        """Number of cells, measured in whichever modalities."""
        return len(self.obs_names)

    def table(self, mod: str) -> np.ndarray:
        """Give the tokens of a modality for all cells, (n_obs, n_tokens), NaN where it was not measured.

        Raises
        ------
        KeyError
            If none of the cells was measured in it.
        """
        out = np.full((self.n_obs, self.values[mod].shape[1]), np.nan)
        out[self.rows[mod]] = self.values[mod]
        return out


@hub.saveable
class Tokenizer(BaseEstimator):
    """Raw modalities to tokens: recipe, feature selection within batches, sparse randomised SVD.

    Parameters
    ----------
    n_components
        Tokens per cell and modality.
    seed
        Seed of the randomised SVD.

    Attributes
    ----------
    var_names_, recipes_, features_, svd_ : per modality, the features it was fitted on, the fitted recipe, the
        positions of the features that make tokens, and the fitted projection.
    """

    def __init__(self, n_components: int = 30, *, seed: int = 0) -> None:
        self.n_components = n_components
        self.seed = seed

    def fit(self, mdata: MuData) -> Tokenizer:
        """Learn recipes, features and projections from a MuData that satisfies the contract."""
        contract.check(mdata).raise_for_errors()
        self.batch_key_ = contract.keys(mdata).batch
        batch = self._batch(mdata)
        self.var_names_: dict[str, list[str]] = {}
        self.recipes_: dict[str, Recipe] = {}
        self.features_: dict[str, np.ndarray] = {}
        self.svd_: dict[str, SparseSVD | MaskedSVD] = {}
        for mod in progress(list(mdata.mod), desc="tokens"):
            self._fit_modality(mdata, mod, batch[contract.rows(mdata, mod)])
        return self

    def _fit_modality(self, mdata: MuData, mod: str, batch: np.ndarray) -> None:
        recipe = RECIPES[contract.recipe_of(mdata, mod)]()
        self.var_names_[mod] = [str(v) for v in mdata.mod[mod].var_names]
        for _, block, measured in self.aligned(mdata, mod):
            recipe.update(block, measured)
        recipe.finish()
        self.recipes_[mod] = recipe
        moments = BatchMoments()
        for span, block, measured in self.aligned(mdata, mod):
            moments.update(recipe.scale(block, measured), batch[span])
        chosen = moments.select(recipe.max_features)
        if len(chosen) == 0:
            raise InputError(
                f"Tokenizer.fit: every feature of modality '{mod}' is constant. Fix: drop the modality, or check that "
                "its X holds the measurements."
            )
        self.features_[mod] = chosen
        adata = mdata.mod[mod]
        n_components = max(1, min(self.n_components, adata.n_obs - 1, len(chosen) - 1))

        def blocks() -> Iterator[Matrix]:
            for _, block, measured in self.aligned(mdata, mod):
                yield recipe.scale(block, measured)[:, chosen]

        if moments.n_seen()[chosen].min() < adata.n_obs:
            self.svd_[mod] = MaskedSVD(n_components).fit(np.vstack([dense_nan(x, None) for x in blocks()]))
        elif adata.isbacked:  # larger than memory, or meant to be treated so: blocks are read again for every pass
            self.svd_[mod] = SparseSVD(n_components, seed=self.seed).fit_blocks(blocks, n_passes=STREAM_PASSES)
        else:
            self.svd_[mod] = SparseSVD(n_components, seed=self.seed).fit(vstack(list(blocks())))

    def transform(self, mdata: MuData) -> Tokens:
        """Project cells, seen or new, with nothing refitted.

        Features are matched by name; those the query lacks count as not measured. Modalities the tokenizer does not
        know are left out with a warning.

        Raises
        ------
        InputError
            If it is no MuData, no modality is known, or a known one shares less than a tenth of its features with the
            training data.
        """
        check_is_fitted(self, "svd_")
        if not isinstance(mdata, MuData):
            contract.check(mdata).raise_for_errors("Tokenizer.transform")
        unknown = [mod for mod in mdata.mod if mod not in self.svd_]
        known = [mod for mod in mdata.mod if mod in self.svd_]
        if not known:
            raise InputError(
                f"Tokenizer.transform: fitted on {', '.join(self.svd_)}; found only {', '.join(unknown) or 'nothing'}. "
                "Fix: name the query's modalities as in training."
            )
        if unknown:
            warnings.warn(
                f"modalities the model was not fitted on are left out: {', '.join(unknown)}",
                OmicsfmWarning,
                stacklevel=2,
            )
        values = {}
        for mod in known:
            chosen = self.features_[mod]
            parts = [np.zeros((0, len(self.svd_[mod].components_)))]
            for _, block, measured in self.aligned(mdata, mod):
                x_ng = self.recipes_[mod].scale(block, measured)[:, chosen]
                parts.append(_project(self.svd_[mod], x_ng, None if measured is None else measured[:, chosen]))
            values[mod] = np.vstack(parts).astype(np.float32)
        return Tokens(
            values=values,
            rows={mod: contract.rows(mdata, mod) for mod in known},
            obs_names=mdata.obs_names,
            batch=self._batch(mdata),
        )

    def _batch(self, mdata: MuData) -> np.ndarray:
        # A query needs no setup(): the key that training used is read where the column is there.
        if self.batch_key_ is None or self.batch_key_ not in mdata.obs.columns:
            return np.full(mdata.n_obs, "")  # no batch of training is named so: its offset is none
        return mdata.obs[self.batch_key_].astype(str).to_numpy().astype(str)

    def recipe_names(self) -> dict[str, str]:
        """Name of the recipe of each modality, as in ``ofm.setup(modalities=...)``."""
        name = {kind: key for key, kind in RECIPES.items()}
        return {mod: name[type(recipe)] for mod, recipe in self.recipes_.items()}

    def signal(self) -> dict[str, float]:
        """Share of each modality's token variance above the noise floor, which the last token stands for."""
        return {
            mod: float(np.clip(1 - svd.variance_[-1] * len(svd.variance_) / svd.variance_.sum(), 0.01, 1))
            for mod, svd in self.svd_.items()
        }

    def scaled(self, mdata: MuData, mod: str) -> Iterator[tuple[slice, Matrix]]:
        """Give row blocks of a modality on the recipe's scale, over the training features (NaN: not measured)."""
        for span, block, measured in self.aligned(mdata, mod):
            yield span, self.recipes_[mod].scale(block, measured)

    def table(self, mdata: MuData, mod: str) -> pd.DataFrame:
        """Give :meth:`scaled` whole: cells of `mdata` x training features, NaN where nothing was measured."""
        out_ng = np.full((mdata.n_obs, len(self.var_names_[mod])), np.nan)
        rows = contract.rows(mdata, mod)
        for span, block in self.scaled(mdata, mod):
            out_ng[rows[span]] = dense_nan(block, None)
        return pd.DataFrame(out_ng, index=mdata.obs_names, columns=self.var_names_[mod])

    def aligned(self, mdata: MuData, mod: str) -> Iterator[tuple[slice, Any, np.ndarray | None]]:
        """Give row blocks of raw values over the training features, each with who measured what (None: all)."""
        adata = mdata.mod[mod]
        measured = contract.measured(mdata, mod)
        position = pd.Index(adata.var_names).get_indexer(pd.Index(self.var_names_[mod]))
        absent = position < 0
        chosen = self.features_.get(mod)
        overlap = float((~absent if chosen is None else ~absent[chosen]).mean())
        if overlap < MIN_OVERLAP:
            raise InputError(
                f"modality '{mod}': only {overlap:.0%} of the features the model uses are in the query "
                f"(for example {self.var_names_[mod][0]!r} against {str(adata.var_names[0])!r}). "
                "Fix: use the same kind of feature names (organism, symbols or Ensembl ids) as in training."
            )
        same = bool((position == np.arange(adata.n_vars)).all()) if len(position) == adata.n_vars else False
        start = 0
        for block in io.raw_blocks(adata.X):
            span = slice(start, start + block.shape[0])
            start = span.stop
            seen = None if measured is None else measured[span]
            if not same:
                block = block[:, np.where(absent, 0, position)]
                if absent.any():
                    seen = np.ones(block.shape, dtype=bool) if seen is None else seen[:, np.where(absent, 0, position)]
                    seen[:, absent] = False
                elif seen is not None:
                    seen = seen[:, position]
            yield span, block, seen


def vstack(parts: list[Matrix]) -> Matrix:
    """Stack row blocks; dense where one of them is (a block of cells with a panel holds NaN)."""
    if all(sparse.issparse(part) for part in parts):
        return sparse.vstack(parts).tocsr()
    return np.vstack([dense_nan(part, None) if sparse.issparse(part) else part for part in parts])


def _project(svd: SparseSVD | MaskedSVD, x_ng: Matrix, measured_ng: np.ndarray | None) -> np.ndarray:
    if isinstance(svd, MaskedSVD):
        return svd.transform(dense_nan(x_ng, measured_ng))
    whole = np.ones(x_ng.shape[0], dtype=bool) if measured_ng is None else measured_ng.all(axis=1)
    if whole.all():
        return svd.transform(x_ng)
    # A query without some features is projected as a panel: least squares on those it has, shrunk by the spectrum.
    panel = MaskedSVD()
    panel.components_, panel.mean_, panel.variance_ = svd.components_, svd.mean_, svd.variance_
    panel.noise_ = float(svd.variance_[-1])
    out = np.empty((x_ng.shape[0], len(svd.components_)))
    # Cell by cell, so that a whole cell does not depend on which others stand in its block.
    out[whole] = svd.transform(x_ng[whole])
    out[~whole] = panel.transform(dense_nan(x_ng[~whole], None if measured_ng is None else measured_ng[~whole]))
    return out
