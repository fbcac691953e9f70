"""MuonWNN: muon's own graph of weighted nearest neighbours, under the contract of this package."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse
from scipy.sparse.linalg import eigsh

from omicsfm import _compat, hub
from omicsfm.models.baselines._views import Views, block_of
from omicsfm.models.baselines._wnn import Reference
from omicsfm.models.baselines.wnn import WNN
from omicsfm.models.external._peers import bring, complete_cells, names_of, tamed
from omicsfm.pp import Tokenizer, Tokens

MIN_CELLS = 25  # muon's bandwidth wants 20 neighbours


@hub.saveable
class MuonWNN(WNN):
    """Weighted nearest neighbours by ``muon.pp.neighbors``, and the leading diffusion components of its graph.

    Each modality enters by the tokens of this package, which are what muon's tutorial computes: principal components
    of log-normalised variable genes and of centred log-ratios of proteins, and LSI of ATAC, without rescaling genes.

    muon gives a graph alone, of cells with all modalities alone: the others are left out of `fit`; no embedding, and no
    place for a new cell. Both are made here as in our `WNN`: diffusion components of the graph are the state, and any
    cell, seen or new, takes the mean state of its neighbours, over the modalities that it has. So this differs from
    `WNN` in whose graph it is, and only there.

    Kept from you besides: muon prints and warns of what its own dependencies deprecate, seeds NumPy's global generator,
    fails below 201 cells with its default number of candidates (fewer are used then), and compiles for half a minute
    when it is first called in a process.

    Parameters
    ----------
    n_components
        Number of diffusion components.
    n_neighbors
        Neighbours in each modality and in the graph.
    n_candidates
        Nearest cells per modality among which neighbours in the graph are sought.
    n_tokens
        Tokens per modality.
    seed
        Seed of everything random.

    Attributes
    ----------
    views_ : centre and scale of each modality.
    reference_ : the cells with all modalities.
    states_ : (n_reference, n_components).
    weights_ : modality -> (n_reference,) what muon gave each cell.

    References
    ----------
    Bredikhin et al. (2022), Genome Biol. 23:42; Hao et al. (2021), Cell 184:3573.
    """

    def fit(self, mdata: MuData, *, tokenizer: Tokenizer | None = None, tokens: Tokens | None = None) -> MuonWNN:
        """Learn from raw counts.

        Parameters
        ----------
        mdata
            Satisfies the contract.
        tokenizer, tokens
            A fitted tokenizer, and its tokens of exactly these cells.

        Raises
        ------
        InputError
            For a MuData that breaks the contract, or fewer than 25 cells with all modalities.
        """
        super().fit(mdata, tokenizer=tokenizer, tokens=tokens)
        return self

    def _fit(self, mdata: MuData, tokens: Tokens) -> None:
        mods = tuple(sorted(tokens.values))
        cells = complete_cells("MuonWNN", tokens, at_least=MIN_CELLS)
        self.views_ = Views.fit(tokens)
        block = block_of(tokens, cells, mods)
        x = {m: self.views_.one(tokens, block, m) for m in mods}
        n = len(cells)
        self.reference_ = Reference.fit(x, min(self.n_neighbors, n - 1))
        graph, self.weights_ = _muon_graph(x, self.n_neighbors, self.n_candidates, self.seed)
        root = np.sqrt(np.maximum(graph.sum(axis=1), 1e-12))
        walk = sparse.diags_array(1 / root) @ graph @ sparse.diags_array(1 / root)
        k = min(self.n_components, n - 2)
        # k + 1: the first is the same for all cells.
        value, vector = eigsh(walk, k=k + 1, which="LA", v0=np.random.default_rng(self.seed).random(n))
        state = vector[:, np.argsort(-value)[1:]] / root[:, None]
        state *= np.sign(state[np.abs(state).argmax(axis=0), np.arange(k)])
        self.states_ = state / np.maximum(state.std(axis=0), 1e-12)


def _muon_graph(
    x: dict[str, np.ndarray], n_neighbors: int, n_candidates: int, seed: int
) -> tuple[sparse.csr_array, dict[str, np.ndarray]]:
    """Run muon on modality -> (n, d); gives its symmetric graph, and each cell's weight of each modality."""
    muon, scanpy = bring("muon"), bring("scanpy")
    n = len(next(iter(x.values())))
    with tamed(seed):
        adatas: dict[str, ad.AnnData] = {}
        for mod, x_nd in x.items():
            # A name of our own: muon splits names of columns at colons.
            adata = ad.AnnData(sparse.csr_matrix((n, 1)), obs=pd.DataFrame(index=names_of(n)))
            adata.obsm["X_tokens"] = x_nd
            scanpy.pp.neighbors(adata, n_neighbors=min(n_neighbors, n - 1), use_rep="X_tokens", random_state=seed)
            adatas[f"m{len(adatas)}"] = adata
            adata.var_names = [mod]
        joint = _compat.make_mudata(adatas)
        muon.pp.neighbors(
            joint,
            n_neighbors=min(n_neighbors, n - 2),
            n_bandwidth_neighbors=min(20, n - 1),
            n_multineighbors=min(n_candidates, n - 2),
            key_added="wnn",
            weight_key="weight",
            random_state=seed,
        )
        order = joint.obs_names.get_indexer(names_of(n))
        weights = {m: joint.obs[f"m{i}:weight"].to_numpy(dtype=np.float64)[order] for i, m in enumerate(x)}
        graph = sparse.csr_array(joint.obsp["wnn_connectivities"])[order][:, order]
    return graph, weights
