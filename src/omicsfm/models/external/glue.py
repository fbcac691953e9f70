"""GLUE: graph-linked embedding by scglue, under the contract of this package."""

from __future__ import annotations

import tempfile
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from mudata import MuData

from omicsfm import hub
from omicsfm._errors import InputError
from omicsfm.models._cells import blocks
from omicsfm.models.baselines._base import Embedder
from omicsfm.models.external._guidance import Links, guide
from omicsfm.models.external._peers import bring, only_counts, raw, tamed
from omicsfm.pp import Tokenizer, Tokens

MAX_EPOCHS = 150
MIN_CELLS = 40
LEAK = 0.2  # of the hidden layers


@hub.saveable
class GLUE(Embedder):
    """Autoencoders of modalities tied by a graph of their features (GLUE), fitted by scglue (extra ``peers``).

    Features are linked by ``chrom``, ``start`` and ``end`` in ``var`` within `window`, else by ``gene_id``, else by
    name: scglue's own way needs the program bedtools, this one does not. It is the one model here that needs no cell
    with two modalities; where there are such cells, its paired variant learns from them too. Encoders read the tokens
    of this package; counts (negative binomial) of the features that make tokens, and of those linked to them, are what
    is decoded; of ATAC only linked regions are, as in its tutorial.

    scglue gives one state per cell and modality: a cell with several gets their mean, which is ours. Its decoder gives
    proportions of a count total that one must supply, so nothing is imputed. Its rule for the number of epochs, made
    for atlases (2,134 for 1,600 cells, twice over), is cut at 150; burn-in and patience keep their share of it. Where
    clusters of modalities do not match, its balancing weights are 0 / 0 and the network becomes NaN: it is then trained
    again without them.

    Kept from you besides: worker processes, all torch threads (one here), checkpoints and TensorBoard logs in a
    folder left in /tmp, prints, global seeds. With scglue comes the package pynvml, which makes every ``import torch``
    warn: ``pip uninstall pynvml`` ends that, and scglue goes on working by nvidia-ml-py.

    Parameters
    ----------
    n_latent
        Dimensions of the state.
    max_epochs
        Largest number of epochs in each of the two rounds of training; None: scglue's rule, at most 150.
    window
        Bases between a gene and a region that are still linked.
    paired
        Learn from cells with several modalities that they are the same cell; False: pairing is not shown to it.
    n_tokens
        Tokens per modality.
    seed
        Seed of everything random.

    Attributes
    ----------
    encoders_ : modality -> layers, as arrays.
    features_ : modality -> positions of the features decoded.
    n_links_ : pair of modalities -> number of links among them.

    References
    ----------
    Cao & Gao (2022), Nat. Biotechnol. 40:1458.
    """

    _joint = False  # links of features take the place of linking cells

    def __init__(
        self,
        n_latent: int = 30,
        *,
        max_epochs: int | None = None,
        window: int = 2000,
        paired: bool = True,
        n_tokens: int = 30,
        seed: int = 0,
    ) -> None:
        self.n_latent = n_latent
        self.max_epochs = max_epochs
        self.window = window
        self.paired = paired
        self.n_tokens = n_tokens
        self.seed = seed

    def fit(self, mdata: MuData, *, tokenizer: Tokenizer | None = None, tokens: Tokens | None = None) -> GLUE:
        """Learn from raw counts.

        Parameters
        ----------
        mdata
            Satisfies the contract; no cell needs to have two modalities.
        tokenizer, tokens
            A fitted tokenizer (its recipes and features are used), and its tokens of exactly these cells.

        Raises
        ------
        MissingDependency
            If scglue is not installed.
        InputError
            For a MuData that breaks the contract, one modality, a modality without counts or with fewer than 40 cells,
            or no link between the features of modalities.
        """
        bring("scglue")
        super().fit(mdata, tokenizer=tokenizer, tokens=tokens)
        return self

    def _fit(self, mdata: MuData, tokens: Tokens) -> None:
        kinds = only_counts("GLUE", self.tokenizer_)
        few = [f"'{m}' ({len(rows)})" for m, rows in tokens.rows.items() if len(rows) < MIN_CELLS]
        if few:
            raise InputError(
                f"GLUE.fit: at least {MIN_CELLS} cells of each modality are needed, found {', '.join(few)}: scglue "
                "stops early by a random tenth, which must hold them all. Fix: give more cells, or leave it out."
            )
        links = guide(mdata, kinds, self.window)
        self.features_ = _decoded(links, self.tokenizer_.features_, kinds)
        key = {mod: f"m{i}" for i, mod in enumerate(sorted(kinds))}
        edges, self.n_links_ = [], {}
        for (a, b), (i, j) in links.items():
            kept = np.isin(i, self.features_[a]) & np.isin(j, self.features_[b])
            self.n_links_[f"{a}-{b}"] = int(kept.sum())
            edges += [(f"{key[a]}:{x}", f"{key[b]}:{y}") for x, y in zip(i[kept], j[kept], strict=True)]
        adatas = {}
        for mod, name in key.items():
            rows = tokens.rows[mod]
            x = raw(self.tokenizer_, mdata, mod, self.features_[mod]).x
            order = np.argsort(rows)
            obs = pd.DataFrame({"batch": tokens.batch[rows[order]]}, index=[f"{r:09d}" for r in rows[order]])
            adata = ad.AnnData(x[order].astype(np.float32), obs)
            adata.var_names = [f"{name}:{j}" for j in self.features_[mod]]
            adata.obsm["X_tokens"] = tokens.values[mod][order].astype(np.float32)
            adatas[name] = adata
        several = np.bincount(np.concatenate(list(tokens.rows.values()))).max() > 1
        paired = self.paired and bool(several)
        networks = _train(adatas, edges, self.n_latent, self.max_epochs, paired, self.seed)
        self.encoders_ = {mod: networks[name] for mod, name in key.items()}
        if not all(np.isfinite(w).all() for layers in networks.values() for w in layers.values()):
            raise InputError("GLUE.fit: the network became NaN in training. Fix: drop cells with very few counts.")

    def _compute(self, tokens: Tokens) -> np.ndarray:
        out = np.zeros((tokens.n_obs, self.n_latent))
        for block in blocks(tokens):
            parts = [_forward(self.encoders_[m], tokens.values[m][block.rows[m]]) for m in block.pattern]
            if parts:
                out[block.obs] = np.mean(parts, axis=0)
        return out


def _decoded(links: Links, tokens: dict[str, np.ndarray], kinds: dict[str, str]) -> dict[str, np.ndarray]:
    """Choose the features to decode: those that make tokens and those linked to them; of ATAC, linked ones alone."""
    linked: dict[str, list[np.ndarray]] = {m: [] for m in kinds}
    for (a, b), (i, j) in links.items():
        linked[a].append(i[np.isin(j, tokens[b])])
        linked[b].append(j[np.isin(i, tokens[a])])
    out = {}
    for mod, kind in kinds.items():
        found = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *linked[mod]]))
        out[mod] = found if kind == "atac" and len(found) > 1 else np.union1d(tokens[mod], found)
    return out


def _train(
    adatas: dict[str, ad.AnnData],
    edges: list[tuple[str, str]],
    n_latent: int,
    max_epochs: int | None,
    paired: bool,
    seed: int,
) -> dict[str, dict[str, np.ndarray]]:
    """Run scglue; gives the weights of the encoder of each modality."""
    scglue, networkx = bring("scglue"), bring("networkx")
    models = scglue.models
    config = {"GRAPH_SHUFFLE_NUM_WORKERS": 0, "ARRAY_SHUFFLE_NUM_WORKERS": 0, "DATALOADER_NUM_WORKERS": 0}
    before = {name: getattr(scglue.config, name) for name in config}
    graph = networkx.MultiDiGraph()
    nodes = [v for adata in adatas.values() for v in adata.var_names]
    for a, b in [*edges, *((b, a) for a, b in edges), *((v, v) for v in nodes)]:
        graph.add_edge(a, b, weight=1.0, sign=1)
    with tempfile.TemporaryDirectory() as folder, tamed(seed):
        try:
            for name, value in config.items():
                setattr(scglue.config, name, value)
            for adata in adatas.values():
                models.configure_dataset(
                    adata,
                    "NB",
                    use_highly_variable=False,
                    use_rep="X_tokens",
                    use_batch="batch",
                    use_obs_names=paired,
                )
            for skip_balance in (False, True):  # its balancing weights may be 0 / 0
                model = models.fit_SCGLUE(
                    adatas,
                    graph,
                    model=models.PairedSCGLUEModel if paired else models.SCGLUEModel,
                    skip_balance=skip_balance,
                    init_kws={"latent_dim": n_latent, "random_seed": seed},
                    fit_kws={"directory": f"{folder}/{skip_balance}", **_schedule(adatas, max_epochs)},
                )
                if all(bool(w.isfinite().all()) for w in model.net.state_dict().values()):
                    break
                for adata in adatas.values():
                    adata.uns[scglue.config.ANNDATA_KEY]["use_dsc_weight"] = None
        finally:
            for name, value in before.items():
                setattr(scglue.config, name, value)
    return {k: {n: _array(w) for n, w in model.net.x2u[k].state_dict().items()} for k in adatas}


def _array(weight: Any) -> np.ndarray:
    return weight.detach().cpu().numpy().astype(np.float64)


def _schedule(adatas: dict[str, ad.AnnData], max_epochs: int | None) -> dict[str, int]:
    """Epochs, burn-in and patience in the proportions of scglue: 48, 8, 4 and 2 divided by learning rate and steps."""
    n_obs = len(set().union(*(adata.obs_names for adata in adatas.values())))
    rule = int(np.ceil(48 / 2e-3 / (n_obs * 0.9 / 128)))
    n = max_epochs or min(max(rule, 48), MAX_EPOCHS)
    return {
        "max_epochs": n,
        "align_burnin": max(1, n // 6),
        "patience": max(2, n // 12),
        "reduce_lr_patience": max(1, n // 24),
    }


def _forward(layers: dict[str, np.ndarray], x_nd: np.ndarray) -> np.ndarray:
    """Run an encoder of scglue: linear layers, leaky rectifiers and batch normalisation; gives the posterior mean."""
    depth = sum(name.startswith("linear_") and name.endswith("weight") for name in layers)
    for i in range(depth):
        x_nd = x_nd @ layers[f"linear_{i}.weight"].T + layers[f"linear_{i}.bias"]
        x_nd = np.where(x_nd > 0, x_nd, LEAK * x_nd)
        spread = np.sqrt(layers[f"bn_{i}.running_var"] + 1e-5)
        x_nd = (x_nd - layers[f"bn_{i}.running_mean"]) / spread * layers[f"bn_{i}.weight"] + layers[f"bn_{i}.bias"]
    return x_nd @ layers["loc.weight"].T + layers["loc.bias"]
