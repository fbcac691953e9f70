"""GEARS: genes and combinations never perturbed, by cell-gears, under the contract of this package."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from omicsfm import contract, datasets, hub
from omicsfm._errors import InputError
from omicsfm._optional import require
from omicsfm.models.external._gears import COMMAND, CONTROL, Graphs, correlation_graph, go_graph
from omicsfm.models.external._peers import bring, names_of, tamed
from omicsfm.models.external._response_peers import CellData, CellResponder, array, layers_of, run, without_doses
from omicsfm.pp import ResponseData

GO = "go_human_direct_org.Hs.eg.db_3.16.csv.gz"


@hub.saveable
class GEARS(CellResponder):
    """Graph network over Gene Ontology and co-expression (GEARS), trained by cell-gears; one context.

    Targets are genes. A target never perturbed is predicted from the genes whose GO terms it shares; combinations by
    the sum of their members' embeddings. Two contexts, doses and drugs are not in it.

    What is worked around: cell-gears does not declare torch_geometric, without which it does not import; it downloads
    its gene annotation and GO graph, which here is made of the priors' annotation by its own rule (Jaccard index of
    direct terms above 0.1, the 20 best); it writes folders, keeps every cell as a graph in memory (made here as they
    are asked for), and drops training targets without GO terms (here they keep a node without links). It holds out
    whole perturbations to choose the epoch; here a tenth of the cells, so that none is lost. Its prediction is the mean
    of 300 random control cells with something added that does not depend on the cell: that is the effect, and exact.
    Its co-expression graph is made for one cell and so reaches the first cell of each batch alone, in training and in
    prediction; the effect given here is that of the others.

    Kept from you besides: prints, all torch threads (one here), global seeds, ``warnings.filterwarnings("ignore")``.

    Parameters
    ----------
    max_epochs
        Number of epochs; the learning rate halves after each.
    n_hidden
        Width of embeddings and layers.
    batch_size, lr
        Of training.
    annotation
        Path of a table with columns `symbol`, `go_id`; None: that of ``datasets.fetch("priors")``, human.
    level
        Nominal coverage of the intervals, whose width comes from training perturbations: too narrow for others.
    seed
        Seed of everything random.

    Attributes
    ----------
    targets_ : nodes of the GO graph: training targets, targets that have a prior, and the features.
    known_ : bool (n_targets,): perturbed in training, or linked to another node.
    base_, embedding_ : (n_genes, n_hidden), (n_targets, n_hidden): state of the genes, and what a target adds.
    head_ : name -> layers or arrays that turn their sum into an effect.

    References
    ----------
    Roohani et al. (2024), Nat. Biotechnol. 42:927.
    """

    def __init__(
        self,
        max_epochs: int = 20,
        *,
        n_hidden: int = 64,
        batch_size: int = 32,
        lr: float = 1e-3,
        annotation: str | None = None,
        level: float = 0.9,
        seed: int = 0,
    ) -> None:
        self.max_epochs = max_epochs
        self.n_hidden = n_hidden
        self.batch_size = batch_size
        self.lr = lr
        self.annotation = annotation
        self.level = level
        self.seed = seed

    def _learn(self, data: ResponseData) -> None:
        assert isinstance(data, CellData)
        if len(self.contexts_) > 1:
            raise InputError(
                f"GEARS.fit: GEARS knows one context, found {len(self.contexts_)}. Fix: one model per context."
            )
        gears = _import()
        data = without_doses("GEARS", data)
        trained = {part for name in data.design["perturbation"] for part in contract.members(name)}
        self.targets_ = pd.Index(
            sorted(trained | set(self.genes_) | {t for p in data.priors.values() for t in p.index})
        )
        links, weights = go_graph(self.targets_, self.annotation or datasets.fetch("priors")[GO])
        self.known_ = self.targets_.isin(trained)
        self.known_[links[1][links[0] != links[1]]] = True
        names = data.cells["perturbation"].where(~data.is_control, CONTROL).to_numpy()
        alone = np.array([len(contract.members(name)) < 2 for name in names])
        expressed, strength = correlation_graph(data.x[alone])
        with tamed(self.seed):
            torch = require("torch", extra="peers")
            gears_model = gears.GEARS(self._as_pert_data(data, names), device="cpu")
            gears_model.model_initialize(
                hidden_size=self.n_hidden,
                G_go=torch.tensor(links),
                G_go_weight=torch.tensor(weights),
                G_coexpress=torch.tensor(expressed),
                G_coexpress_weight=torch.tensor(strength),
            )
            gears_model.train(epochs=self.max_epochs, lr=self.lr)
            self._keep(gears_model.best_model.eval())

    def _predict(self, design: pd.DataFrame) -> np.ndarray:
        out = np.zeros((len(design), len(self.genes_)))
        parts = {name: contract.members(name) for name in design["perturbation"].unique()}
        good = set(self.targets_[self.known_])
        unknown = {part for found in parts.values() for part in found} - good
        self._refuse(unknown, "they were not perturbed in training and share no GO terms with the features or targets")
        for name, found in parts.items():
            if found:
                out[(design["perturbation"] == name).to_numpy()] = self._effect(self.targets_.get_indexer(list(found)))
        return out

    def _effect(self, members: np.ndarray) -> np.ndarray:
        """Run the last part of GEARS: what is added to a cell, (n_genes,)."""
        head = self.head_
        state = self.base_ + run(head["fuse"], self.embedding_[members].sum(axis=0)[None])
        state = run(head["decode"], state)
        value = (state * head["w1"]).sum(axis=1) + head["b1"]
        across = run(head["across"], value[None])[0]
        return value * head["w2"][:, 0] + head["w2"][:, 1:] @ across + head["b2"]

    def _keep(self, network: Any) -> None:
        """Take what is the same for every perturbation out of the trained network."""
        torch = require("torch", extra="peers")
        with torch.no_grad():
            genes, targets = (torch.arange(n) for n in (network.num_genes, network.num_perts))
            base = network.emb_trans(network.bn_emb(network.gene_emb(genes)))
            (place,), (similar,) = network.layers_emb_pos, network.sim_layers
            base = base + 0.2 * place.lin(network.emb_pos(genes))  # as for all cells of a batch but the first
            self.base_ = array(network.emb_trans_v2(base))
            self.embedding_ = array(similar(network.pert_emb(targets), network.G_sim, network.G_sim_weight))
        self.head_ = {
            "fuse": layers_of(network.pert_fuse.network),
            "decode": [*layers_of(network.bn_pert_base), {}, *layers_of(network.recovery_w.network)],
            "across": layers_of(network.cross_gene_state.network),
            "w1": array(network.indv_w1)[:, :, 0],
            "b1": array(network.indv_b1)[:, 0],
            "w2": array(network.indv_w2)[0],
            "b2": array(network.indv_b2)[0],
        }

    def _as_pert_data(self, data: CellData, names: np.ndarray) -> Any:
        """Stand in for the ``PertData`` of GEARS, which is built on files."""
        loader = bring("torch_geometric.loader", command=COMMAND).DataLoader
        rng = np.random.default_rng(self.seed)
        effects = data.effects.set_axis(data.design["perturbation"].to_numpy(), axis=0)
        graphs = Graphs(data.x, names, self.targets_, effects, rng)
        perturbed = rng.permutation(np.flatnonzero(~data.is_control))
        held = np.sort(perturbed[: max(len(perturbed) // 10, 1)])
        rest = np.setdiff1d(np.arange(len(names)), held)
        size = min(self.batch_size, len(rest))
        loaders = {
            "train_loader": loader(graphs.of(rest), batch_size=size, shuffle=True, drop_last=True),
            "val_loader": loader(graphs.of(held), batch_size=size),
        }
        obs = pd.DataFrame({"condition": names, "condition_name": names}, index=names_of(len(names)))
        adata = ad.AnnData(data.x, obs=obs)
        adata.uns["non_zeros_gene_idx"] = {
            name: np.flatnonzero(data.x[names == name].any(axis=0)) for name in effects.index
        }
        unused = ["data_path", "dataset_name", "split", "seed", "train_gene_set_size", "set2conditions", "subgroup"]
        return SimpleNamespace(
            dataloader=loaders,
            adata=adata,
            node_map={name: i for i, name in enumerate(self.genes_)},
            node_map_pert={name: i for i, name in enumerate(self.targets_)},
            gene_names=self.genes_.to_series(),
            pert_names=self.targets_.to_numpy(),
            default_pert_graph=False,
            **dict.fromkeys(unused),
        )


def _import() -> Any:
    """Import cell-gears, and give scanpy its verbosity back."""
    settings = require("scanpy", extra="peers").settings
    before = settings.verbosity
    require("torch", extra="peers")  # before it, or its seed would stay
    bring("torch_geometric", command=COMMAND)
    try:
        return bring("gears", command=COMMAND)
    finally:
        settings.verbosity = before
