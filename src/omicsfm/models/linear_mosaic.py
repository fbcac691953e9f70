"""LinearMosaic: the closed-form model of cells measured in any subset of modalities."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Self

import numpy as np
import pandas as pd
from mudata import MuData
from sklearn.utils.validation import check_is_fitted

from omicsfm import contract, hub
from omicsfm._errors import InputError, OmicsfmWarning
from omicsfm._progress import progress
from omicsfm.models._cells import Block, blocks, row_of
from omicsfm.models._crossfit import Features, fit_decoder
from omicsfm.models._decoder import Decoder
from omicsfm.models._extend import extend_latent, extend_tokenizer
from omicsfm.models._factor import Pattern
from omicsfm.models._labels import LabelHead
from omicsfm.models._latent import Latent
from omicsfm.models._protocols import Imputation
from omicsfm.models._state import CellState
from omicsfm.models._token_model import PROBE_ROWS, TokenModel
from omicsfm.pp import Tokens, vstack


@hub.saveable
class LinearMosaic(TokenModel):
    """Probabilistic multi-view factor model on tokens, for cells that may lack any modality.

    Tokens of each modality are aligned over batches within cell states, lifted by landmark features, and tied by
    factor analysis with missing views (EM on moments: cost linear in cells). New cells, in any subset of the
    modalities, are projected without refitting. Cells of one modality only take part in training. Labels, where
    ``ofm.setup`` was given a label key, train `annotate`; a cell whose label is NaN is unlabelled.

    Parameters
    ----------
    n_latent
        Largest number of shared factors; those on which the data say nothing are dropped.
    n_tokens
        Tokens per modality.
    n_landmarks
        Landmarks per modality; 0 keeps the model strictly linear. Modalities with few cells use fewer, or none.
    ridge
        Prior noise as a share of a modality's variance.
    level
        Nominal coverage of imputation intervals.
    seed
        Seed of everything random; same seed, same bits.

    Attributes
    ----------
    tokenizer_, latent_, state_, decoders_, labels_ : the fitted steps (`labels_` is None without labels).
    n_shared_ : number of shared factors kept.

    References
    ----------
    Bach & Jordan (2005), UC Berkeley TR 688 (probabilistic CCA); Rubin & Thayer (1982), Psychometrika 47:69 (EM for
    factor analysis); Williams & Seeger (2001), NIPS (landmarks); Korsunsky et al. (2019), Nat. Methods 16:1289 (batch).
    """

    _needs_two = False

    def __init__(
        self,
        n_latent: int = 30,
        *,
        n_tokens: int = 30,
        n_landmarks: int = 100,
        ridge: float = 0.1,
        level: float = 0.9,
        seed: int = 0,
    ) -> None:
        self.n_latent = n_latent
        self.n_tokens = n_tokens
        self.n_landmarks = n_landmarks
        self.ridge = ridge
        self.level = level
        self.seed = seed

    def _fit(self, mdata: MuData, tokens: Tokens) -> None:
        self.latent_ = Latent.fit(
            tokens, n_latent=self.n_latent, n_landmarks=self.n_landmarks, ridge=self.ridge, seed=self.seed
        )
        self.n_shared_ = self.latent_.factors.n_latent
        self.state_ = CellState.fit(self.latent_, tokens, self.tokenizer_.signal())
        self.decoders_: dict[str, Decoder] = {}
        if len(tokens.values) > 1:
            for mod in progress(sorted(tokens.values), desc="decoders"):
                self.decoders_[mod] = self._fit_decoder(tokens, mod, self._features(mdata, mod))
        self.labels_ = self._fit_labels(mdata, tokens)
        self.fit_metrics_ = {
            "n_obs": tokens.n_obs,
            "n_shared": self.n_shared_,
            "log_likelihood_per_cell": self.latent_.factors.log_likelihood[-1],
            "n_iter": len(self.latent_.factors.log_likelihood),
        }

    def embed(self, mdata: MuData, *, return_sd: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Give the cell state of any cells, seen or new, measured in any subset of the modalities.

        The state is the posterior mean of the shared factors. Where every training cell had a modality, its tokens
        (batch-aligned; predicted from the factors for a query cell that lacks it) follow, so that what is private to
        it is kept; the parts are scaled to comparable variance, weaker modalities less.

        Returns
        -------
        float64 array (n_obs, n_latent), rows as ``mdata.obs_names``; with `return_sd` also the posterior sd.
        """
        mean, sd = self._states(self._tokens(mdata))
        return (mean, sd) if return_sd else mean

    def impute(self, mdata: MuData, modality: str) -> Imputation:
        """Predict a modality of every cell from its other modalities.

        A cell that has no other modality gets the mean over cells with its full spread, and a warning says how many.

        Returns
        -------
        Imputation
            Mean, sd and interval on the recipe's scale (``model.tokenizer_.recipes_[modality]``).
        """
        check_is_fitted(self, "latent_")
        if modality not in self.decoders_:
            raise InputError(
                f"{type(self).__name__}.impute: cannot predict '{modality}'. Fix: choose one of "
                f"{', '.join(self.decoders_) or '(none: the model was fitted on one modality)'}."
            )
        tokens = self._tokens(mdata)
        decoder = self.decoders_[modality]
        n_vars = len(decoder.mean)
        mean, sd = np.zeros((tokens.n_obs, n_vars)), np.zeros((tokens.n_obs, n_vars))
        blind = 0
        for block in blocks(tokens, n_rows=2048):
            pattern = block.without(modality)
            blind += 0 if pattern else len(block.obs)
            mean[block.obs], sd[block.obs] = self._block_features(tokens, block, pattern, modality)
        if blind:
            warnings.warn(
                f"{blind} cells have no modality other than '{modality}': they get its mean and full spread",
                OmicsfmWarning,
                stacklevel=2,
            )
        parts = mean, sd, sd * decoder.quantile_g
        return Imputation.around(self.tokenizer_, mdata, modality, parts, level=self.level)

    def annotate(self, mdata: MuData, *, min_confidence: float = 0.5) -> pd.DataFrame:
        """Give labels with calibrated confidence.

        Parameters
        ----------
        min_confidence
            A cell below it is "unknown", as is one farther from its class than 99 % of the training cells.

        Returns
        -------
        DataFrame
            Index ``mdata.obs_names``; label, confidence (probability), unknown (bool), novelty (distance to the class
            in units of its limit).
        """
        check_is_fitted(self, "latent_")
        if self.labels_ is None:
            raise InputError(
                f"{type(self).__name__}.annotate: the model was fitted without labels. Fix: "
                "ofm.setup(mdata, label_key=...) before fit; cells without a label may be NaN."
            )
        out = self.labels_.predict(np.asarray(self.embed(mdata)), min_confidence=min_confidence)
        return out.set_axis(mdata.obs_names, axis=0)

    def add_modality(self, mdata: MuData, modality: str) -> Self:
        """Learn one more modality, from cells that have it and a known one; nothing fitted before is changed.

        Parameters
        ----------
        mdata
            Satisfies the contract; seen or new cells. Those that link the new modality to known ones teach it.
        modality
            Name of the new modality.

        Returns
        -------
        The model itself; states of cells without the new modality stay the same to the bit.

        Raises
        ------
        InputError
            For a modality that is known or not there, a model of one modality, or too few linking cells; the model is
            then as it was.
        """
        check_is_fitted(self, "latent_")
        contract.check(mdata).raise_for_errors()
        name = type(self).__name__
        if modality not in mdata.mod or modality in self.latent_.lift or not self.decoders_:
            found = "the model was fitted on one modality" if not self.decoders_ else f"found {', '.join(mdata.mod)}"
            raise InputError(
                f"{name}.add_modality: '{modality}' must be in the data and new to a model of "
                f"{', '.join(self.latent_.lift)}; {found}. Fix: name another modality, or fit a new model on all."
            )
        tokenizer = extend_tokenizer(self.tokenizer_, mdata, modality)
        tokens = tokenizer.transform(mdata)
        latent = extend_latent(
            self.latent_, tokens, modality, n_landmarks=self.n_landmarks, ridge=self.ridge, seed=self.seed
        )
        before = self.tokenizer_, self.latent_
        self.tokenizer_, self.latent_ = tokenizer, latent
        try:
            self.decoders_[modality] = self._fit_decoder(tokens, modality, self._features(mdata, modality))
        except BaseException:
            self.tokenizer_, self.latent_ = before
            raise
        self.probe_ = {**self.probe_, modality: tokens.values[modality][:PROBE_ROWS]}
        return self

    def _compute(self, tokens: Tokens) -> np.ndarray:
        return self._states(tokens)[0]

    def _states(self, tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
        """Mean and sd (n_obs, n_latent) of the state of every cell."""
        mean = np.zeros((tokens.n_obs, self.state_.n_out))
        sd = np.zeros_like(mean)
        for block in blocks(tokens):
            mean[block.obs], sd[block.obs] = self._block_state(tokens, block, block.pattern)
        return mean, sd

    def _block_state(self, tokens: Tokens, block: Block, pattern: Pattern) -> tuple[np.ndarray, np.ndarray]:
        """Mean and sd (n, n_latent) of the state of a block of cells, from their views in `pattern`."""
        return self.state_(self.latent_, tokens, block, pattern=pattern)

    def _block_features(
        self, tokens: Tokens, block: Block, pattern: Pattern, modality: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predictive mean and sd (n, n_vars) of a modality of a block of cells, from their views in `pattern`."""
        return self.decoders_[modality].predict(*self.latent_.posterior(tokens, block, pattern=pattern))

    def _fit_decoder(self, tokens: Tokens, mod: str, features: Features) -> Decoder:
        # Data that extend a fitted model may lack some of its modalities.
        latent = replace(self.latent_, factors=self.latent_.factors.only(tuple(tokens.values)))
        return fit_decoder(latent, tokens, mod, features, ridge=self.ridge, level=self.level, seed=self.seed)

    def _features(self, mdata: MuData, mod: str) -> Features:
        """Features of cells by position in obs; scaled once."""
        scaled = vstack([block for _, block in self.tokenizer_.scaled(mdata, mod)])
        row = row_of(contract.rows(mdata, mod), mdata.n_obs)
        return lambda obs: scaled[row[obs]]

    def _fit_labels(self, mdata: MuData, tokens: Tokens) -> LabelHead | None:
        """Train on every labelled cell as it is, and once with each of its modalities alone, as queries may be."""
        if contract.keys(mdata).label is None:
            return None
        label = contract.labels(mdata).to_numpy()
        known = np.flatnonzero(pd.notna(label))
        if len(known) == 0:
            return None
        z, y, cell = [], [], []
        for block in blocks(tokens, obs=known):
            for pattern in {block.pattern, *((m,) for m in block.pattern)}:
                z.append(self._block_state(tokens, block, pattern)[0])
                y.append(label[block.obs])
                cell.append(block.obs)
        return LabelHead.fit(np.vstack(z), np.concatenate(y), np.concatenate(cell), seed=self.seed)
