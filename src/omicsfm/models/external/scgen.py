"""scGen: a known perturbation in a context where it was not tried, by pertpy, under the contract of this package."""

from __future__ import annotations

import tempfile

import anndata as ad
import numpy as np
import pandas as pd

from omicsfm import _compat, contract, hub
from omicsfm.models.external._peers import bring, names_of
from omicsfm.models.external._response_peers import CellData, CellResponder, tamed_scvi, without_doses
from omicsfm.pp import ResponseData

COMMAND = "pip install 'pertpy>=1.0.3' 'scvi-tools[jax]' 'statsmodels<0.15'"
WHAT, WHERE = "what", "where"
N_CELLS = 500  # control cells of a context that are moved


@hub.saveable
class ScGen(CellResponder):
    """Autoencoder with arithmetic in its latent space (scGen), fitted by pertpy; for unseen contexts.

    A perturbation is one shift of the latent variable, the mean over the contexts where it was tried of (its cells less
    their controls). Control cells of the asked context are decoded with and without it; the difference of the two means
    is the effect, so errors of reconstruction cancel. Perturbations, and combinations, that were not tried anywhere
    cannot be predicted. Where a perturbation was tried the same shift is used, as anywhere else.

    What is worked around: pertpy averages all controls against all perturbed cells, so controls of the asked context
    enter one side alone and the shift holds part of the difference between contexts (here each context is compared with
    its own controls); it balances contexts by cells drawn from a generator that no seed reaches (here by the mean of
    means); its reconstruction error is summed over the cells of a batch and not averaged, so that the weight of the
    prior falls with the size of the batch. pertpy 1.0, the last for Python 3.11, does not import with statsmodels 0.15.

    Kept from you besides: progress bars, Lightning's folder, global seeds.

    Parameters
    ----------
    max_epochs
        Number of epochs; there is no early stopping, and no cell is held out.
    n_latent, width
        Dimensions of the latent variable, and of the two hidden layers.
    batch_size
        Of training.
    level
        Nominal coverage of the intervals, whose width comes from training perturbations: too narrow for others.
    seed
        Seed of everything random.

    Attributes
    ----------
    perturbations_ : names that can be asked about.
    effects_ : (n_perturbations, n_contexts, n_genes), contexts as in ``contexts_``.

    References
    ----------
    Lotfollahi et al. (2019), Nat. Methods 16:715; Heumos et al. (2025), pertpy.
    """

    def __init__(
        self,
        max_epochs: int = 100,
        *,
        n_latent: int = 100,
        width: int = 800,
        batch_size: int = 32,
        level: float = 0.9,
        seed: int = 0,
    ) -> None:
        self.max_epochs = max_epochs
        self.n_latent = n_latent
        self.width = width
        self.batch_size = batch_size
        self.level = level
        self.seed = seed

    def _learn(self, data: ResponseData) -> None:
        assert isinstance(data, CellData)
        data = without_doses("ScGen", data)
        with _compat.quiet():  # its parts are imported when asked for, and warn then
            scgen = bring("pertpy", command=COMMAND).tools.Scgen
        what, where = (data.cells[name].to_numpy() for name in ("perturbation", "context"))
        obs = pd.DataFrame({WHAT: what, WHERE: where}, index=names_of(len(what)), dtype="category")
        adata = ad.AnnData(data.x, obs=obs)
        with tempfile.TemporaryDirectory() as folder, tamed_scvi(self.seed):
            scgen.setup_anndata(adata, batch_key=WHAT, labels_key=WHERE)
            model = scgen(adata, n_hidden=self.width, n_latent=self.n_latent)
            model.train(
                max_epochs=self.max_epochs,
                accelerator="cpu",
                train_size=1.0,
                batch_size=self.batch_size,
                enable_progress_bar=False,
                default_root_dir=folder,
            )
            z = np.asarray(model.get_latent_representation(), dtype=np.float32)
            decode = model.module.as_bound().generative
            self.perturbations_ = pd.Index(sorted(data.design["perturbation"].unique()))
            shift = _shifts(z, what, where, data.design).loc[self.perturbations_].to_numpy(np.float32)
            self.effects_ = np.empty((len(shift), len(self.contexts_), data.x.shape[1]))
            rng = np.random.default_rng(self.seed)
            for j, context in enumerate(self.contexts_):
                rows = rng.permutation(np.flatnonzero(data.is_control & (where == context)))[:N_CELLS]
                means = [np.asarray(decode(z[rows] + step)["px"]).mean(axis=0) for step in [0 * z[0], *shift]]
                self.effects_[:, j] = np.stack(means[1:]) - means[0]

    def _predict(self, design: pd.DataFrame) -> np.ndarray:
        names = design["perturbation"].where(design["perturbation"] != contract.CONTROL, self.perturbations_[0])
        self._refuse(set(names) - set(self.perturbations_), "they were not tried in any context")
        return self.effects_[
            self.perturbations_.get_indexer(names), pd.Index(self.contexts_).get_indexer(design["context"])
        ]


def _shifts(z: np.ndarray, what: np.ndarray, where: np.ndarray, design: pd.DataFrame) -> pd.DataFrame:
    """Average over contexts what each perturbation adds to the latent mean of its context's controls."""
    mean = pd.DataFrame(z).groupby([what, where]).mean()
    rows = design[["perturbation", "context"]].drop_duplicates()
    shift = mean.loc[list(rows.itertuples(index=False, name=None))].to_numpy()
    shift = shift - mean.loc[[(contract.CONTROL, context) for context in rows["context"]]].to_numpy()
    return pd.DataFrame(shift).groupby(rows["perturbation"].to_numpy()).mean()
