"""How data are cut for a question: what is taken away, from whom."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from scipy import sparse

from omicsfm import _compat, contract, io
from omicsfm._errors import InputError
from omicsfm.tasks._task import Finding


def donors(mdata: MuData) -> np.ndarray:
    """Give the split unit of every cell: the donor where `setup` was told, else the batch; text."""
    key = contract.keys(mdata).donor
    return (contract.batches(mdata) if key is None else mdata.obs[key]).astype(str).to_numpy().astype(str)


def paired_donors(mdata: MuData) -> list[str]:
    """Donors in which some cells were measured in more than one modality, sorted."""
    several = contract.modality_mask(mdata).to_numpy().sum(axis=1) > 1
    return sorted(set(donors(mdata)[several]))


def need_donors(task: str, found: list[str]) -> None:
    """Refuse a data set in which nothing can be held out and still learnt."""
    if len(found) < 2:
        raise InputError(
            f"{task}: at least 2 donors with the answer are needed, to hold one out; found {len(found)}. "
            "Fix: ofm.setup(mdata, donor_key=... or batch_key=...) with the column that names donors."
        )


def hide_labels(mdata: MuData, hidden: np.ndarray) -> MuData:
    """Copy with the labels of some cells taken away."""
    out = contract.subset(mdata, np.ones(mdata.n_obs, dtype=bool))
    key = contract.keys(out).label
    if key is not None:
        out.obs[key] = contract.labels(out).where(~hidden)
        for adata in out.mod.values():
            if key in adata.obs.columns:
                del adata.obs[key]
    return out


def pseudo_cells(mdata: MuData, cells: np.ndarray) -> tuple[MuData, dict[str, list[str]]]:
    """Cut cells (bool over obs) into one pseudo-cell per modality, so that nothing tells which belong together.

    Returns
    -------
    The MuData, and per modality the names of the pseudo-cells, cells in one order.
    """
    mods, parts, names = {}, [pd.DataFrame(mdata.obs)[~cells]], {}
    chosen = mdata.obs_names[cells]
    for m, adata in mdata.mod.items():
        own = cells[contract.rows(mdata, m)]
        rename = {name: f"{name}:{m}" for name in adata.obs_names[own]}
        copy = adata.copy()
        copy.obs_names = [rename.get(name, name) for name in adata.obs_names]
        mods[m] = copy
        names[m] = [f"{name}:{m}" for name in chosen if name in rename]
        mine = pd.DataFrame(mdata.obs).loc[[name for name in chosen if name in rename]]
        parts.append(mine.set_axis(names[m], axis=0))
    return _rebuilt(mdata, mods, pd.concat(parts)), names


def _rebuilt(mdata: MuData, mods: dict[str, AnnData], obs: pd.DataFrame) -> MuData:
    out = _compat.make_mudata(mods, obs, uns=dict(mdata.uns))
    contract.setup(out)  # the mask anew, with the keys and recipes that stand in uns
    return out


def row_hashes(x_ng: Any) -> list[bytes]:
    """Hash every row of a matrix, by position and value of what is stored."""
    out = []
    for block in io.blocks(x_ng):
        block = sparse.csr_matrix(block)
        block.eliminate_zeros()
        for i in range(block.shape[0]):
            span = slice(block.indptr[i], block.indptr[i + 1])
            out.append(hashlib.blake2b(block.indices[span].tobytes() + block.data[span].tobytes()).digest())
    return out


def duplicates(train: MuData, query: MuData, known: np.ndarray) -> Finding:
    """Count query cells whose measurement equals that of a training cell that carries the answer (bool over obs)."""
    count, total = 0, 0
    for m in query.mod:
        if m not in train.mod:
            continue
        rows = np.flatnonzero(known[contract.rows(train, m)])
        seen = set(row_hashes(train.mod[m].X[rows])) if len(rows) else set()
        mine = row_hashes(query.mod[m].X)
        count += sum(h in seen for h in mine)
        total += len(mine)
    # A handful of near-empty cells agree by chance; a copied data set agrees everywhere.
    return Finding(
        "the same measurement in training and in the question", f"{count} of {total}", count <= max(1, 0.01 * total)
    )


def shared_names(train: MuData, query: MuData, known: np.ndarray) -> Finding:
    """Count query cells that are training cells with the answer."""
    count = len(set(train.obs_names[known]) & set(query.obs_names))
    return Finding("cells of the question whose answer is in training", str(count), count == 0)
