"""Mosaic: the closed-form model with a learned correction that held-out cells must bear out."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from mudata import MuData
from sklearn.utils.validation import check_is_fitted

from omicsfm import contract, hub
from omicsfm._errors import InputError
from omicsfm.models._cells import Block, blocks, row_of
from omicsfm.models._correction import (
    LIKELIHOODS,
    Correction,
    CountSource,
    Earned,
    Fitted,
    Mixing,
    Notes,
    Options,
    Problem,
    View,
    fit_correction,
    fit_mixing,
    gates,
    table,
    weight_of,
)
from omicsfm.models._factor import Pattern
from omicsfm.models._fine_tune import align_batches, anchors, recalibrate, token_loadings, with_empty
from omicsfm.models.linear_mosaic import LinearMosaic
from omicsfm.pp import Tokenizer, Tokens, dense_nan

PENALTIES = ("mmd", "adversary", "none")


@hub.saveable
class Mosaic(LinearMosaic):
    """Masked-token encoder on top of `LinearMosaic`: better where data allow, never worse.

    The closed form is fitted first. A network then reads each cell's modality tokens, with modality and batch
    embeddings and what the closed form makes of them, and corrects the posterior mean and spread of the shared
    factors and the predicted tokens of every modality. Its heads start at zero, so training starts exactly at the
    closed form. It is trained on cells of which some modalities are hidden, as often as the data leave cells without
    them: to reconstruct the hidden tokens, to reach the state that all modalities give, and to find a cell's other
    half among other cells. A second small network moves known batches onto each other.

    Nothing of this is applied unless cells that were held out of training say so: `gate_` holds the weight of each
    correction, 0 where it earned nothing (then the answer is that of `LinearMosaic`, to the bit), and `earned_` the
    comparisons behind them.

    Parameters
    ----------
    n_latent, n_tokens, n_landmarks, ridge, level, seed
        As in `LinearMosaic`.
    mixer
        How tokens are mixed: "attention", "mlp" or "ssm" (``omicsfm.nn.MIXERS``).
    d_model, n_layers, dropout
        Size of the encoder.
    max_epochs, batch_size, lr
        Of training, which stops early on held-out cells.
    contrast
        Weight of the cross-modal contrast; 0 leaves it out.
    batch_penalty
        What draws batches together: "mmd" (maximum mean discrepancy), "adversary" or "none".
    label_weight
        Weight of a label loss on labelled cells (semi-supervised); 0 leaves it out.
    likelihood
        Modality -> "nb", "poisson", "bernoulli" or "nb_mixture": also predict the raw counts of hidden modalities,
        through the loadings of their tokens.
    accelerator, devices, strategy, precision
        Given to Lightning. With the default accelerator a GPU is used where there is one.
    compile
        Compile the network with ``torch.compile``.

    Attributes
    ----------
    gate_ : weight of every correction: "rna->protein" (tokens of protein from RNA), "state", "batches".
    correction_, mixing_ : the trained networks, None where nothing was earned.
    tokenizer_, latent_, state_, decoders_, labels_, n_shared_ : as in `LinearMosaic`.

    References
    ----------
    He et al. (2024), Nat. Biotechnol. 42:1594 (mosaic data, modality dropout); van den Oord et al. (2018),
    arXiv:1807.03748 (contrast); Gretton et al. (2012), J. Mach. Learn. Res. 13:723 (MMD); Ganin et al. (2016), J. Mach.
    Learn. Res. 17:59 (adversary).
    """

    gate_: dict[str, float]
    correction_: Correction | None
    mixing_: Mixing | None
    earned_rows_: list[Earned]
    token_loadings_: dict[str, np.ndarray]
    anchors_: dict[str, tuple[np.ndarray, np.ndarray]]

    def __init__(
        self,
        n_latent: int = 30,
        *,
        n_tokens: int = 30,
        n_landmarks: int = 100,
        ridge: float = 0.1,
        level: float = 0.9,
        mixer: str = "attention",
        d_model: int = 64,
        n_layers: int = 2,
        dropout: float = 0.2,
        max_epochs: int = 100,
        batch_size: int = 128,
        lr: float = 3e-4,
        contrast: float = 1.0,
        batch_penalty: str = "mmd",
        label_weight: float = 0.0,
        likelihood: dict[str, str] | None = None,
        accelerator: str = "auto",
        devices: int | str = 1,
        strategy: str = "auto",
        precision: str = "32-true",
        compile: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(n_latent, n_tokens=n_tokens, n_landmarks=n_landmarks, ridge=ridge, level=level, seed=seed)
        self.mixer = mixer
        self.d_model = d_model
        self.n_layers = n_layers
        self.dropout = dropout
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.contrast = contrast
        self.batch_penalty = batch_penalty
        self.label_weight = label_weight
        self.likelihood = likelihood
        self.accelerator = accelerator
        self.devices = devices
        self.strategy = strategy
        self.precision = precision
        self.compile = compile

    def fit(
        self,
        mdata: MuData,
        *,
        tokenizer: Tokenizer | None = None,
        tokens: Tokens | None = None,
        checkpoint: str | Path | None = None,
    ) -> Self:
        """Learn from raw counts.

        Parameters
        ----------
        mdata, tokenizer, tokens
            As in `LinearMosaic`.
        checkpoint
            Folder in which training is noted down after every epoch; called again with the same data and parameters
            after being killed, `fit` goes on from there. Emptied of these files when training is done.

        Raises
        ------
        InputError
            For a MuData that breaks the contract, parameters out of range, or a checkpoint of another run.

        Warns
        -----
        OmicsfmWarning
            Where a loss was not finite: which, in which batches; the last good state is kept.
        """
        self._check_parameters(mdata)
        self._checkpoint = None if checkpoint is None else Path(checkpoint)
        try:
            return super().fit(mdata, tokenizer=tokenizer, tokens=tokens)
        finally:
            del self._checkpoint

    def fine_tune(self, mdata: MuData, *, max_epochs: int | None = None) -> Self:
        """Adapt to new cells, where mapping them as they are is not enough; nothing closed-form is refitted.

        New batches get offsets against the reference within each state; the correction is trained on from where it is,
        and weighed on new cells that were held out; intervals take the width that the new cells ask for. The label head
        stays. Cells of the batches of training are answered by the changed correction from then on.

        Parameters
        ----------
        mdata
            New cells, of modalities and features that the model knows; raw counts. Those measured in several modalities
            teach the correction (at least 60) and the intervals (at least 40).
        max_epochs
            Of training; None: as in fit.

        Returns
        -------
        The model itself; `gate_` and `earned_` are those of the new cells.

        Raises
        ------
        InputError
            For data that the model cannot read; it is then as it was.
        """
        tokens = self._tokens(mdata)
        latent = replace(self.latent_, aligner=align_batches(self.latent_.aligner, tokens, self.anchors_))
        before = self.latent_
        self.latent_ = latent
        try:
            fitted = self._train_on(tokens, max_epochs or self.max_epochs)
            gate, loadings = dict(self.gate_), dict(self.token_loadings_)
            gate |= gates(fitted.earned)
            decoders = dict(self.decoders_)
            for mod in set(tokens.values) & set(decoders):
                features = self._features(mdata, mod)
                step = None
                if mod in fitted.out_of_fold and any(w for key, w in gate.items() if key.endswith(f"->{mod}")):
                    loadings.setdefault(mod, token_loadings(self.latent_, tokens, mod, features))
                    cells, correction = fitted.out_of_fold[mod]
                    weight = self._weights(tokens, cells, mod, gate)
                    step = cells, (weight[:, None] * correction) @ loadings[mod].T
                decoders[mod] = recalibrate(decoders[mod], latent, tokens, mod, features, step, level=self.level)
        except BaseException:
            self.latent_ = before
            raise
        self.gate_, self.token_loadings_, self.decoders_ = gate, loadings, decoders
        self.correction_ = fitted.correction or self.correction_
        self.earned_rows_ = fitted.earned
        return self

    def _train_on(self, tokens: Tokens, max_epochs: int) -> Fitted:
        """Train the correction on from where it is, on cells that the closed form never saw."""
        start = self.correction_
        if start is not None:
            if not set(tokens.values) <= set(start.frame.mods):  # a modality that was added later
                return Fitted(None, [], {})
            start = start.with_batches([str(b) for b in np.unique(tokens.batch)])
            tokens = with_empty(tokens, {m: len(x) for m, x in start.frame.centre.items()})
        if len(tokens.values) < 2:
            return Fitted(None, [], {})
        options = replace(self._options(), max_epochs=max_epochs, label_weight=0.0)
        label = np.full(tokens.n_obs, -1, dtype=np.int64)
        problem = self._problem(tokens, label=label, counts={}, options=options, start=start, frozen=True)
        return fit_correction(problem)

    @property
    def earned_(self) -> pd.DataFrame:
        """What each correction earned on held-out cells, and the weight it got; a row per comparison."""
        check_is_fitted(self, "earned_rows_")
        return table(self.earned_rows_)

    def _fit(self, mdata: MuData, tokens: Tokens) -> None:
        self.gate_, self.correction_, self.mixing_, self.earned_rows_ = {}, None, None, []
        super()._fit(mdata, tokens)
        self.anchors_ = anchors(self.latent_.aligner, tokens)
        self.token_loadings_ = {}
        if len(tokens.values) > 1:
            self._fit_correction(mdata, tokens)
        if self.batch_penalty != "none":
            self._fit_mixing(tokens)
        if any(self.gate_.values()):
            self.labels_ = self._fit_labels(mdata, tokens)

    def _fit_correction(self, mdata: MuData, tokens: Tokens) -> None:
        label = np.full(tokens.n_obs, -1, dtype=np.int64)
        if self.label_weight and contract.keys(mdata).label is not None:
            label = pd.factorize(contract.labels(mdata), sort=True)[0].astype(np.int64)
        kinds = (self.likelihood or {}).items()
        counts = {mod: CountSource.of(self.tokenizer_, mdata, mod, kind) for mod, kind in kinds}
        problem = self._problem(tokens, label=label, counts=counts)
        notes = None if self._checkpoint is None else Notes.open(self._checkpoint, self._identity(mdata, tokens, label))
        fitted = fit_correction(problem, notes=notes)
        self.correction_ = fitted.correction
        self.earned_rows_ += fitted.earned
        self.gate_ |= gates(fitted.earned)
        for mod, (obs, correction) in fitted.out_of_fold.items():
            if any(weight for key, weight in self.gate_.items() if key.endswith(f"->{mod}")):
                self._recalibrate(mdata, tokens, mod, obs, correction)
        if notes is not None:
            notes.close()

    def _identity(self, mdata: MuData, tokens: Tokens, label: np.ndarray) -> dict[str, Any]:
        """Give what tells one training from another: parameters, data, and what is read of them."""
        seen = hashlib.sha256(label.tobytes())
        for part in (*(tokens.values[m] for m in sorted(tokens.values)), tokens.batch):
            seen.update(np.ascontiguousarray(part).tobytes())
        return {"data": contract.fingerprint(mdata), "read": seen.hexdigest(), **self.get_params()}

    def _recalibrate(self, mdata: MuData, tokens: Tokens, mod: str, cells: np.ndarray, correction: np.ndarray) -> None:
        """Refit a modality's decoder to what the correction of held-out cells leaves, so that intervals stay honest."""
        features = self._features(mdata, mod)
        self.token_loadings_[mod] = token_loadings(self.latent_, tokens, mod, features)
        row = row_of(cells, tokens.n_obs)
        step_ng = (self._weights(tokens, cells, mod, self.gate_)[:, None] * correction) @ self.token_loadings_[mod].T

        def remainder(obs: np.ndarray) -> np.ndarray:
            x_ng = np.array(dense_nan(features(obs), None), dtype=np.float64)
            known = row[obs] >= 0
            x_ng[known] -= step_ng[row[obs[known]]]
            return x_ng

        self.decoders_[mod] = self._fit_decoder(tokens, mod, remainder)

    def _problem(self, tokens: Tokens, **parts: Any) -> Problem:
        return Problem(
            latent=self.latent_,
            tokens=tokens,
            scale=lambda pattern: self.state_._scale(self.latent_, pattern),
            ridge=self.ridge,
            **{"options": self._options(), **parts},
        )

    def _fit_mixing(self, tokens: Tokens) -> None:
        aligner = self.latent_.aligner
        if not aligner.batches:
            return
        # A cell read from one modality lies closer to the middle than one read from two: batches are compared view by
        # view, each as cells of the data are met in.
        met = {block.pattern for block in blocks(tokens) if block.pattern}
        views: dict[Pattern, list[View]] = {}
        for block in blocks(tokens):
            for pattern in sorted(p for p in met if set(p) <= set(block.pattern)):
                state, batch = self._block_state(tokens, block, pattern)[0], tokens.batch[block.obs]
                view = View(pattern, block.obs, state, batch, aligner.states(tokens, block))
                views.setdefault(pattern, []).append(view)
        merged = [View.stacked(parts) for parts in views.values()]
        self.mixing_, row = fit_mixing(merged, options=self._options())
        if row is not None:
            self.earned_rows_.append(row)
            self.gate_["batches"] = row.weight

    def _weights(self, tokens: Tokens, cells: np.ndarray, mod: str, gate: dict[str, float]) -> np.ndarray:
        """Give the weight (n,) of the correction of `mod` for cells that are read from all else they have."""
        weight = np.zeros(tokens.n_obs)
        for block in blocks(tokens, obs=cells):
            weight[block.obs] = weight_of(gate, block.without(mod), mod)
        return weight[cells]

    def _block_state(self, tokens: Tokens, block: Block, pattern: Pattern) -> tuple[np.ndarray, np.ndarray]:
        mean, sd = super()._block_state(tokens, block, pattern)
        weight = self.gate_.get("state", 0.0)
        if weight and self.correction_ is not None and self.correction_.knows(pattern):
            shift, log_sd, _ = self.correction_(self.latent_, tokens, block, pattern)
            k = self.n_shared_
            mean[:, :k] += weight * shift * self.state_._scale(self.latent_, pattern)
            sd[:, :k] *= np.exp(weight * log_sd)
        if self.mixing_ is not None and pattern:
            mean += self.gate_["batches"] * self.mixing_(mean, tokens.batch[block.obs])
        return mean, sd

    def _block_features(
        self, tokens: Tokens, block: Block, pattern: Pattern, modality: str
    ) -> tuple[np.ndarray, np.ndarray]:
        mean, sd = super()._block_features(tokens, block, pattern, modality)
        weight = weight_of(self.gate_, pattern, modality)
        if weight and self.correction_ is not None and self.correction_.knows(pattern):
            step = self.correction_(self.latent_, tokens, block, pattern)[2][modality]
            mean += weight * step @ self.token_loadings_[modality].T
        return mean, sd

    def _options(self) -> Options:
        return Options(**{name: getattr(self, name) for name in Options.__dataclass_fields__})

    def _check_parameters(self, mdata: MuData) -> None:
        from omicsfm.nn import MIXERS

        for name, allowed in (("mixer", tuple(MIXERS)), ("batch_penalty", PENALTIES)):
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"Mosaic.fit: {name}={getattr(self, name)!r} is unknown. Fix: choose one of {', '.join(allowed)}."
                )
        least = {"d_model": 1, "batch_size": 1, "n_layers": 0, "max_epochs": 0, "contrast": 0, "label_weight": 0}
        wrong = [name for name, low in least.items() if getattr(self, name) < low]
        wrong += [] if self.lr > 0 else ["lr"]
        wrong += [] if 0 <= self.dropout < 1 else ["dropout"]
        if wrong:
            found = ", ".join(f"{name}={getattr(self, name)!r}" for name in wrong)
            raise InputError(f"Mosaic.fit: out of range: {found}. Fix: see help(Mosaic), or leave the defaults.")
        for mod, kind in (self.likelihood or {}).items():
            counted = isinstance(mdata, MuData) and mod in mdata.mod
            counted = counted and contract.recipe_of(mdata, mod) not in ("continuous", "methylation")
            if not counted or kind not in LIKELIHOODS:
                raise InputError(
                    f"Mosaic.fit: likelihood={{{mod!r}: {kind!r}}} does not fit the data. Fix: name a modality of "
                    f"counts, and one of {', '.join(LIKELIHOODS)}."
                )
