"""MultiSpectral: multi-view spectral embedding by SnapATAC2, under the contract of this package."""

from __future__ import annotations

import anndata as ad
import numpy as np
from mudata import MuData
from scipy import sparse
from scipy.optimize import nnls

from omicsfm._errors import InputError
from omicsfm.models._cells import Block, blocks, row_of
from omicsfm.models.baselines._base import Embedder
from omicsfm.models.baselines._views import Views, block_of
from omicsfm.models.baselines._wnn import cross_distance
from omicsfm.models.external._peers import bring, complete_cells, only_counts, raw, tamed
from omicsfm.pp import Tokenizer, Tokens

MIN_CELLS = 10
BLOCK_ROWS = 1024


class MultiSpectral(Embedder):
    """Laplacian eigenmaps of several views by ``snapatac2.tl.multi_spectral`` (extra ``peers``).

    RNA and guides enter log-normalised, proteins as log1p of counts, ATAC as counts, over the features that make our
    tokens; SnapATAC2 weighs features by inverse document frequency and modalities by the norm of their kernels. What
    makes no non-negative similarity (methylation, continuous values) is refused; a feature outside a cell's panel is
    taken for zero.

    SnapATAC2 can do neither of two things. It learns from cells with all modalities alone: the others are left out of
    `fit`. And it places no cell that it was not trained on: here a cell with all modalities, seen or new, is placed by
    the Nystroem formula of its very kernel, which gives a training cell the state that SnapATAC2 gave it; a cell that
    lacks modalities takes the mean state of its nearest complete training cells in the tokens of those that it has.

    Kept from you besides: it seeds NumPy's global generator, configures Python's root logger when it is imported, turns
    a cell without counts into NaN (such cells count as lacking a modality here), gives fewer components than asked
    where eigenvalues are not positive (zeros here), and keeps to itself the norms that weigh modalities (on more than
    2,000 cells, of a sample), which are recovered from its first eigenvector. No ``save``: it is cheap to fit again.

    Parameters
    ----------
    n_components
        Number of eigenvectors, the first of which holds the degree of the cells.
    weights
        Modality -> weight; None, or a modality left out: 1.
    n_neighbors
        Cells whose mean places one that lacks modalities.
    n_tokens
        Tokens per modality, in which these are found.
    seed
        Seed of everything random.

    Attributes
    ----------
    states_ : (n_complete, n_components), of the cells with all modalities.
    mixing_ : modality -> share in the kernel.
    features_, idf_ : modality -> positions of features, and their weights.

    References
    ----------
    Zhang et al. (2024), Nat. Methods 21:217.
    """

    save = None  # type: ignore[assignment]

    def __init__(
        self,
        n_components: int = 30,
        *,
        weights: dict[str, float] | None = None,
        n_neighbors: int = 20,
        n_tokens: int = 30,
        seed: int = 0,
    ) -> None:
        self.n_components = n_components
        self.weights = weights
        self.n_neighbors = n_neighbors
        self.n_tokens = n_tokens
        self.seed = seed

    def fit(self, mdata: MuData, *, tokenizer: Tokenizer | None = None, tokens: Tokens | None = None) -> MultiSpectral:
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
            If snapatac2 is not installed.
        InputError
            For a MuData that breaks the contract, a modality without counts, weights of no modality or below zero, or
            fewer than 10 cells with all modalities.
        """
        bring("snapatac2")
        super().fit(mdata, tokenizer=tokenizer, tokens=tokens)
        return self

    def embed(self, mdata: MuData) -> np.ndarray:
        """Give the state of any cells, seen or new, measured in any subset of the modalities.

        Returns
        -------
        float64 array (n_obs, n_components), rows as ``mdata.obs_names``; 0 for a cell that nothing is known of.
        """
        tokens = self._tokens(mdata)
        return self._place(tokens, self._inputs(mdata, tokens))

    def _fit(self, mdata: MuData, tokens: Tokens) -> None:
        self.kinds_ = only_counts("MultiSpectral", self.tokenizer_)
        mods = sorted(tokens.values)
        weights = self.weights or {}
        if not set(weights) <= set(mods) or not all(w > 0 for w in weights.values()):
            raise InputError(
                f"MultiSpectral.fit: weights above 0 of the modalities {', '.join(mods)} are needed, found {weights}. "
                "Fix: name only these."
            )
        self.features_ = {m: self.tokenizer_.features_[m] for m in mods}
        inputs = self._inputs(mdata, tokens)
        cells = complete_cells("MultiSpectral", tokens, at_least=MIN_CELLS)
        full = np.all(
            [np.diff(inputs[m].indptr)[row_of(tokens.rows[m], tokens.n_obs)[cells]] > 0 for m in mods], axis=0
        )
        cells = cells[full]
        views = {m: inputs[m][row_of(tokens.rows[m], tokens.n_obs)[cells]] for m in mods}
        k = min(self.n_components, len(cells) - 2)
        with tamed():
            value, vector = bring("snapatac2").tl.multi_spectral(
                [ad.AnnData(views[m]) for m in mods],
                n_comps=k,
                features=None,
                weights=[float(weights.get(m, 1.0)) for m in mods],
                random_state=self.seed,
                weighted_by_sd=False,
            )
        self.idf_ = {m: _idf(views[m]) for m in mods}
        self._prepare(views, np.asarray(value, dtype=np.float64), np.asarray(vector, dtype=np.float64))
        self.views_ = Views.fit(tokens)
        block = block_of(tokens, cells, tuple(mods))
        self.reference_ = {m: self.views_.one(tokens, block, m) for m in mods}

    def _prepare(self, views: dict[str, sparse.csr_matrix], value: np.ndarray, vector: np.ndarray) -> None:
        """Keep what the Nystroem formula needs: the kernel's mixing, degrees and projections."""
        value = np.maximum(value, 0)
        unit = {m: _unit(x, self.idf_[m]) for m, x in views.items()}
        total = {m: np.asarray(y.sum(axis=0)).ravel() for m, y in unit.items()}
        # The first eigenvector is the root of the degrees, and they are the mixing of those of the modalities.
        degree = np.stack([y @ total[m] - 1 for m, y in unit.items()], axis=1)
        share, _ = nnls(degree, vector[:, 0] ** 2 * degree.sum())
        self.mixing_ = {m: float(s) for m, s in zip(unit, share / share.sum(), strict=True)}
        self.total_ = {m: self.mixing_[m] * total[m] for m in unit}
        root = np.sqrt(np.maximum(sum(y @ self.total_[m] for m, y in unit.items()) - 1, 1e-12))
        self.values_ = value
        self.projection_ = {m: self.mixing_[m] * (y.T @ (vector / root[:, None])) for m, y in unit.items()}
        # How large a state may be: a new cell alike to nothing would be divided by nothing.
        self.least_degree_ = float((root**2).min())
        missing = self.n_components - len(value)
        self.states_ = np.pad(vector * np.sqrt(value), ((0, 0), (0, max(missing, 0))))

    def _inputs(self, mdata: MuData, tokens: Tokens) -> dict[str, sparse.csr_matrix]:
        """Non-negative values of each modality, on the scale that enters the kernel."""
        out = {}
        for m in tokens.values:
            x = raw(self.tokenizer_, mdata, m, self.features_[m]).x
            if self.kinds_[m] in ("rna", "guide"):
                total = np.asarray(x.sum(axis=1)).ravel()
                x = sparse.csr_matrix(sparse.diags_array(1e4 / np.maximum(total, 1e-12)) @ x)
            if self.kinds_[m] != "atac":
                x = x.log1p()
            x.sort_indices()
            out[m] = x
        return out

    def _place(self, tokens: Tokens, inputs: dict[str, sparse.csr_matrix]) -> np.ndarray:
        out = np.zeros((tokens.n_obs, self.states_.shape[1]))
        for block in blocks(tokens, n_rows=BLOCK_ROWS):
            if not block.pattern:
                continue
            out[block.obs] = self._nearest(tokens, block)
            if len(block.pattern) == len(self.features_):
                x = {m: inputs[m][block.rows[m]] for m in block.pattern}
                full = np.all([np.diff(v.indptr) > 0 for v in x.values()], axis=0)
                out[block.obs[full]] = self._nystroem({m: v[full] for m, v in x.items()})
        return out

    def _nystroem(self, x: dict[str, sparse.csr_matrix]) -> np.ndarray:
        unit = {m: _unit(v, self.idf_[m]) for m, v in x.items()}
        # The cell itself is left out of its degree and row, as in training: a training cell lands on its own state.
        degree = np.maximum(sum(y @ self.total_[m] for m, y in unit.items()) - 1, self.least_degree_)
        row = sum(y @ self.projection_[m] for m, y in unit.items())
        vector = row / (np.sqrt(degree)[:, None] * np.maximum(self.values_ + 1 / degree[:, None], 1e-12))
        out = np.zeros((len(degree), self.states_.shape[1]))
        out[:, : len(self.values_)] = vector * np.sqrt(self.values_)
        return out

    def _nearest(self, tokens: Tokens, block: Block) -> np.ndarray:
        x = np.hstack([self.views_.one(tokens, block, m) for m in block.pattern])
        distance = cross_distance(x, np.hstack([self.reference_[m] for m in block.pattern]))
        near = np.argsort(distance, axis=1, kind="stable")[:, : self.n_neighbors]
        return self.states_[near].mean(axis=1)


def _idf(x: sparse.csr_matrix) -> np.ndarray:
    """Inverse document frequency as SnapATAC2 2.9 has it."""
    n = x.shape[0]
    count = np.bincount(x.indices, minlength=x.shape[1]).astype(np.float64)
    if (count == count[0]).all():
        return np.ones(len(count))
    count[count == n] = n - 1
    return np.log(n / np.maximum(count, 1))


def _unit(x: sparse.csr_matrix, idf: np.ndarray) -> sparse.csr_matrix:
    """Weigh features and scale rows to length 1."""
    y = sparse.csr_matrix(x @ sparse.diags_array(idf))
    norm = np.sqrt(np.asarray(y.multiply(y).sum(axis=1)).ravel())
    return sparse.csr_matrix(sparse.diags_array(1 / np.maximum(norm, 1e-12)) @ y)
