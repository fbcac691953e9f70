"""A fold of a screen as a split: what is learnt from, what is asked, and the truth about it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from mudata import MuData

from omicsfm import contract, pp
from omicsfm.pp import ResponseData
from omicsfm.pp._response_data import DESIGN
from omicsfm.tasks import _perturbation_folds as folds
from omicsfm.tasks._perturbation_audit import chosen_genes
from omicsfm.tasks._perturbation_screen import RNA, Screen
from omicsfm.tasks._task import Split

_OWN = "context of a replicate"


def make_split(screen: Screen, fold: folds.Fold, plain: folds.Plain, n_genes: int | None) -> Split:
    """Give the split of a fold. Genes, mean response and targets to leave out come from training and the design alone.

    The truth holds the attributes of :class:`Observed` for the asked rows, `genes`, `n_seen`, the duplicate with its
    standard error and the half it is compared with (None without cells), and what the audit needs.
    """
    design, asked = screen.design, np.flatnonzero(fold.asked)
    known = ~fold.hidden & np.isfinite(screen.shift).all(axis=1)
    genes = chosen_genes(screen.shift[known], screen.genes, n_genes)
    kept = screen.genes.get_indexer(genes)

    def rows(table: np.ndarray | None) -> np.ndarray | None:
        return None if table is None else table[np.ix_(asked, kept)]

    # Training controls cancel in a difference to the mean response of their own context only; in one without any, they
    # would put their noise into truth and duplicate alike.
    own = design["context"].isin(design["context"][known]).to_numpy()[asked][:, None]

    def cancelled(shift: np.ndarray | None, effect: np.ndarray | None) -> np.ndarray | None:
        return None if shift is None or effect is None else np.where(own, shift, effect)

    targets = frozenset().union(*folds.parts_of(design, plain))
    query = design.iloc[asked][DESIGN].reset_index(drop=True)
    cells = screen.cells
    truth = {
        "genes": genes,
        "context": query["context"].to_numpy(dtype=str),
        "effect": rows(screen.effect),
        "shift": cancelled(rows(screen.shift), rows(screen.effect)),
        "se": rows(screen.se),
        "baseline": _mean_response(screen, known, query["context"])[:, kept],
        "exclude": np.array([plain(gene) in targets for gene in genes]),
        "n_seen": folds.n_seen(query, design[~fold.hidden], plain),
        "duplicate": rows(screen.duplicate),
        "duplicate_se": rows(screen.duplicate_se),
        "half": rows(screen.half),
        "half_shift": cancelled(rows(screen.half_shift), rows(screen.half)),
        "cells": cells,
        "held_out": None if cells is None else (cells.row >= 0) & fold.hidden[cells.row],
    }
    return Split(fold.unit, screen.train(fold.hidden), query, truth)


def effects_of_rows(mdata: MuData) -> ResponseData:
    """Take the rows of data without a control as effects; several of one perturbation and context are averaged."""
    found = pp.group_moments(mdata, modality=RNA)
    return ResponseData(
        effects=pd.DataFrame(found.mean, columns=found.genes), design=found.design, priors=pp.priors_of(mdata)
    )


def groups_of_targets(
    groups: int | Mapping[str, str] | None, priors: Mapping[str, pd.DataFrame], design: pd.DataFrame, plain: folds.Plain
) -> dict[str, str] | None:
    """Give the group of each target under its plain name, from a mapping or by clustering the priors."""
    if groups is None:
        return None
    if isinstance(groups, Mapping):
        return {plain(target): str(group) for target, group in groups.items()}
    singles = {t for part in folds.parts_of(design, plain) if len(part) == 1 for t in part}
    return folds.prior_groups(priors, sorted(singles), plain, groups)


def with_contexts_of_replicates(mdata: MuData) -> MuData:
    """Copy in which a perturbation acts in the cells of a context and replicate, such as a cell type of a donor."""
    out = contract.subset(mdata, np.ones(mdata.n_obs, dtype=bool))
    who = contract.perturbations(out)
    known = who[["context", "replicate"]].notna().all(axis=1)
    out.obs[_OWN] = pd.Series(
        [
            folds.context_of_donor(str(context), str(name)) if ok else None
            for context, name, ok in zip(who["context"], who["replicate"], known, strict=True)
        ],
        index=out.obs_names,
        dtype=object,
    )
    contract.setup(out, context_key=_OWN)
    return out


def _mean_response(screen: Screen, known: np.ndarray, contexts: pd.Series) -> np.ndarray:
    """Mean training effect of each context, of all contexts where it has none, (len(contexts), n_genes)."""
    where = screen.design["context"].to_numpy(dtype=str)
    everywhere = screen.shift[known].mean(axis=0)
    own = {c: screen.shift[known & (where == c)].mean(axis=0) for c in set(where[known])}
    return np.stack([own.get(str(c), everywhere) for c in contexts])
