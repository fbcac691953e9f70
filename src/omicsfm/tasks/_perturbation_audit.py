"""Look for what training could have known of the effects that are asked about."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from omicsfm import contract
from omicsfm.pp import ResponseData, response_data
from omicsfm.pp._response_data import DESIGN
from omicsfm.tasks import _perturbation_folds as folds
from omicsfm.tasks._perturbation_screen import RNA, Cells
from omicsfm.tasks._splits import row_hashes
from omicsfm.tasks._task import Finding, Split


def chosen_genes(effects: np.ndarray, genes: pd.Index, n_genes: int | None) -> pd.Index:
    """Choose genes from training effects (n, n_genes): those that move at all, or the `n_genes` that move most."""
    size = np.sqrt(np.mean(np.square(effects), axis=0))
    order = np.argsort(-size, kind="stable")[:n_genes]
    return genes[np.sort(order[size[order] > 1e-9])]


def audit(kind: str, split: Split, plain: folds.Plain, n_genes: int | None) -> list[Finding]:
    """Give one finding per way in which an answer reaches training."""
    truth = split.truth
    found = [*_names(kind, split, plain), _question(split.query), _genes(split, n_genes)]
    cells: Cells | None = truth["cells"]
    if cells is None:
        return found
    train: MuData = split.train
    names = train.obs_names
    held, controls = truth["held_out"], cells.truth_control
    unknown = int(contract.perturbations(train)["perturbation"].isna().sum())
    return [
        *found,
        _none("held-out cells in training", names.isin(cells.names[held]).sum()),
        _none("controls of the truth in training", names.isin(cells.names[controls]).sum()),
        _none("cells of unknown perturbation in training", unknown),
        _duplicates(train, cells.hashes[held | controls]),
        *_guides(kind, split, plain),
    ]


def design_of(train: MuData | ResponseData) -> pd.DataFrame:
    """List what was done in training, without controls."""
    table = train.design if isinstance(train, ResponseData) else contract.perturbations(train)
    table = table[table["perturbation"].notna() & (table["perturbation"] != contract.CONTROL)]
    return table[DESIGN].drop_duplicates().reset_index(drop=True)


def _names(kind: str, split: Split, plain: folds.Plain) -> list[Finding]:
    seen = design_of(split.train)
    tell = folds.reveals(kind, seen, split.query, plain)
    words = ", ".join(f"{p} in {c}" for p, c in zip(seen["perturbation"][tell], seen["context"][tell], strict=True))
    out = [Finding("rows of training that give the answer away", words or "0", not tell.any())]
    if kind == folds.COMBINATION:
        told = np.asarray(split.truth["n_seen"])
        wrong = int((folds.n_seen(split.query, seen, plain) != told).sum())
        out.append(_none("combinations with other members in training than stated", wrong))
    return out


def _question(query: pd.DataFrame) -> Finding:
    more = sorted(set(query.columns) - set(DESIGN))
    return Finding("columns of the question beyond the design", ", ".join(more) or "0", not more)


def _genes(split: Split, n_genes: int | None) -> Finding:
    data = split.train if isinstance(split.train, ResponseData) else response_data(split.train)
    own = chosen_genes(data.effects.to_numpy(dtype=np.float64), data.effects.columns.astype(str), n_genes)
    differ = len(own.symmetric_difference(split.truth["genes"]))
    return _none("genes of the score that training alone would not choose", differ)


def _duplicates(train: MuData, hashes: np.ndarray) -> Finding:
    theirs = set(hashes.tolist()) - {b""}
    mine = row_hashes(train.mod[RNA].X)
    count = sum(h in theirs for h in mine)
    # A handful of near-empty cells agree by chance; copied cells agree everywhere.
    return Finding(
        "the same measurement in training and in the truth", f"{count} of {len(mine)}", count <= 1 + 0.01 * len(theirs)
    )


def _guides(kind: str, split: Split, plain: folds.Plain) -> list[Finding]:
    """Look for cells of training whose strongest guide is one of the held-out targets, whatever obs says of them."""
    mod = contract.guide_modality(split.train)
    if kind != folds.TARGET or mod is None:
        return []
    guides = split.train.mod[mod]
    named = guides.var["target"] if "target" in guides.var else guides.var_names.str.removeprefix("guide:")
    held = frozenset().union(*folds.parts_of(split.query, plain))
    theirs = np.array([bool({plain(p) for p in contract.members(str(name))} & held) for name in named])
    strongest = np.asarray(guides.X.argmax(axis=1)).ravel()
    largest = guides.X.max(axis=1)
    carries = (largest.toarray() if sparse.issparse(largest) else np.asarray(largest)).ravel() > 0
    return [_none("cells of training with a guide of a held-out target", int((theirs[strongest] & carries).sum()))]


def _none(check: str, count: Any) -> Finding:
    return Finding(check, str(int(count)), int(count) == 0)
