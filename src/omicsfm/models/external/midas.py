"""MIDAS: mosaic integration by scmidas, under the contract of this package."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from omicsfm import hub
from omicsfm._errors import InputError, OmicsfmWarning
from omicsfm.models._cells import Block, blocks
from omicsfm.models._protocols import Imputation
from omicsfm.models.baselines._base import Embedder
from omicsfm.models.external import _midas
from omicsfm.models.external._peers import Raw, bring, only_counts, raw, tamed
from omicsfm.pp import Tokenizer, Tokens, dense_nan

COMMAND = "pip install --no-deps 'scmidas>=0.3' toml"
BLOCK_ROWS = 1024


@hub.saveable
class MIDAS(Embedder):
    """Mosaic variational autoencoder with disentangled batch effects (MIDAS), fitted by scmidas.

    scmidas declares torch<2.11, which it does not need: ``pip install --no-deps 'scmidas>=0.3' toml`` beside the extra
    ``peers``. RNA, proteins, guides (Poisson) and ATAC (Bernoulli, by chromosome where ``var`` has ``chrom``) enter as
    counts, over the features that make our tokens. The state is the biological part c of the latent variables.

    What scmidas cannot do and is worked around: it gives states and imputations of its training cells alone, so new
    cells go through its encoders and decoders themselves; cells of one batch must all have the same modalities, so a
    batch is split by them; it pairs cells of two modalities by position, whatever their names, so they are sorted; it
    has one feature mask per batch, so a feature that some cells of one lack is masked for all of them in training. As
    in scmidas, the batch (and modality set) of a cell is an input where training had it; else that input is left out,
    as in a tenth of the training steps. An imputed cell is decoded from its other modalities, never from the asked one.

    Kept from you besides: 20 worker processes that load data (none here), all torch threads (one here), checkpoints in
    the working folder, ``integrate()`` changing the defaults of the module for every later model, prints and progress
    bars, losses noted at every step for nobody to read, global seeds. The published 1000 to 2000 epochs want a GPU; the
    defaults here are those of its quick start (batches of 128, learning rate 3e-4), with more epochs.

    Parameters
    ----------
    max_epochs
        Number of epochs; scmidas has no early stopping. An epoch visits every batch as often as the largest one.
    n_latent, n_technical
        Dimensions of the biological and of the technical part.
    batch_size, lr
        Of training.
    calibration
        Share of the cells with several modalities that are left out of training, to measure how wide intervals must
        be. With 0 all are used, and intervals come from training cells: they are then too narrow.
    level
        Nominal coverage of imputation intervals.
    accelerator
        Of Lightning. Same seed, same bits holds on one kind of machine.
    seed
        Seed of everything random.

    Attributes
    ----------
    features_, chunks_ : modality -> positions of the features used, and their number by chromosome.
    groups_ : batch and modalities of each batch that scmidas was given.
    network_ : name -> weights of the autoencoder.
    outlets_ : modality -> arrays (n_vars,) that put its predictions on the recipe's scale.

    References
    ----------
    He et al. (2024), Nat. Biotechnol. 42:1594.
    """

    n_tokens = 30  # of the tokenizer, which chooses the features

    def __init__(
        self,
        max_epochs: int = 400,
        *,
        n_latent: int = 32,
        n_technical: int = 2,
        batch_size: int = 128,
        lr: float = 3e-4,
        calibration: float = 0.1,
        level: float = 0.9,
        accelerator: str = "cpu",
        seed: int = 0,
    ) -> None:
        self.max_epochs = max_epochs
        self.n_latent = n_latent
        self.n_technical = n_technical
        self.batch_size = batch_size
        self.lr = lr
        self.calibration = calibration
        self.level = level
        self.accelerator = accelerator
        self.seed = seed

    def fit(self, mdata: MuData, *, tokenizer: Tokenizer | None = None, tokens: Tokens | None = None) -> MIDAS:
        """Learn from raw counts.

        Parameters
        ----------
        mdata
            Satisfies the contract.
        tokenizer, tokens
            A fitted tokenizer (its recipes and features are used), and its tokens of exactly these cells.

        Raises
        ------
        MissingDependency
            If scmidas is not installed.
        InputError
            For a MuData that breaks the contract, or a modality without counts.
        """
        bring("scmidas", command=COMMAND)
        super().fit(mdata, tokenizer=tokenizer, tokens=tokens)
        inputs = {m: raw(self.tokenizer_, mdata, m, f) for m, f in self.features_.items()}
        self.probe_ = {m: r.x[:8].toarray() for m, r in inputs.items()}
        return self

    def embed(self, mdata: MuData) -> np.ndarray:
        """Give the state of any cells, seen or new, measured in any subset of the modalities.

        Returns
        -------
        float64 array (n_obs, n_latent), rows as ``mdata.obs_names``; 0 for a cell that nothing is known of.
        """
        tokens = self._tokens(mdata)
        inputs = {m: raw(self.tokenizer_, mdata, m, self.features_[m]) for m in tokens.values}
        out = np.zeros((tokens.n_obs, self.n_latent))
        network = self._network()
        for block in blocks(tokens, n_rows=BLOCK_ROWS):
            out[block.obs] = self._encode(network, tokens, inputs, block)[:, : self.n_latent]
        return out

    def impute(self, mdata: MuData, modality: str) -> Imputation:
        """Predict a modality of every cell from its other modalities.

        Decoded counts are put on the recipe's scale and shifted, feature by feature, so that their mean over training
        cells is right; features that do not make tokens get their mean. A cell without another modality gets the mean,
        and a warning says how many. Intervals are of one width per feature, from cells left out of training.

        Returns
        -------
        Imputation
            Mean, sd and interval on the recipe's scale (``model.tokenizer_.recipes_[modality]``).
        """
        tokens = self._tokens(mdata)
        if modality not in self.outlets_:
            raise InputError(
                f"MIDAS.impute: cannot predict '{modality}'. Fix: choose one of {', '.join(self.outlets_)}."
            )
        inputs = {m: raw(self.tokenizer_, mdata, m, self.features_[m]) for m in tokens.values if m != modality}
        outlet = self.outlets_[modality]
        shape = tokens.n_obs, len(outlet["mean"])
        mean, sd, half = np.empty(shape), np.empty(shape), np.empty(shape)
        mean[:], sd[:], half[:] = outlet["mean"], outlet["mean_sd"], outlet["mean_half"]
        blind = np.ones(tokens.n_obs, dtype=bool)
        for obs, expected in self._decode(tokens, inputs, modality, np.arange(tokens.n_obs)):
            mean[obs], sd[obs], half[obs] = expected + outlet["shift"], outlet["sd"], outlet["half"]
            blind[obs] = False
        if blind.any():
            warnings.warn(
                f"{blind.sum()} cells have no modality other than '{modality}': they get its mean",
                OmicsfmWarning,
                stacklevel=2,
            )
        return Imputation.around(self.tokenizer_, mdata, modality, (mean, sd, half), level=self.level)

    def _fit(self, mdata: MuData, tokens: Tokens) -> None:
        self.kinds_ = only_counts("MIDAS", self.tokenizer_)
        self.features_: dict[str, np.ndarray] = {}
        self.chunks_: dict[str, list[int]] = {}
        for mod in sorted(tokens.values):
            chosen = self.tokenizer_.features_[mod]
            self.features_[mod], self.chunks_[mod] = _midas.by_chromosome(mdata, mod, chosen, self.kinds_[mod])
        inputs = {m: raw(self.tokenizer_, mdata, m, f) for m, f in self.features_.items()}
        held = self._held_out(tokens)
        code = np.full(tokens.n_obs, -1)
        used = list(blocks(tokens, obs=np.flatnonzero(~held), n_rows=tokens.n_obs))
        self.groups_ = sorted({name for block in used for name in _groups(tokens, block)})
        for block in used:
            code[block.obs] = self._codes(tokens, block)
        ours = {"dim_c": self.n_latent, "dim_u": self.n_technical, "lr_net": self.lr, "lr_dsc": self.lr}
        kinds = [self.kinds_[m] for m in self.features_]
        self.configs_ = _midas.configs(bring("scmidas", command=COMMAND), kinds, **ours)
        self._train(_midas.prepare(tokens, inputs, code))
        self.means_ = {m: _midas.means(self.tokenizer_, mdata, m) for m in self.features_}
        self.outlets_ = {
            m: _midas.outlet(
                self.tokenizer_,
                mdata,
                tokens,
                m,
                mean=self.means_[m][1],
                held=held,
                predict=partial(self._decode, tokens, inputs, m),
                level=self.level,
                seed=self.seed,
            )
            for m in self.features_
        }

    def _held_out(self, tokens: Tokens) -> np.ndarray:
        """Choose cells of each set of modalities, as many as `calibration` says; bool (n_obs,)."""
        held = np.zeros(tokens.n_obs, dtype=bool)
        rng = np.random.default_rng(self.seed)
        for block in blocks(tokens, n_rows=tokens.n_obs):
            if len(block.pattern) > 1:
                held[rng.permutation(block.obs)[: int(self.calibration * len(block.obs))]] = True
        return held

    def _codes(self, tokens: Tokens, block: Block) -> np.ndarray:
        """Give the number of each cell's batch, in the sense of scmidas; -1 for one that training lacked."""
        known = {name: i for i, name in enumerate(self.groups_)}
        return np.array([known.get(name, -1) for name in _groups(tokens, block)])

    def _train(self, prepared: MuData) -> None:
        scmidas = bring("scmidas", command=COMMAND)
        with tempfile.TemporaryDirectory() as folder, tamed(self.seed):
            scmidas.MIDAS.setup_mudata(
                prepared, batch_key="group", dims_x={f"m{i}": c for i, c in enumerate(self.chunks_.values())}
            )
            model = scmidas.MIDAS(
                prepared,
                configs=self.configs_,
                batch_size=self.batch_size,
                save_model_path=folder,
                n_save=self.max_epochs + 1,
                transform={f"m{i}": "binarize" for i, m in enumerate(self.features_) if self.kinds_[m] == "atac"},
            )
            model.log_losses = lambda *losses: None  # 7 % of the time, and there is no logger
            model.train(
                max_epochs=self.max_epochs,
                accelerator=self.accelerator,
                devices=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                default_root_dir=folder,
            )
        self.network_ = {name: w.detach().cpu().numpy() for name, w in model.net.state_dict().items()}
        bad = [name for name, w in self.network_.items() if not np.isfinite(w).all()]
        if bad:
            raise InputError(f"MIDAS.fit: training diverged ('{bad[0]}' is not finite). Fix: lower lr.")

    def _network(self) -> Any:
        """Build scmidas' autoencoder anew from its weights."""
        scmidas = bring("scmidas", command=COMMAND)
        return _midas.build(scmidas, list(self.chunks_.values()), len(self.groups_), self.configs_, self.network_)

    def _encode(self, network: Any, tokens: Tokens, inputs: dict[str, Raw], block: Block) -> np.ndarray:
        x, seen = {}, {}
        for i, mod in enumerate(self.features_):
            if mod in block.pattern:
                dense = inputs[mod].x[block.rows[mod]].toarray()
                x[f"m{i}"] = (dense > 0.5).astype(float) if self.kinds_[mod] == "atac" else dense
                measured = inputs[mod].measured
                if measured is not None:
                    seen[f"m{i}"] = measured[block.rows[mod]]
        if not x:
            return np.zeros((len(block.obs), self.n_latent + self.n_technical))
        return _midas.encode(network, x, seen, self._codes(tokens, block))

    def _decode(
        self, tokens: Tokens, inputs: dict[str, Raw], target: str, obs: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Give cells that have another modality, block by block, with the target expected of them."""
        network, key = self._network(), f"m{list(self.features_).index(target)}"
        chosen, (counts, mean) = self.features_[target], self.means_[target]
        rest = np.setdiff1d(np.arange(len(mean)), chosen)
        for block in blocks(tokens, obs=obs, n_rows=BLOCK_ROWS):
            if block.without(target):
                z = self._encode(network, tokens, inputs, block.only(block.without(target)))
                expected = np.tile(counts, (len(z), 1))
                expected[:, chosen] = _midas.decode(network, z, key)
                scaled = dense_nan(self.tokenizer_.recipes_[target].scale(expected), None)
                scaled[:, rest] = mean[rest]
                yield block.obs, scaled

    def _probe_output(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        n = {m: len(x) for m, x in inputs.items()}
        rows = {m: np.arange(k) for m, k in n.items()}
        tokens = Tokens(inputs, rows, pd.RangeIndex(max(n.values())), np.full(max(n.values()), ""))
        parts = {m: Raw(sparse.csr_matrix(x), None) for m, x in inputs.items()}
        network = self._network()
        return np.vstack([self._encode(network, tokens, parts, block) for block in blocks(tokens)])


def _groups(tokens: Tokens, block: Block) -> list[str]:
    """Name the batch and modalities of each cell of a block."""
    return [f"{'+'.join(block.pattern)}@{batch}" for batch in tokens.batch[block.obs]]
