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
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from omicsfm import hub
from omicsfm.models._cells import Block, blocks
from omicsfm.models._factor import FactorModel, Moments, fit_factors
from omicsfm.models._landmarks import FIT_ROWS, squared_distance
from omicsfm.pp import Tokens

MAX_STATES = 25
CELLS_PER_STATE = 30
OFFSET_RIDGE = 10.0  # cells' worth of evidence against an offset


@hub.state
@dataclass(frozen=True)
class BatchAligner:
    """Fitted offsets; calling it on a block gives its tokens with the batch offsets taken away.

    Attributes
    ----------
    factors : the uncorrected model in whose latent space states are found (None: one modality, its tokens serve).
    centre_ck, width : states and the softness of their assignment.
    offset : modality -> (n_batches, n_states, n_tokens).
    batches : names of the batches seen; empty where there was only one, and then nothing is done.
    """

    factors: FactorModel | None
    centre_ck: np.ndarray
    width: float
    offset: dict[str, np.ndarray]
    batches: list[str]

    @classmethod
    def fit(cls, tokens: Tokens, *, n_latent: int, ridge: float, seed: int) -> BatchAligner:
        """Find states over all batches, then each batch's offset in each state."""
        names, code = np.unique(tokens.batch, return_inverse=True)
        if len(names) < 2:
            return cls(None, np.zeros((0, 0)), 1.0, {}, [])
        factors = None
        if len(tokens.values) > 1:
            moments = Moments({m: x.shape[1] for m, x in tokens.values.items()})
            for block in blocks(tokens):
                if block.pattern:
                    moments.update(block.pattern, stack(tokens, block))
            factors = fit_factors(moments, n_latent=n_latent, ridge=ridge, max_iter=20)
        rng = np.random.default_rng(seed)
        sample = np.sort(rng.permutation(tokens.n_obs)[:FIT_ROWS])
        z_nk = np.vstack([_state(factors, tokens, b) for b in blocks(tokens, obs=sample) if b.pattern])
        n_states = int(np.clip(len(z_nk) // CELLS_PER_STATE, 1, MAX_STATES))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # identical cells: fewer states than asked, no harm
            found = KMeans(n_states, n_init=3, random_state=seed).fit(z_nk)
        width = float(found.inertia_ / len(z_nk)) or 1.0
        draft = cls(factors, found.cluster_centers_, width, {}, [str(n) for n in names])
        return cls(factors, draft.centre_ck, width, draft._offsets(tokens, code), draft.batches)

    def states(self, tokens: Tokens, block: Block) -> np.ndarray:
        """Give the soft assignment (n, n_states) of a block of cells."""
        logit = -squared_distance(_state(self.factors, tokens, block), self.centre_ck) / self.width
        weight = np.exp(logit - logit.max(axis=1, keepdims=True))
        return weight / weight.sum(axis=1, keepdims=True)

    def __call__(self, tokens: Tokens, block: Block) -> dict[str, np.ndarray]:
        """Give the corrected tokens of a block, modality -> (n, n_tokens), float64."""
        out = {m: tokens.values[m][block.rows[m]].astype(np.float64) for m in block.pattern}
        if not self.batches:
            return out
        known = {name: i for i, name in enumerate(self.batches)}
        code = np.array([known.get(name, -1) for name in tokens.batch[block.obs]])
        weight_nc = self.states(tokens, block)
        for i in np.unique(code[code >= 0]):
            for m in block.pattern:
                out[m][code == i] -= weight_nc[code == i] @ self.offset[m][i]
        return out

    def _offsets(self, tokens: Tokens, code: np.ndarray) -> dict[str, np.ndarray]:
        n_batches, n_states = len(self.batches), len(self.centre_ck)
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
        return {m: _ridge_offsets(count[m], total[m]) for m in tokens.values}


def _ridge_offsets(count_bc: np.ndarray, total_bcd: np.ndarray) -> np.ndarray:
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
