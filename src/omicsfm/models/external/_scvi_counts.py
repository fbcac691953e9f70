"""Raw counts for scvi-tools: padded as it wants them, with a record of what is padding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from mudata import MuData
from scipy import sparse

from omicsfm import contract
from omicsfm.pp import Tokenizer

BLOCK_ROWS = 512  # dense


@dataclass(frozen=True)
class Counts:
    """Raw counts of cells, padded as scvi-tools wants them.

    Attributes
    ----------
    values : kind of modality -> CSR float32 (n_obs, n_features); a cell without the modality is an empty row.
    seen : kind -> bool (n_obs,), measured and with a count among these features. Only this says what is padding.
    batch : str array (n_obs,).
    """

    values: dict[str, sparse.csr_matrix]
    seen: dict[str, np.ndarray]
    batch: np.ndarray

    def take(self, cells: np.ndarray) -> Counts:
        """Give some of the cells."""
        return Counts(
            {kind: x[cells] for kind, x in self.values.items()},
            {kind: seen[cells] for kind, seen in self.seen.items()},
            self.batch[cells],
        )

    def without(self, hidden: str | None) -> Counts:
        """Give the same cells as if one kind of modality had not been measured (None: as they are)."""
        if hidden is None:
            return self
        empty = sparse.csr_matrix(self.values[hidden].shape, dtype=np.float32)
        unseen = np.zeros(len(self.batch), dtype=bool)
        return Counts({**self.values, hidden: empty}, {**self.seen, hidden: unseen}, self.batch)


@dataclass(frozen=True)
class Training:
    """What one training run is given: the cells that can be placed, and which of them are held out.

    Attributes
    ----------
    counts : of those cells.
    cells : (n,) their positions in ``mdata.obs_names``.
    train, held : positions among them.
    """

    counts: Counts
    cells: np.ndarray
    train: np.ndarray
    held: np.ndarray


def read_counts(
    tokenizer: Tokenizer, mdata: MuData, modalities: dict[str, str], features: dict[str, np.ndarray]
) -> Counts:
    """Read cells, in the order of ``mdata.obs_names``, with features matched by name (one that is absent: zeros).

    Parameters
    ----------
    modalities, features
        Kind -> name of the modality, and positions of the features wanted among those of training.
    """
    key = tokenizer.batch_key_
    here = key is not None and key in mdata.obs.columns
    batch = mdata.obs[key].astype(str).to_numpy().astype(str) if here else np.full(mdata.n_obs, "")
    values = {}
    for kind, chosen in features.items():
        mod = modalities[kind]
        parts, row_of = [], np.full(mdata.n_obs, -1)
        if mod in mdata.mod:
            row_of[contract.rows(mdata, mod)] = np.arange(mdata.mod[mod].n_obs)
            parts = [
                _counts(x[:, chosen], None if measured is None else measured[:, chosen])
                for _, x, measured in tokenizer.aligned(mdata, mod)
            ]
        padding = sparse.csr_matrix((1, len(chosen)), dtype=np.float32)  # the last row, which -1 takes
        values[kind] = sparse.csr_matrix(sparse.vstack([*parts, padding]))[row_of]
    return Counts(values, {kind: np.diff(x.indptr) > 0 for kind, x in values.items()}, batch)


def spans(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Cut positions into pieces that may be made dense."""
    for start in range(0, len(rows), BLOCK_ROWS):
        yield rows[start : start + BLOCK_ROWS]


def _counts(x_ng: Any, measured_ng: np.ndarray | None) -> sparse.csr_matrix:
    out = sparse.csr_matrix(x_ng, dtype=np.float32)
    if measured_ng is not None:
        out.data = np.nan_to_num(out.data)  # NaN stands where nothing was measured
        out = sparse.csr_matrix(out.multiply(measured_ng))
    out.eliminate_zeros()
    return out
