"""Mixing of batches in the state: a small network that moves cells of known batches, kept only if it earns it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from omicsfm import hub, metrics
from omicsfm.models._cells import positions
from omicsfm.models._correction._earned import Earned, interval
from omicsfm.models._correction._options import Options
from omicsfm.models._factor import Pattern

if TYPE_CHECKING:
    from omicsfm.models._correction._mixing_net import MixingNet

WEIGHTS = (0.25, 0.5, 0.75, 1.0)
MAX_CELLS = 10_000  # that are trained on, and as many that are asked
MIN_CELLS = 60
N_PARTS = 4
K_MIXING, K_STATE = 90, 15
MAX_MATCH = 2000
MIN_GAIN = 0.005  # in iLISI: neighbours share neighbours, so that the interval is narrower than it looks
TOLERANCE = 0.005  # of neighbours of the same state that mixing may cost


@hub.state
@dataclass(frozen=True)
class Mixing:
    """Trained network, as arrays.

    Attributes
    ----------
    batches : names of those it knows; cells of others stay where they are.
    centre_k, unit : of the state, before the network.
    weights : parameters of the network.
    """

    batches: list[str]
    centre_k: np.ndarray
    unit: float
    weights: dict[str, np.ndarray]

    def __call__(self, state_nk: np.ndarray, batch_n: np.ndarray) -> np.ndarray:
        """Give the shift (n, k) of states of cells of the named batches (n,)."""
        import torch

        code = positions(self.batches, batch_n)
        known = code >= 0
        shift = np.zeros_like(state_nk)
        if known.any():
            x = torch.from_numpy(((state_nk[known] - self.centre_k) / self.unit).astype(np.float32))
            with torch.no_grad():
                shift[known] = self._net(x, torch.from_numpy(code[known])).double().numpy() * self.unit
        return shift

    @cached_property
    def _net(self) -> MixingNet:
        import torch

        from omicsfm.models._correction._mixing_net import MixingNet

        net = MixingNet(len(self.centre_k), len(self.batches))
        net.load_state_dict({name: torch.from_numpy(np.array(w)) for name, w in self.weights.items()})
        return net.eval()


@dataclass(frozen=True)
class View:
    """Cells read from one set of modalities, so that like is compared with like.

    Attributes
    ----------
    pattern : the modalities.
    cell : (n,) positions of the cells.
    state_nk, batch_n : their states and batches.
    weight_nc : their soft assignment to states that the batches share: within these the batches shall mix, and
        neighbours shall stay of one state.
    """

    pattern: Pattern
    cell: np.ndarray
    state_nk: np.ndarray
    batch_n: np.ndarray
    weight_nc: np.ndarray

    @classmethod
    def stacked(cls, parts: list[View]) -> View:
        """Give all cells of several blocks."""
        names = ("cell", "state_nk", "batch_n", "weight_nc")
        return cls(parts[0].pattern, *(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def part(self, rows: np.ndarray) -> View:
        """Give some of the cells."""
        return View(self.pattern, self.cell[rows], self.state_nk[rows], self.batch_n[rows], self.weight_nc[rows])

    def several(self) -> bool:
        """Tell whether at least two batches have enough cells."""
        count = np.sort(np.unique(self.batch_n, return_counts=True)[1])
        return len(count) > 1 and bool(count[-2] >= MIN_CELLS)


def fit_mixing(views: list[View], *, options: Options) -> tuple[Mixing | None, Earned | None]:
    """Train without each part of the cells in turn, weigh on that part, and train on all cells if it earned."""
    rng = np.random.default_rng(options.seed)
    views = [v.part(np.sort(rng.permutation(len(v.cell))[: 2 * MAX_CELLS])) for v in views]
    views = [v for v in views if v.several()]
    if not views:
        return None, None
    part = rng.permutation(1 + max(int(v.cell.max()) for v in views)) % N_PARTS  # a cell's views stay together
    around: dict[float, list[np.ndarray]] = {weight: [] for weight in (0.0, *WEIGHTS)}
    apart: dict[float, list[np.ndarray]] = {weight: [np.zeros(0)] for weight in (0.0, *WEIGHTS)}
    for i in range(N_PARTS):
        mixing = _train([v.part(part[v.cell] != i) for v in views], options, f"mixing, part {i + 1}")
        asked = [v.part(part[v.cell] == i) for v in views]
        shift = [mixing(v.state_nk, v.batch_n) for v in asked]
        for weight in around:
            moved = [v.state_nk + weight * s for v, s in zip(asked, shift, strict=True)]
            around[weight] += [_look(v, x) for v, x in zip(asked, moved, strict=True)]
            apart[weight] += _halves(asked, moved)
    rows = [
        _weigh(np.hstack(around[0.0]), np.hstack(around[w]), np.hstack(apart[w]) - np.hstack(apart[0.0]), w)
        for w in WEIGHTS
    ]
    best = max(rows, key=lambda row: (row.weight > 0, row.gain))
    return (_train(views, options, "mixing") if best.weight else None), best


def _look(view: View, state_nk: np.ndarray) -> np.ndarray:
    """Mixing of batches around every cell, and the share of its neighbours of its own state, (2, n)."""
    near = metrics.neighbors(state_nk, max(1, min(K_MIXING, len(state_nk) // 3)))
    kind = view.weight_nc.argmax(axis=1)
    same = (kind[near.first(min(K_STATE, near.indices.shape[1])).indices] == kind[:, None]).mean(axis=1)
    return np.vstack([metrics.ilisi(near, view.batch_n), same])


def _halves(views: list[View], moved: list[np.ndarray]) -> list[np.ndarray]:
    """Tell how far apart the views of a cell that share no modality lie: FOSCTTM, for every two such views."""
    out = []
    for (a, x), (b, y) in combinations(list(zip(views, moved, strict=True)), 2):
        if set(a.pattern) & set(b.pattern):
            continue
        _, i, j = np.intersect1d(a.cell, b.cell, return_indices=True)
        if len(i) > 1:
            out.append(metrics.foscttm(x[i[:MAX_MATCH]], y[j[:MAX_MATCH]]))
    return out


def _weigh(before: np.ndarray, after: np.ndarray, parted: np.ndarray, weight: float) -> Earned:
    gain, half = interval(after[0] - before[0])
    change, spread = interval(after[1] - before[1])
    # More mixing is no gain where neighbours are no longer of one state, or the halves of a cell lie farther apart.
    earned = gain > max(half, MIN_GAIN) and change + spread > -TOLERANCE and (len(parted) == 0 or parted.mean() <= 0)
    scores = float(before[0].mean()), float(after[0].mean())
    return Earned("batches", "", "", len(before[0]), *scores, gain, gain - half, gain + half, weight if earned else 0.0)


def _train(views: list[View], options: Options, words: str) -> Mixing:
    from omicsfm.models._correction._mixing_net import train_mixing  # imports torch and Lightning

    names = [str(b) for b in np.unique(np.concatenate([v.batch_n for v in views]))]
    state = np.vstack([v.state_nk for v in views])
    centre = state.mean(axis=0)
    unit = float(((state - centre) ** 2).sum(axis=1).mean() ** 0.5) or 1.0
    data = []
    for view in views:
        code = positions(names, view.batch_n)
        x = ((view.state_nk - centre) / unit).astype(np.float32)
        data.append((x, code, _balance(view.weight_nc, code)))
    return Mixing(names, centre, unit, train_mixing(data, len(names), options, words))


def _balance(weight_nc: np.ndarray, code: np.ndarray) -> np.ndarray:
    """Weight of every cell with which each batch has the same share of each state: composition shall not be mixed away.

    Bounded, so that a state that a batch hardly has does not speak through a few cells.
    """
    _, row = np.unique(code, return_inverse=True)
    share_bc = np.stack([weight_nc[row == b].mean(axis=0) for b in range(row.max() + 1)])
    ratio_bc = share_bc.mean(axis=0) / np.maximum(share_bc, 1e-3)
    return np.clip((weight_nc * ratio_bc[row]).sum(axis=1), 0.2, 5.0).astype(np.float32)
