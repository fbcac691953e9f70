"""What the adapters of scvi-tools share: counts read by name, the peer's network kept as arrays, states of any cell."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from mudata import MuData
from scipy import sparse
from sklearn.utils.validation import check_is_fitted

from omicsfm._errors import InputError, OmicsfmWarning
from omicsfm.models._checks import check_query
from omicsfm.models._token_model import PROBE_ROWS
from omicsfm.models.baselines._base import Embedder
from omicsfm.models.external._scvi_counts import Counts, Training, read_counts, spans
from omicsfm.models.external._scvi_tame import epochs, guarded, import_scvi, no_lone_cell, run_training, tamed
from omicsfm.models.external.mofa import _most_variable
from omicsfm.pp import Tokenizer, Tokens, vstack

MIN_CELLS = 10
HELD_OUT = 10  # one cell in ten is kept for early stopping


class ScviModel(Embedder):
    """An estimator around a network of scvi-tools.

    scvi-tools trains it; afterwards only its weights are kept, as arrays, and the network is built from them when it is
    needed. Cells are encoded by that network directly, so that a query needs neither padding, registration nor
    retraining.
    """

    _kinds: tuple[str, ...]  # recipes that the peer can take, in its order
    _needed: tuple[str, ...] = ()  # those without which it cannot place a cell
    n_tokens = 30  # of the tokenizer, which chooses the features

    def __init__(
        self,
        n_latent: int = 20,
        *,
        n_hidden: int = 128,
        max_epochs: int | None = None,
        lr: float = 1e-3,
        batch_size: int = 128,
        max_features: int = 25_000,
        accelerator: str = "auto",
        n_threads: int = 1,
        seed: int = 0,
    ) -> None:
        self.n_latent = n_latent
        self.n_hidden = n_hidden
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.max_features = max_features
        self.accelerator = accelerator
        self.n_threads = n_threads
        self.seed = seed

    def fit(self, mdata: MuData, *, tokenizer: Tokenizer | None = None, tokens: Tokens | None = None) -> Self:
        """Learn from raw counts.

        Parameters
        ----------
        mdata
            Satisfies the contract.
        tokenizer, tokens
            A fitted tokenizer (its features and recipes are used), and its tokens of exactly these cells.

        Raises
        ------
        MissingDependency
            If scvi-tools is not installed.
        InputError
            For a MuData that breaks the contract or lacks what the model needs, or if training gives NaN twice.
        """
        import_scvi()
        super().fit(mdata, tokenizer=tokenizer, tokens=tokens)
        counts = self._read(mdata)
        self.probe_ = {kind: x[:PROBE_ROWS].toarray() for kind, x in counts.values.items()}
        return self

    def embed(self, mdata: MuData) -> np.ndarray:
        """Give the mean of the posterior of any cells, seen or new, in any subset of the modalities.

        A cell that the network cannot place (see the class) gets the mean state, and a warning says how many.

        Returns
        -------
        float64 array (n_obs, n_latent), rows as ``mdata.obs_names``. Each row depends on its own cell alone.
        """
        state, placed = self._states(self._query(mdata))
        self._warn(placed, "they are put at the mean state")
        return state

    def _fit(self, mdata: MuData, tokens: Tokens) -> None:
        self.modalities_ = self._choose(tokens)
        self.features_ = {kind: self._features(mdata, mod) for kind, mod in self.modalities_.items()}
        counts = self._read(mdata)
        cells = np.flatnonzero(self._can_place(counts))
        if len(cells) < MIN_CELLS:
            raise InputError(
                f"{type(self).__name__}.fit: at least {MIN_CELLS} cells with counts in "
                f"{' and '.join(self._needed) or 'any modality'} are needed, found {len(cells)}. Fix: give more cells."
            )
        order = np.random.default_rng(self.seed).permutation(len(cells))
        n_held = max(1, len(cells) // HELD_OUT)
        run = Training(counts.take(cells), cells, np.sort(order[n_held:]), np.sort(order[:n_held]))
        with tamed(self.seed, self.n_threads):
            peer = guarded(type(self).__name__, lambda lr: self._train(mdata, run, lr), self.lr)
            self.weights_ = {k: v.detach().cpu().numpy().copy() for k, v in peer.module.state_dict().items()}
        self._net: Any = None
        self.mean_state_ = np.zeros(self.sizes_["n_latent"])
        self.mean_state_ = self._states(run.counts)[0].mean(axis=0)
        self.fit_metrics_ = {"n_obs": len(cells), "n_epochs": self.n_epochs_}
        self._after(mdata, counts, run)

    def _train(self, mdata: MuData, run: Training, lr: float) -> Any:
        """Train a model of scvi-tools, set `sizes_` and `n_epochs_`, and give the model."""
        raise NotImplementedError

    def _run(self, model: Any, data: Any, run: Training, lr: float, **more: Any) -> Any:
        """Train a model of scvi-tools on `data` with the parameters of the adapter, note for how long, and give it."""
        run_training(
            model.train,
            [run.train, run.held],
            max_epochs=epochs(len(run.cells), self.max_epochs),
            lr=lr,
            batch_size=no_lone_cell(self.batch_size, [len(run.train)]),
            accelerator=self.accelerator,
            **more,
        )
        self.n_epochs_ = int(model.trainer.current_epoch)
        model.deregister_manager(data)
        return model

    def _build(self) -> Any:
        """Give the network of `sizes_`, with whatever weights."""
        raise NotImplementedError

    def _encode(self, network: Any, x: dict[str, Any], part: Counts) -> Any:
        """Give the posterior mean (n, n_latent) of cells from dense tensors, zero where not `seen`."""
        raise NotImplementedError

    def _after(self, mdata: MuData, counts: Counts, run: Training) -> None:
        """Learn what follows from the trained network."""

    def _choose(self, tokens: Tokens) -> dict[str, str]:
        """Kind -> name of the modality; of several of a kind that which most cells have."""
        name = type(self).__name__
        kind_of = self.tokenizer_.recipe_names()
        out = {}
        for kind in self._kinds:
            found = sorted(m for m in tokens.values if kind_of[m] == kind)
            if found:
                out[kind] = max(found, key=lambda m: len(tokens.rows[m]))
        lacking = [kind for kind in self._needed if kind not in out]
        if lacking or len(out) < 1 + self._needs_two:
            wanted = " and ".join(self._needed) or f"two of {', '.join(self._kinds)}"
            there = ", ".join(f"{m} ({kind_of[m]})" for m in sorted(kind_of))
            raise InputError(
                f"{name}.fit: modalities with the recipe {wanted} are needed, found {there}. "
                "Fix: choose another model, or name the recipes with ofm.setup(mdata, modalities={...})."
            )
        unused = sorted(set(tokens.values) - set(out.values()))
        if unused and self._needs_two:
            warnings.warn(
                f"{name} takes one modality each of {', '.join(self._kinds)}: left out is {', '.join(unused)}",
                OmicsfmWarning,
                stacklevel=5,
            )
        return out

    def _features(self, mdata: MuData, mod: str) -> np.ndarray:
        """Positions of the features used: the tokenizer's, the most variable ones where they are too many."""
        chosen = self.tokenizer_.features_[mod]
        if len(chosen) <= self.max_features:
            return np.asarray(chosen)
        return _most_variable(
            vstack([x for _, x in self.tokenizer_.scaled(mdata, mod)]), np.asarray(chosen), self.max_features
        )

    def _query(self, mdata: MuData) -> Counts:
        check_is_fitted(self, "training_data_")
        mdata = check_query(mdata, self.tokenizer_)
        if not all(mod in self.tokenizer_.features_ for mod in mdata.mod):
            self.tokenizer_.transform(mdata)  # says what is wrong with the names, as every model does
        return self._read(mdata)

    def _read(self, mdata: MuData) -> Counts:
        return read_counts(self.tokenizer_, mdata, self.modalities_, self.features_)

    def _can_place(self, counts: Counts, hidden: str | None = None) -> np.ndarray:
        seen = counts.without(hidden).seen
        if self._needed:
            return np.logical_and.reduce([seen[kind] for kind in self._needed])
        return np.logical_or.reduce(list(seen.values()))

    def _states(self, counts: Counts, hidden: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """States (n_obs, n_latent), as if `hidden` had not been measured, and which cells could be placed."""
        placed = self._can_place(counts, hidden)
        out = np.tile(self.mean_state_, (len(placed), 1))
        with tamed(self.seed, self.n_threads) as torch, torch.inference_mode():
            network = self._network(torch)
            for rows in spans(np.flatnonzero(placed)):
                part = counts.take(rows).without(hidden)
                x = {kind: torch.from_numpy(v.toarray()) for kind, v in part.values.items()}
                out[rows] = self._encode(network, x, part).numpy()
        return out, placed

    def _network(self, torch: Any) -> Any:
        """Give the trained network, on the CPU; call it under `tamed`: building draws random numbers."""
        if getattr(self, "_net", None) is None:
            network = self._build()
            try:
                network.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in self.weights_.items()})
            except RuntimeError as err:
                raise InputError(
                    f"{type(self).__name__}: the saved weights do not fit the installed scvi-tools. "
                    "Fix: fit anew, or install the version that the model was fitted with."
                ) from err
            self._net = network.eval()
        return self._net

    def _warn(self, placed: np.ndarray, so: str) -> None:
        if not placed.all():
            lack = " and ".join(self.modalities_[k] for k in self._needed) or "every modality"
            warnings.warn(
                f"{int((~placed).sum())} cells have no count in {lack} that {type(self).__name__} could use: {so}",
                OmicsfmWarning,
                stacklevel=3,
            )

    def _probe_output(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        values = {kind: sparse.csr_matrix(x) for kind, x in inputs.items()}
        n = max(x.shape[0] for x in values.values())
        return self._states(Counts(values, {k: np.diff(x.indptr) > 0 for k, x in values.items()}, np.full(n, "")))[0]
