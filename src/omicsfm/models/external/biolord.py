"""biolord: attributes of a cell apart from the rest of it, under the contract of this package."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping

import anndata as ad
import numpy as np
import pandas as pd

from omicsfm import contract, hub
from omicsfm.models.external._peers import bring, names_of
from omicsfm.models.external._response_peers import CellData, CellResponder, array, layers_of, run, tamed_scvi
from omicsfm.models.external._scvi_tame import no_lone_cell
from omicsfm.pp import ResponseData
from omicsfm.pp._prior_tables import reduce_prior

COMMAND = "pip install 'biolord>=0.0.3'"
WHAT, WHERE = "what", "where"  # names of the two attributes
N_FEATURES = 32  # of all priors together
N_CELLS = 500  # control cells of a context that are swapped


@hub.saveable
class Biolord(CellResponder):
    """Disentangled attributes (biolord): control cells are decoded again with their perturbation swapped.

    A cell is a code of its own, an embedding of its context, and a network of numbers that tell its perturbation: an
    entry per training target (its dose, as the share of the largest logarithm, where there are doses), then the leading
    32 components of the targets' priors; those of a combination are added. So combinations of known targets can be
    predicted, and contexts with controls alone; targets never perturbed only if the data have priors of them. The
    effect is the mean over control cells of the context of what is decoded with the perturbation less what is decoded
    without it: errors of reconstruction cancel.

    What is worked around: biolord has codes of its training cells alone, those of the cells it holds out stay random,
    so none are held out and training does not stop early; its validation and its learning-rate schedule (once in 45
    epochs) are left aside with it. Kept from you besides: the folder ``biolord_log``, progress bars, all torch threads
    (one here), and the global seed of scvi-tools, which biolord sets when a model is made.

    Parameters
    ----------
    max_epochs
        Number of epochs; None: the rule of biolord, 400 up to 20,000 cells, then fewer.
    n_latent
        Dimensions of the code of a cell.
    width, depth
        Of the decoder.
    lr
        Learning rate of all parts. Its default is ten times that of biolord, whose own examples raise it too.
    batch_size
        Of training.
    level
        Nominal coverage of the intervals, whose width comes from training perturbations: too narrow for others.
    seed
        Seed of everything random.

    Attributes
    ----------
    targets_, most_ : training targets; logarithm of the largest dose.
    known_, features_ : targets with priors, and their components (n_known, at most 32).
    codes_ : context -> (cells, n_latent + context) what is kept of control cells.
    attribute_, decoder_ : layers.

    References
    ----------
    Piran et al. (2024), Nat. Biotechnol. 42:1678.
    """

    def __init__(
        self,
        max_epochs: int | None = None,
        *,
        n_latent: int = 32,
        width: int = 256,
        depth: int = 2,
        lr: float = 1e-3,
        batch_size: int = 128,
        level: float = 0.9,
        seed: int = 0,
    ) -> None:
        self.max_epochs = max_epochs
        self.n_latent = n_latent
        self.width = width
        self.depth = depth
        self.lr = lr
        self.batch_size = batch_size
        self.level = level
        self.seed = seed

    def _learn(self, data: ResponseData) -> None:
        assert isinstance(data, CellData)
        biolord = bring("biolord", command=COMMAND)
        self.targets_ = pd.Index(
            sorted({part for name in data.design["perturbation"] for part in contract.members(name)})
        )
        doses = data.design["dose"]
        self.most_ = float(np.log1p(doses.max())) if doses.notna().any() else 1.0
        features = _components(data.priors)
        self.known_, self.features_ = features.index.astype(str), features.to_numpy()
        adata = ad.AnnData(data.x, obs=pd.DataFrame(index=names_of(len(data.x))))
        adata.obs[WHERE] = pd.Categorical(data.cells["context"], categories=self.contexts_)
        adata.obsm[WHAT] = self._attribute(data.cells).astype(np.float32)
        with tempfile.TemporaryDirectory() as folder, tamed_scvi(self.seed):
            biolord.Biolord.setup_anndata(adata, ordered_attributes_keys=[WHAT], categorical_attributes_keys=[WHERE])
            parts = {"decoder_width": self.width, "decoder_depth": self.depth, "seed": self.seed}
            model = biolord.Biolord(adata, n_latent=self.n_latent, module_params=parts)
            model.train(
                max_epochs=self.max_epochs,
                accelerator="cpu",
                train_size=1.0,
                batch_size=no_lone_cell(self.batch_size, [len(adata)]),
                plan_kwargs={
                    **dict.fromkeys(("latent_lr", "decoder_lr", "attribute_nn_lr"), self.lr),
                    "attribute_nn_wd": 1e-4,  # its default, which fails if it is not given
                },
                limit_val_batches=0,
                enable_checkpointing=False,
                enable_progress_bar=False,
                default_root_dir=folder,
            )
            module = model.module.eval()
        code, place = array(module.latent_codes.embedding.weight), array(module.categorical_embeddings[WHERE].weight)
        self.attribute_ = layers_of(module.ordered_networks[WHAT])
        self.decoder_ = [*layers_of(module.decoder.decoder), *layers_of(module.decoder.mean_decoder)]
        self.codes_ = {}
        rng = np.random.default_rng(self.seed)
        for context, embedding in zip(self.contexts_, place, strict=True):
            rows = rng.permutation(np.flatnonzero(data.is_control & (data.cells["context"] == context).to_numpy()))
            rows = np.sort(rows[:N_CELLS])
            self.codes_[context] = np.hstack([code[rows], np.broadcast_to(embedding, (len(rows), len(embedding)))])

    def _predict(self, design: pd.DataFrame) -> np.ndarray:
        found = {part for name in design["perturbation"].unique() for part in contract.members(name)}
        self._refuse(found - {*self.targets_, *self.known_}, "they were not perturbed in training and have no prior")
        numbers = run(self.attribute_, self._attribute(design))
        (without,) = run(self.attribute_, np.zeros((1, self._n_numbers)))
        start = {context: self._decode(context, without) for context in design["context"].unique()}
        out = np.empty((len(design), len(self.genes_)))
        for i, context in enumerate(design["context"]):
            out[i] = self._decode(context, numbers[i]) - start[context]
        return out

    def _decode(self, context: str, numbers: np.ndarray) -> np.ndarray:
        """Average what the control cells of a context become, (n_genes,)."""
        codes = self.codes_[context]
        latent = np.hstack([codes, np.broadcast_to(numbers, (len(codes), len(numbers)))])
        *hidden, last = self.decoder_
        return run([last], run(hidden, latent).mean(axis=0))  # the last layer is linear: the mean may come first

    @property
    def _n_numbers(self) -> int:
        return len(self.targets_) + self.features_.shape[1]

    def _attribute(self, design: pd.DataFrame) -> np.ndarray:
        """Tell perturbations in numbers, (n, n_targets + n_features); a control is zero."""
        out = np.zeros((len(design), self._n_numbers))
        of = {}
        for name in design["perturbation"].unique():
            one_hot = self.targets_.isin(contract.members(name)).astype(float)
            rows = self.known_.get_indexer(list(contract.members(name)))
            of[name] = np.concatenate([one_hot, self.features_[rows[rows >= 0]].sum(axis=0)])
        amount = (np.log1p(design["dose"]) / self.most_).fillna(1.0).to_numpy()
        for i, name in enumerate(design["perturbation"]):
            out[i] = of[name] * amount[i]
        return out


def _components(priors: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Put all priors into few features; a target that one of them does not know is zero in it."""
    tables = [table.astype(np.float64) for table in priors.values() if table.size]
    if not tables:
        return pd.DataFrame(index=pd.Index([], dtype=object))
    return reduce_prior(pd.concat(tables, axis=1).fillna(0.0), N_FEATURES)
