"""What GEARS is given: cells as graphs, and its two graphs of genes."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from omicsfm import contract
from omicsfm._optional import require
from omicsfm.models.external._peers import bring

COMMAND = "pip install 'cell-gears>=0.1.2' 'torch-geometric>=2.6'"
CONTROL = "ctrl"  # as GEARS calls it
N_LINKS = 20  # of a gene in either graph, besides the one to itself
LEAST_JACCARD, LEAST_CORRELATION = 0.1, 0.4
N_JUDGED = 20  # genes by which GEARS chooses among its epochs
BLOCK_ROWS = 1024


class Graphs:
    """Cells as GEARS wants them, each made when asked for; a perturbed cell is paired with a random control cell."""

    def __init__(
        self, x: np.ndarray, names: np.ndarray, targets: pd.Index, effects: pd.DataFrame, rng: np.random.Generator
    ) -> None:
        self.x, self.names = x, names
        is_control = names == CONTROL
        control = np.flatnonzero(is_control)
        self.start = np.where(is_control, np.arange(len(names)), rng.choice(control, len(names)))
        order = np.argsort(-np.abs(effects.to_numpy()), axis=1, kind="stable")[:, :N_JUDGED]
        self.judged = dict(zip(effects.index, order.tolist(), strict=True)) | {CONTROL: [-1] * order.shape[1]}
        self.members = {name: targets.get_indexer(list(contract.members(name))).tolist() for name in effects.index}
        self.members[CONTROL] = [-1]
        self.rows = np.arange(len(names))
        self.make = bring("torch_geometric.data", command=COMMAND).Data
        self.tensor = require("torch", extra="peers").from_numpy

    def of(self, rows: np.ndarray) -> Graphs:
        """Give some of them."""
        out = copy(self)
        out.rows = rows
        return out

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Any:
        row = self.rows[i]
        name = self.names[row]
        return self.make(
            x=self.tensor(self.x[self.start[row]][:, None]),
            y=self.tensor(self.x[row][None]),
            pert_idx=self.members[name],
            de_idx=self.judged[name],
            pert=name,
        )


def go_graph(targets: pd.Index, annotation: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Link genes that share direct GO terms, by the Jaccard index of their terms.

    Returns
    -------
    (2, n_links) int64 positions, from and to, and (n_links,) float32. An annotated gene is linked to itself.
    """
    table = pd.read_csv(annotation, usecols=["symbol", "go_id"], dtype=str).drop_duplicates()
    table = table[table["symbol"].isin(targets)]
    terms, names = pd.factorize(table["go_id"])
    place = (targets.get_indexer(table["symbol"]), terms)
    has = sparse.csr_matrix((np.ones(len(table), dtype=np.float32), place), shape=(len(targets), len(names)))
    n = has.getnnz(axis=1)

    def jaccard(rows: slice) -> np.ndarray:
        shared = (has[rows] @ has.T).toarray()
        return shared / np.maximum(n[rows, None] + n[None] - shared, 1)

    return _strongest(jaccard, len(targets), LEAST_JACCARD)


def correlation_graph(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Link genes (columns) whose expression correlates, by the size of Pearson's r; as :func:`go_graph`."""
    centred = x - x.mean(axis=0, dtype=np.float64)
    norm = np.linalg.norm(centred, axis=0)
    unit = centred / np.where(norm > 0, norm, 1)
    return _strongest(lambda rows: np.abs(unit[:, rows].T @ unit), x.shape[1], LEAST_CORRELATION)


def _strongest(likeness: Callable[[slice], np.ndarray], n: int, above: float) -> tuple[np.ndarray, np.ndarray]:
    """Keep, of the links to each gene, the best ones above a bound."""
    sources, goals, weights = [], [], []
    for start in range(0, n, BLOCK_ROWS):
        values = likeness(slice(start, min(start + BLOCK_ROWS, n)))
        best = np.argsort(-values, axis=1, kind="stable")[:, : N_LINKS + 1]
        value = np.take_along_axis(values, best, axis=1)
        goal, rank = np.nonzero(value > above)
        sources.append(best[goal, rank])
        goals.append(goal + start)
        weights.append(value[goal, rank])
    return np.stack([np.concatenate(sources), np.concatenate(goals)]), np.concatenate(weights).astype(np.float32)
