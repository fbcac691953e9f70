"""MULTIVI of scvi-tools under the contract of this package."""

from __future__ import annotations

from typing import Any

import numpy as np
from mudata import MuData

from omicsfm import _compat, hub
from omicsfm.models.external._scvi_counts import Counts, Training
from omicsfm.models.external._scvi_impute import ScviImputer
from omicsfm.models.external._scvi_tame import import_scvi, obs_table, table


@hub.saveable
class MultiVI(ScviImputer):
    """Variational autoencoder of RNA, chromatin and protein counts, one encoder each, trained by scvi-tools.

    A cell's state is the mean of what the encoders of its modalities say; `impute` decodes any of them.

    What scvi-tools does and is kept from you: it refuses unpaired cells and wants them padded with zeros (we pad for
    training, and never read padding back); it wants the modalities in one order (1.4.2 fails in any other); its
    default sizes shrink to 4 latent dimensions on small panels, and its learning rate of 1e-4 hardly learns; it seeds
    global generators, prints, logs, and writes folders; it refuses a query without the batch column or with a new
    batch (encoders do not see the batch; decoding averages over those trained on). It fights modality differences by
    an adversary, which is left off where every cell is paired, since it then tends to NaN. What is left: a modality
    measured with zeros only counts as missing, a cell with nothing else gets the mean state, and a protein outside a
    batch's panel is trained on as a zero.

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
    batches_ : batches trained on.
    mean_state_ : (n_latent,) over training cells.
    outlets_ : recipe -> how what is decoded gets to the recipe's scale.

    References
    ----------
    Ashuach et al. (2023), Nat. Methods 20:1222.
    """

    _kinds = ("rna", "atac", "protein")
    _decoded = ("rna", "atac", "protein")

    def __init__(
        self,
        n_latent: int = 20,
        *,
        n_hidden: int = 128,
        max_epochs: int | None = None,
        lr: float = 1e-3,
        batch_size: int = 128,
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
        peer = import_scvi().model.MULTIVI
        self.batches_ = sorted(set(run.counts.batch.tolist()))
        obs = obs_table(self._batch_codes(run.counts))
        # The order of `_kinds` is the peer's; protein must be dense.
        mods = {k: table(x.toarray() if k == "protein" else x, k, obs[[]]) for k, x in run.counts.values.items()}
        data = _compat.make_mudata(mods, obs)
        peer.setup_mudata(data, batch_key="batch", modalities={f"{k}_layer": k for k in mods})
        model = peer(data, n_hidden=self.n_hidden, n_latent=self.n_latent)
        self.sizes_ = {
            "n_latent": self.n_latent,
            "n_hidden": self.n_hidden,
            "n_batch": len(self.batches_),
            **{f"n_{k}": x.shape[1] for k, x in run.counts.values.items()},
        }
        mixing = not np.all(list(run.counts.seen.values()))
        return self._run(model, data, run, lr, adversarial_mixing=mixing)

    def _build(self) -> Any:
        size = self.sizes_
        return import_scvi().module.MULTIVAE(
            n_input_genes=size.get("n_rna", 0),
            n_input_regions=size.get("n_atac", 0),
            n_input_proteins=size.get("n_protein", 0),
            n_batch=size["n_batch"],
            n_hidden=size["n_hidden"],
            n_latent=size["n_latent"],
            n_cats_per_cov=[],
        )

    def _encode(self, network: Any, x: dict[str, Any], part: Counts) -> Any:
        import torch

        n = len(part.batch)
        none = torch.zeros(n, 0)
        out = network.inference(
            x=torch.cat((x.get("rna", none), x.get("atac", none)), dim=1),
            y=x.get("protein", torch.zeros(n, 1)),
            batch_index=torch.zeros(n, 1, dtype=torch.long),
            cont_covs=None,
            cat_covs=None,
            label=None,
            cell_idx=torch.zeros(n, dtype=torch.long),
            size_factor=None,
        )
        return out["qz_m"]

    def _batch_codes(self, counts: Counts) -> np.ndarray:
        return np.searchsorted(self.batches_, counts.batch)

    def _decode(self, network: Any, z: Any, code: int) -> dict[str, Any]:
        import torch

        batch = torch.full((len(z), 1), code)
        out = network.generative(z, z, batch, libsize_expr=torch.zeros(len(z), 1), use_z_mean=True)
        found = {"rna": out["px_scale"], "atac": out["p"] * torch.sigmoid(network.region_factors)}
        if "protein" in self.features_:
            found["protein"] = mixture_level(out["py_"])
        return found


def mixture_level(py: dict[str, Any]) -> Any:
    """Give the expected level of proteins on the log scale, as a count: background and foreground by their weights."""
    import torch

    back = torch.exp(py["back_alpha"])  # its median: the network itself draws it at random
    share = torch.sigmoid(py["mixing"])
    return torch.expm1(share * torch.log1p(back) + (1 - share) * torch.log1p(back * py["fore_scale"]))
