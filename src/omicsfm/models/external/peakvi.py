"""PEAKVI of scvi-tools under the contract of this package."""

from __future__ import annotations

from typing import Any

import numpy as np
from mudata import MuData

from omicsfm import hub
from omicsfm.models.external._scvi import ScviModel
from omicsfm.models.external._scvi_counts import Counts, Training
from omicsfm.models.external._scvi_tame import import_scvi, obs_table, table


@hub.saveable
class PeakVI(ScviModel):
    """Variational autoencoder of chromatin accessibility, trained by scvi-tools; it sees no other modality.

    What scvi-tools does and is kept from you: its default sizes follow the number of regions, and its learning rate of
    1e-4 hardly learns; it seeds global generators, prints, logs, and writes folders; it refuses a query without the
    batch column or with a new batch (its encoder does not see the batch). What is left: a cell without chromatin, or
    with zeros only, cannot be placed and gets the mean state.

    Parameters
    ----------
    n_latent, n_hidden
        Size of the state and of hidden layers.
    max_epochs
        Largest number of epochs; None: 400, fewer from 20,000 cells on. Stops early after 50 without progress on the
        tenth of the cells that is held out.
    lr, batch_size
        Learning rate (a tenth of it is tried if the network becomes NaN), and cells per step.
    max_features
        Regions, of those that the tokenizer chose.
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

    References
    ----------
    Ashuach et al. (2022), Cell Rep. Methods 2:100182.
    """

    _joint = False
    _needs_two = False
    _kinds = ("atac",)
    _needed = ("atac",)

    def _train(self, mdata: MuData, run: Training, lr: float) -> Any:
        peer = import_scvi().model.PEAKVI
        _, code = np.unique(run.counts.batch, return_inverse=True)
        data = table(run.counts.values["atac"], "atac", obs_table(code))
        peer.setup_anndata(data, batch_key="batch")
        model = peer(data, n_hidden=self.n_hidden, n_latent=self.n_latent)
        self.sizes_ = {
            "n_latent": self.n_latent,
            "n_hidden": self.n_hidden,
            "n_batch": int(code.max()) + 1,
            "n_atac": data.n_vars,
        }
        return self._run(model, data, run, lr)

    def _build(self) -> Any:
        size = self.sizes_
        return import_scvi().module.PEAKVAE(
            size["n_atac"],
            n_batch=size["n_batch"],
            n_hidden=size["n_hidden"],
            n_latent=size["n_latent"],
            n_cats_per_cov=[],
        )

    def _encode(self, network: Any, x: dict[str, Any], part: Counts) -> Any:
        import torch

        batch = torch.zeros(len(part.batch), 1, dtype=torch.long)
        return network.inference(x["atac"], batch, cont_covs=None, cat_covs=None)["qz"].loc
