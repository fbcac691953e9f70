"""SCANVI of scvi-tools under the contract of this package."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData
from scipy.special import softmax
from sklearn.utils.validation import check_is_fitted

from omicsfm import contract, hub
from omicsfm._errors import InputError
from omicsfm.models._labels import fit_temperature
from omicsfm.models.external._scvi import ScviModel
from omicsfm.models.external._scvi_counts import Counts, Training, spans
from omicsfm.models.external._scvi_tame import (
    epochs,
    import_scvi,
    no_lone_cell,
    obs_table,
    run_training,
    table,
    tamed,
)
from omicsfm.pp import Tokens

UNLABELLED = "unlabelled"
FEW_HELD_OUT = 20


@hub.saveable
class ScANVI(ScviModel):
    """Variational autoencoder of RNA counts with a classifier of cell types, trained by scvi-tools: SCVI, then SCANVI.

    It sees no other modality. Cells whose label is NaN take part unlabelled.

    What scvi-tools does and is kept from you: it wants a category that stands for "no label"; it fails on a last batch
    of one cell; it seeds global generators, prints, logs, and writes folders; it refuses a query without the batch or
    label column, or with a new batch or label (its encoder does not see the batch). What is left: a cell without RNA,
    or with zeros only, cannot be placed: it gets the mean state, the most frequent label, and is unknown.

    Parameters
    ----------
    n_latent, n_hidden
        Size of the state and of hidden layers.
    max_epochs
        Largest number of epochs of SCVI; None: 400, fewer from 20,000 cells on. Stops early after 45 without progress
        on the tenth of the cells that is held out.
    max_epochs_labels
        Number of epochs with labels that follow.
    lr, batch_size
        Learning rate (a tenth of it is tried if the network becomes NaN), and cells per step.
    max_features
        Genes, of those that the tokenizer chose.
    accelerator
        Where Lightning trains; queries are answered on the CPU.
    n_threads
        Of torch; on a busy machine more than one is slower.
    seed
        Seed of everything random; same seed, same bits.

    Attributes
    ----------
    modalities_, features_ : recipe -> modality used, and positions of its features.
    weights_, sizes_, n_epochs_ : the network, and for how long it was trained.
    mean_state_ : (n_latent,) over training cells.
    labels_ : names of the classes.
    share_ : (n_classes,) their shares of the labelled cells.
    temperature_ : divides the logits, so that confidence matches accuracy on held-out cells (1 where these are few).

    References
    ----------
    Xu et al. (2021), Mol. Syst. Biol. 17:e9620; Lopez et al. (2018), Nat. Methods 15:1053.
    """

    _joint = False
    _needs_two = False
    _kinds = ("rna",)
    _needed = ("rna",)

    def __init__(
        self,
        n_latent: int = 20,
        *,
        n_hidden: int = 128,
        max_epochs: int | None = None,
        max_epochs_labels: int = 20,
        lr: float = 1e-3,
        batch_size: int = 128,
        max_features: int = 25_000,
        accelerator: str = "auto",
        n_threads: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(
            n_latent,
            n_hidden=n_hidden,
            max_epochs=max_epochs,
            lr=lr,
            batch_size=batch_size,
            max_features=max_features,
            accelerator=accelerator,
            n_threads=n_threads,
            seed=seed,
        )
        self.max_epochs_labels = max_epochs_labels

    def annotate(self, mdata: MuData, *, min_confidence: float = 0.5) -> pd.DataFrame:
        """Give labels with confidence.

        Parameters
        ----------
        min_confidence
            A cell below it is "unknown", as is one that the network cannot place.

        Returns
        -------
        DataFrame
            Index ``mdata.obs_names``; label, confidence (probability), unknown (bool).
        """
        state, placed = self._states(self._query(mdata))
        self._warn(placed, "they get the most frequent label and are unknown")
        probability = np.tile(self.share_, (len(state), 1))
        probability[placed] = softmax(self._logits(state[placed]) / self.temperature_, axis=1)
        best = probability.argmax(axis=1)
        confidence = probability[np.arange(len(best)), best]
        return pd.DataFrame(
            {
                "label": np.array(self.labels_, dtype=object)[best],
                "confidence": confidence,
                "unknown": (confidence < min_confidence) | ~placed,
            },
            index=mdata.obs_names,
        )

    def _fit(self, mdata: MuData, tokens: Tokens) -> None:
        if contract.keys(mdata).label is None:
            raise InputError('ScANVI.fit: there is no label key. Fix: ofm.setup(mdata, label_key="...") before fit.')
        super()._fit(mdata, tokens)

    def _label_codes(self, mdata: MuData, run: Training) -> np.ndarray:
        """Code of the label of every training cell, -1 where there is none; sets `labels_`."""
        label = contract.labels(mdata).to_numpy()[run.cells]
        known = pd.notna(label)
        names, code = np.unique(label[known].astype(str), return_inverse=True)
        trained = known[run.train]
        if len(names) < 2 or trained.sum() < 2:
            raise InputError(
                f"ScANVI.fit: at least two labels, of cells with RNA, are needed; found {len(names)}. "
                "Fix: label more cells; the others may be NaN."
            )
        self.labels_ = [str(name) for name in names]
        self.share_ = np.bincount(code) / len(code)
        out = np.full(len(label), -1)
        out[known] = code
        return out

    def _train(self, mdata: MuData, run: Training, lr: float) -> Any:
        scvi = import_scvi()
        _, batch = np.unique(run.counts.batch, return_inverse=True)
        label = self._label_codes(mdata, run)
        obs = obs_table(batch)
        obs["label"] = pd.Categorical([f"{c:06d}" if c >= 0 else UNLABELLED for c in label])
        data = table(run.counts.values["rna"], "rna", obs)
        scvi.model.SCVI.setup_anndata(data, batch_key="batch", labels_key="label")
        plain = scvi.model.SCVI(data, n_hidden=self.n_hidden, n_latent=self.n_latent)
        sizes = [len(run.train), int((label[run.train] >= 0).sum())]
        shared = {
            "batch_size": no_lone_cell(self.batch_size, sizes),
            "accelerator": self.accelerator,
            "plan_kwargs": {"lr": lr},
        }
        split = [run.train, run.held]
        max_epochs = epochs(len(run.cells), self.max_epochs)
        run_training(plain.train, split, max_epochs=max_epochs, early_stopping=True, **shared)
        model = scvi.model.SCANVI.from_scvi_model(plain, unlabeled_category=UNLABELLED, labels_key="label")
        run_training(model.train, split, max_epochs=self.max_epochs_labels, **shared)
        self.sizes_ = {
            "n_latent": self.n_latent,
            "n_hidden": self.n_hidden,
            "n_batch": int(batch.max()) + 1,
            "n_rna": data.n_vars,
        }
        self.n_epochs_ = int(plain.trainer.current_epoch + model.trainer.current_epoch)
        for peer in (plain, model):
            peer.deregister_manager(data)
        return model

    def _build(self) -> Any:
        size = self.sizes_
        return import_scvi().module.SCANVAE(
            size["n_rna"],
            n_batch=size["n_batch"],
            n_labels=len(self.labels_),
            n_hidden=size["n_hidden"],
            n_latent=size["n_latent"],
        )

    def _encode(self, network: Any, x: dict[str, Any], part: Counts) -> Any:
        import torch

        return network.inference(x["rna"], torch.zeros(len(part.batch), 1, dtype=torch.long))["qz"].loc

    def _logits(self, state: np.ndarray) -> np.ndarray:
        check_is_fitted(self, "weights_")
        out = np.zeros((len(state), len(self.labels_)))
        with tamed(self.seed, self.n_threads) as torch, torch.inference_mode():
            network = self._network(torch)
            for rows in spans(np.arange(len(state))):
                out[rows] = network.classifier(torch.from_numpy(state[rows].astype(np.float32))).numpy()
        return out

    def _after(self, mdata: MuData, counts: Counts, run: Training) -> None:
        code = self._label_codes(mdata, run)
        held = run.held[code[run.held] >= 0]
        self.temperature_ = 1.0
        if len(held) >= FEW_HELD_OUT:
            logit = self._logits(self._states(run.counts.take(held))[0])
            self.temperature_ = fit_temperature(logit, code[held])
