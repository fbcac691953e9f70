"""The batch step: offsets of each batch within cell states, so that a difference in composition is not removed.

Centring each batch takes away what differs between batches, cell-type proportions included. Here cells are assigned
softly to states in a first, uncorrected latent space, and within each state a batch's offset is estimated by ridge
regression, in token space and per modality (the correction step of Harmony: Korsunsky et al. 2019, Nat. Methods
16:1289). New cells of a known batch get its offsets; a batch never seen gets none.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from omicsfm import hub
from omicsfm.models._cells import Block, blocks, positions
from omicsfm.models._factor import FactorModel, Moments, fit_factors
from omicsfm.models._landmarks import FIT_ROWS, squared_distance
from omicsfm.pp import Tokens

MAX_STATES = 25
CELLS_PER_STATE = 30
N_ROUNDS, N_INNER = 5, 5
DIVERSITY = 2.0  # the default of Harmony
OFFSET_RIDGE = 20.0  # cells' worth of evidence against an offset


@hub.state
@dataclass(frozen=True)
class BatchAligner:
    """Fitted offsets; calling it on a block gives its tokens with the batch offsets taken away.

    Attributes
    ----------
    factors : the uncorrected model in whose latent space states are found (None: one modality, its tokens serve).
    centre_bck, width : states as each batch has them, and the softness of their assignment.
    offset : modality -> (n_batches, n_states, n_tokens).
    batches : names of the batches seen; empty where there was only one, and then nothing is done.
    """

    factors: FactorModel | None
    centre_bck: np.ndarray
    width: float
    offset: dict[str, np.ndarray]
    batches: list[str]

    @classmethod
    def fit(cls, tokens: Tokens, *, n_latent: int, ridge: float, seed: int) -> BatchAligner:
        """Find states over all batches, then each batch's offset in each state."""
        names, code = np.unique(tokens.batch, return_inverse=True)
        if len(names) < 2:
            return cls(None, np.zeros((0, 0, 0)), 1.0, {}, [])
        factors = None
        if len(tokens.values) > 1:
            moments = Moments({m: x.shape[1] for m, x in tokens.values.items()})
            for block in blocks(tokens):
                if block.pattern:
                    moments.update(block.pattern, stack(tokens, block))
            factors = fit_factors(moments, n_latent=n_latent, ridge=ridge, max_iter=20)
        rng = np.random.default_rng(seed)
        sample = np.sort(rng.permutation(tokens.n_obs)[:FIT_ROWS])
        parts = [(_state(factors, tokens, b), code[b.obs]) for b in blocks(tokens, obs=sample) if b.pattern]
        z_nk, batch_n = np.vstack([z for z, _ in parts]), np.concatenate([b for _, b in parts])
        centre_bck, width = _matched_states(z_nk, batch_n, len(names), seed=seed)
        draft = cls(factors, centre_bck, width, {}, [str(n) for n in names])
        return cls(factors, centre_bck, width, draft._offsets(tokens, code), draft.batches)

    def states(self, tokens: Tokens, block: Block) -> np.ndarray:
        """Give the soft assignment (n, n_states) of a block of cells, each to the states as its batch has them."""
        code = self._codes(tokens, block)
        z_nk = _state(self.factors, tokens, block)
        weight = np.empty((len(z_nk), self.centre_bck.shape[1]))
        for i in np.unique(code):
            centre_ck = self.centre_bck.mean(axis=0) if i < 0 else self.centre_bck[i]
            weight[code == i] = softmax(-squared_distance(z_nk[code == i], centre_ck) / self.width, axis=1)
        return weight

    def __call__(self, tokens: Tokens, block: Block) -> dict[str, np.ndarray]:
        """Give the corrected tokens of a block, modality -> (n, n_tokens), float64."""
        out = {m: tokens.values[m][block.rows[m]].astype(np.float64) for m in block.pattern}
        if not self.batches:
            return out
        code = self._codes(tokens, block)
        weight_nc = self.states(tokens, block)
        for i in np.unique(code[code >= 0]):
            for m in block.pattern:
                out[m][code == i] -= weight_nc[code == i] @ self.offset[m][i]
        return out

    def _codes(self, tokens: Tokens, block: Block) -> np.ndarray:
        return positions(self.batches, tokens.batch[block.obs])

    def _offsets(self, tokens: Tokens, code: np.ndarray) -> dict[str, np.ndarray]:
        n_batches, n_states = self.centre_bck.shape[:2]
        count = {m: np.zeros((n_batches, n_states)) for m in tokens.values}
        total = {m: np.zeros((n_batches, n_states, x.shape[1])) for m, x in tokens.values.items()}
        for block in blocks(tokens):
            if not block.pattern:
                continue
            weight_nc = self.states(tokens, block)
            for i in np.unique(code[block.obs]):
                here = code[block.obs] == i
                for m in block.pattern:
                    count[m][i] += weight_nc[here].sum(axis=0)
                    total[m][i] += weight_nc[here].T @ tokens.values[m][block.rows[m][here]]
        return {m: ridge_offsets(count[m], total[m]) for m in tokens.values}


def _matched_states(z_nk: np.ndarray, batch_n: np.ndarray, n_batches: int, *, seed: int) -> tuple[np.ndarray, float]:
    """Find states that batches share, also where a shift keeps the batches apart.

    Clustering and correction alternate; a state that one batch fills beyond its share draws fewer of that batch's
    cells (the diversity penalty of Harmony), until corrected cells of all batches meet.

    Returns
    -------
    centres as each batch has them, uncorrected (b, c, k), and the mean squared distance of a cell to its state.
    """
    n_states = int(np.clip(len(z_nk) // CELLS_PER_STATE, 1, MAX_STATES))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # identical cells: fewer states than asked, no harm
        found = KMeans(n_states, n_init=3, random_state=seed).fit(z_nk)
    centre_ck, width = found.cluster_centers_, float(found.inertia_ / len(z_nk)) or 1.0
    one_hot = np.eye(n_batches)[batch_n]
    corrected, penalty_bc = z_nk, np.zeros((n_batches, n_states))
    offset_bck = np.zeros((n_batches, *centre_ck.shape))
    for _ in range(N_ROUNDS):
        for _ in range(N_INNER):
            weight = softmax(-squared_distance(corrected, centre_ck) / width - penalty_bc[batch_n], axis=1)
            count_bc = one_hot.T @ weight
            expected_bc = np.outer(one_hot.sum(axis=0), count_bc.sum(axis=0)) / len(z_nk)
            # Half a step: a full one would swap the batches of two states back and forth.
            penalty_bc = (penalty_bc + DIVERSITY * np.log((count_bc + 1) / (expected_bc + 1))) / 2
            centre_ck = weight.T @ corrected / np.maximum(weight.sum(axis=0), 1e-8)[:, None]
        total_bck = np.stack([weight[batch_n == b].T @ z_nk[batch_n == b] for b in range(n_batches)])
        offset_bck = ridge_offsets(count_bc, total_bck)
        corrected = z_nk - np.einsum("nc,nck->nk", weight, offset_bck[batch_n])
    return centre_ck + offset_bck, width


def ridge_offsets(count_bc: np.ndarray, total_bcd: np.ndarray) -> np.ndarray:
    """Solve, in every state, tokens ~ free intercept + penalised offset per batch; gives the offsets (b, c, d)."""
    n_batches, n_states = count_bc.shape
    offset = np.zeros_like(total_bcd)
    for c in range(n_states):
        if count_bc[:, c].sum() < 1e-8:
            continue
        gram = np.zeros((n_batches + 1, n_batches + 1))
        gram[0, 0] = count_bc[:, c].sum()
        gram[0, 1:] = gram[1:, 0] = count_bc[:, c]
        gram[1:, 1:] = np.diag(count_bc[:, c] + OFFSET_RIDGE)
        right = np.vstack([total_bcd[:, c].sum(axis=0), total_bcd[:, c]])
        offset[:, c] = np.linalg.solve(gram, right)[1:]
    return offset


def stack(tokens: Tokens, block: Block) -> np.ndarray:
    """Tokens of a block side by side, in the order of its pattern."""
    return np.hstack([tokens.values[m][block.rows[m]].astype(np.float64) for m in block.pattern])


def _state(factors: FactorModel | None, tokens: Tokens, block: Block) -> np.ndarray:
    if factors is None:
        return stack(tokens, block)
    gain, offset, _ = factors.posterior(block.pattern)
    return stack(tokens, block) @ gain + offset
