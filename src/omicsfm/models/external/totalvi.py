"""TOTALVI of scvi-tools under the contract of this package."""

from __future__ import annotations

from typing import Any

import numpy as np
from mudata import MuData

from omicsfm import _compat, hub
from omicsfm.models.external._scvi_counts import Counts, Training
from omicsfm.models.external._scvi_impute import ScviImputer
from omicsfm.models.external._scvi_tame import import_scvi, obs_table, table
from omicsfm.models.external.multivi import mixture_level


@hub.saveable
class TotalVI(ScviImputer):
    """Variational autoencoder of RNA and protein counts of the same cells, with protein background, by scvi-tools.

    One encoder takes both; `impute` decodes proteins.

    What scvi-tools does and is kept from you: it refuses cells without protein unless they are padded with zeros and
    form batches of their own (we pad, and cells of a batch that lack protein become a batch beside it; a protein that
    is zero in a whole batch, or outside its panel in ``varm["measured"]``, is masked there); it seeds global
    generators, prints, logs, and writes folders; its encoder wants a batch it was trained on (a cell of another batch
    gets the mean of its states over those trained on with, or without, protein as the cell). What is left: a cell
    without RNA, or with zeros only, cannot be placed and gets the mean state; and where no training cell lacked
    protein the encoder never met its absence, so that imputation extrapolates, which its intervals show.

    Parameters
    ----------
    n_latent, n_hidden
        Size of the state and of hidden layers.
    max_epochs
        Largest number of epochs; None: 400, fewer from 20,000 cells on. Stops early after 45 without progress on the
        tenth of the cells that is held out.
    lr, batch_size
        Learning rate (a tenth of it is tried if the network becomes NaN), and cells per step.
    max_features
        Features per modality, of those that the tokenizer chose.
    level
        Nominal coverage of imputation intervals.
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
    batches_, with_protein_ : batches as the network knows them: name, and whether their cells have protein.
    mean_state_ : (n_latent,) over training cells.
    outlets_ : recipe -> how what is decoded gets to the recipe's scale.

    References
    ----------
    Gayoso et al. (2021), Nat. Methods 18:272.
    """

    _kinds = ("rna", "protein")
    _needed = ("rna",)
    _decoded = ("protein",)

    def __init__(
        self,
        n_latent: int = 20,
        *,
        n_hidden: int = 256,
        max_epochs: int | None = None,
        lr: float = 4e-3,
        batch_size: int = 256,
        max_features: int = 25_000,
        level: float = 0.9,
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
        self.level = level

    def _train(self, mdata: MuData, run: Training, lr: float) -> Any:
        peer = import_scvi().model.TOTALVI
        has = run.counts.seen["protein"]
        found = sorted(set(zip(run.counts.batch.tolist(), has.tolist(), strict=True)))
        self.batches_, self.with_protein_ = [b for b, _ in found], [h for _, h in found]
        obs = obs_table(self._batch_codes(run.counts))
        mods = {
            "rna": table(run.counts.values["rna"], "rna", obs[[]]),
            "protein": table(run.counts.values["protein"].toarray(), "protein", obs[[]]),
        }
        data = _compat.make_mudata(mods, obs)
        peer.setup_mudata(data, batch_key="batch", modalities={"rna_layer": "rna", "protein_layer": "protein"})
        model = peer(data, n_latent=self.n_latent, n_hidden=self.n_hidden)
        self.sizes_ = {
            "n_latent": self.n_latent,
            "n_hidden": self.n_hidden,
            "n_batch": len(found),
            "n_rna": mods["rna"].n_vars,
            "n_protein": mods["protein"].n_vars,
        }
        return self._run(model, data, run, lr)

    def _build(self) -> Any:
        size = self.sizes_
        return import_scvi().module.TOTALVAE(
            size["n_rna"],
            size["n_protein"],
            n_batch=size["n_batch"],
            n_panel=size["n_batch"],
            n_hidden=size["n_hidden"],
            n_latent=size["n_latent"],
        )

    def _encode(self, network: Any, x: dict[str, Any], part: Counts) -> Any:
        import torch

        out = torch.zeros(len(part.batch), self.sizes_["n_latent"])
        has = part.seen["protein"]
        for batch, protein in set(zip(part.batch.tolist(), has.tolist(), strict=True)):
            rows = np.flatnonzero((part.batch == batch) & (has == protein))
            codes = self._codes_for(batch, protein)
            for code in codes:
                index = torch.full((len(rows), 1), code)
                found = network.inference(x["rna"][rows], x["protein"][rows], batch_index=index, panel_index=index)
                out[rows] += found["qz"].loc / len(codes)
        return out

    def _codes_for(self, batch: str, protein: bool) -> list[int]:
        """Give the batch itself; else all with, or without, protein as it; else the batch's other half; else all."""
        known = list(enumerate(zip(self.batches_, self.with_protein_, strict=True)))
        for wanted in (
            [i for i, (b, h) in known if b == batch and h == protein],
            [i for i, (_, h) in known if h == protein],
            [i for i, (b, _) in known if b == batch],
        ):
            if wanted:
                return wanted
        return [i for i, _ in known]

    def _batch_codes(self, counts: Counts) -> np.ndarray:
        code = {pair: i for i, pair in enumerate(zip(self.batches_, self.with_protein_, strict=True))}
        pairs = zip(counts.batch.tolist(), counts.seen["protein"].tolist(), strict=True)
        return np.array([code[pair] for pair in pairs], dtype=np.int64)

    def _decode(self, network: Any, z: Any, code: int) -> dict[str, Any]:
        import torch

        index = torch.full((len(z), 1), code)
        out = network.generative(z, torch.ones(len(z), 1), index, None)
        return {"protein": mixture_level(out["py_"]) * out["per_batch_efficiency"]}
