"""What a stack takes from its members before it judges them: of some cells one modality each, of some the label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from mudata import MuData

from omicsfm import contract

MIN_HELD = 30  # cells, of which each loses one modality
MIN_TARGET = 10  # of them for one modality
MAX_HELD = 4000
MAX_TRAIN = 50_000  # cells that members see while they are judged
MIN_LEFT = 0.6  # share of the paired batches that must stay whole
MIN_LINKS = 0.5  # share of the cells that link two modalities that must stay


@dataclass(frozen=True)
class HeldOut:
    """What members did not see while they were judged, as positions in obs.

    Attributes
    ----------
    train : what they saw instead.
    lost : modality -> cells that had it taken away and keep another; no cell loses two.
    unlabelled : cells whose label was hidden.
    by_batch : whether whole batches lost their modality.
    """

    train: MuData
    lost: dict[str, np.ndarray]
    unlabelled: np.ndarray
    by_batch: bool

    @property
    def cells(self) -> np.ndarray:
        """All cells that lost a modality, sorted."""
        return np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *self.lost.values()]))


def mask_of(mdata: MuData) -> dict[str, np.ndarray]:
    """Give who was measured in what: modality -> bool (n_obs,)."""
    table = contract.modality_mask(mdata)
    return {str(mod): table[mod].to_numpy() for mod in table.columns}


def chosen(cells: np.ndarray, n_obs: int) -> np.ndarray:
    """Positions to a bool array (n_obs,)."""
    out = np.zeros(n_obs, dtype=bool)
    out[cells] = True
    return out


def hold_out(mdata: MuData, *, n_folds: int, seed: int, labels: bool) -> HeldOut:
    """Take one modality from about one paired cell in `n_folds`, and the label of as many labelled ones.

    Whole batches lose a modality where enough batches have pairs, and every feature and every link between modalities
    stays measured; else cells at random. With too few pairs (or labels) nothing is taken away.
    """
    rng = np.random.default_rng(seed)
    has = mask_of(mdata)
    lost: dict[str, np.ndarray] = {}
    by_batch = False
    paired = np.sum(list(has.values()), axis=0) > 1
    if paired.sum() >= 2 * MIN_HELD:
        whole = _whole_batches(mdata, has, paired, n_folds, rng)
        by_batch = whole is not None
        lost = whole if whole is not None else _random_cells(has, paired, n_folds, rng)
    hidden = np.zeros(0, dtype=np.int64)
    if labels:
        known = np.flatnonzero(contract.labels(mdata).notna().to_numpy())
        n = min(max(len(known) // n_folds, MIN_HELD), MAX_HELD)
        hidden = np.sort(rng.permutation(known)[:n]) if len(known) >= 2 * MIN_HELD else hidden
    n_obs = mdata.n_obs
    seen = np.ones(n_obs, dtype=bool)
    asked = np.concatenate([hidden, *lost.values()])
    if n_obs > MAX_TRAIN:
        seen = chosen(rng.permutation(n_obs)[:MAX_TRAIN], n_obs) | chosen(asked, n_obs)
    left = {m: cells & seen & ~chosen(lost.get(m, hidden[:0]), n_obs) for m, cells in has.items()}
    train = contract.select(mdata, left, unlabelled=chosen(hidden, n_obs)) if len(asked) else mdata
    return HeldOut(train, lost, hidden, by_batch)


def _random_cells(
    has: Mapping[str, np.ndarray], paired: np.ndarray, n_folds: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    cells = rng.permutation(np.flatnonzero(paired))
    cells = cells[: min(max(len(cells) // n_folds, MIN_HELD), MAX_HELD)]
    table = np.array([has[m][cells] for m in has])
    # The modalities of a cell take turns, so that each loses about as many cells as the others.
    turn = np.arange(len(cells)) % table.sum(axis=0)
    which = ((np.cumsum(table, axis=0) == turn + 1) & table).argmax(axis=0)
    return {m: np.sort(cells[which == j]) for j, m in enumerate(has)}


def _whole_batches(
    mdata: MuData, has: Mapping[str, np.ndarray], paired: np.ndarray, n_folds: int, rng: np.random.Generator
) -> dict[str, np.ndarray] | None:
    batch = contract.batches(mdata).astype(str).to_numpy()
    found, count = np.unique(batch[paired], return_counts=True)
    names = [str(b) for b in rng.permutation(found[count >= MIN_TARGET])]
    n_each = -(-len(names) // (n_folds * len(has)))
    if n_each * len(has) > (1 - MIN_LEFT) * len(names):
        return None
    lost = {}
    for mod, cells in has.items():
        mine = [b for b in names if (cells & paired & (batch == b)).sum() >= MIN_TARGET][:n_each]
        lost[mod] = np.flatnonzero(cells & paired & np.isin(batch, mine))
        names = [b for b in names if b not in mine]
        measured = contract.measured(mdata, mod)
        if measured is not None:
            stays = ~chosen(lost[mod], mdata.n_obs)[contract.rows(mdata, mod)]
            if (measured.any(axis=0) & ~measured[stays].any(axis=0)).any():
                return None
    before = np.array(list(has.values()), dtype=np.float64)
    after = np.array([has[m] & ~chosen(lost[m], mdata.n_obs) for m in has], dtype=np.float64)
    if (after @ after.T < MIN_LINKS * (before @ before.T)).any():
        return None
    return lost
