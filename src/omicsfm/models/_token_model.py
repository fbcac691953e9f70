"""What every model on tokens shares: training checks, tokens, saving."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from mudata import MuData
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from omicsfm import contract, hub
from omicsfm._errors import InputError
from omicsfm.models._checks import check_query, check_training
from omicsfm.pp import Tokenizer, Tokens

PROBE_ROWS = 8


class TokenModel(BaseEstimator):
    """An estimator on tokens. A subclass says what to learn (`_fit`) and what to compute (`_compute`)."""

    _joint = True  # ties modalities together, so that some cells must link them
    _needs_two = True  # means nothing for one modality
    n_tokens: int
    seed: int

    def fit(self, mdata: MuData, *, tokenizer: Tokenizer | None = None, tokens: Tokens | None = None) -> Self:
        """Learn from raw counts.

        Parameters
        ----------
        mdata
            Satisfies the contract.
        tokenizer, tokens
            A fitted tokenizer, and its tokens of exactly these cells, to save making them again; else made here.

        Raises
        ------
        InputError
            For a MuData that breaks the contract, or holds too little for this model; the message says what.
        """
        name = type(self).__name__
        if self._needs_two and isinstance(mdata, MuData) and len(mdata.mod) == 1:
            raise InputError(
                f"{name}.fit: at least two modalities are needed, found one ('{next(iter(mdata.mod))}'). "
                "Fix: use ModalityPCA to embed a single modality; nothing can be imputed from it."
            )
        check_training(mdata, joint=self._joint)
        if tokens is not None and tokenizer is None:
            raise InputError(f"{name}.fit: tokens came without their tokenizer. Fix: pass tokenizer= as well.")
        self.tokenizer_ = tokenizer or Tokenizer(self.n_tokens, seed=self.seed).fit(mdata)
        tokens = tokens or self.tokenizer_.transform(mdata)
        if not tokens.obs_names.equals(mdata.obs_names):
            raise InputError(
                f"{name}.fit: the tokens are not those of these cells in this order. Fix: pass "
                "tokenizer.transform(mdata) of the same mdata, or leave tokens out."
            )
        self._fit(mdata, tokens)
        self.training_data_ = contract.fingerprint(mdata)
        self.probe_ = {m: x[:PROBE_ROWS] for m, x in tokens.values.items()}
        return self

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the fitted model to a folder that ``ofm.load`` reads; no pickle, checked on load."""
        check_is_fitted(self, "training_data_")
        return hub.save(
            self,
            path,
            overwrite=overwrite,
            extra={
                "training_data": self.training_data_,
                "features": self.tokenizer_.var_names_,
                "seed": self.seed,
                "metrics": getattr(self, "fit_metrics_", {}),
            },
            probe=(self.probe_, self._probe_output(self.probe_)),
        )

    def _fit(self, mdata: MuData, tokens: Tokens) -> None:
        raise NotImplementedError

    def _compute(self, tokens: Tokens) -> np.ndarray:
        """Give what the model makes of cells as one array (n_obs, ...): the probe compares it on load."""
        raise NotImplementedError

    def _tokens(self, mdata: MuData) -> Tokens:
        check_is_fitted(self, "training_data_")
        return self.tokenizer_.transform(check_query(mdata, self.tokenizer_))

    def _probe_output(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        n = {m: len(x) for m, x in inputs.items()}
        tokens = Tokens(
            values=inputs,
            rows={m: np.arange(k) for m, k in n.items()},
            obs_names=pd.RangeIndex(max(n.values())),
            batch=np.full(max(n.values()), ""),
        )
        return self._compute(tokens)
