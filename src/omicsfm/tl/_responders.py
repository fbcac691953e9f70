"""Which of the perturbed cells respond: a guide in a cell is no proof of an effect in it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse, stats

from omicsfm import _compat, contract
from omicsfm.tl._screen_contrasts import UNIT, Screen, read_screen

N_FOLDS, MIN_CELLS, LEVEL = 5, 20, 0.05
_CLEAR = 2.0  # |z| below which a gene has no part in a direction
RESPONDER, SILENT, UNKNOWN = "responder", "non-responder", "not measurable"


def responders(
    mdata: MuData, *, modality: str = "rna", min_genes: int = 5, key_added: str = "responder", seed: int = 0
) -> pd.DataFrame:
    """Tell responding from non-responding cells within each perturbation and context.

    The score of a cell is its projection on the difference of perturbed and control cells, in units of that difference
    (0: like a control, 1: like a mean perturbed cell). The difference, and the genes that make it, are learnt in the
    other four fifths of the cells, never with the cell itself: else every cell would lean toward its own group.
    Perturbed scores are then a mixture of two Gaussians, one of which is held to the mean and spread of those of
    controls.

    Writes ``obs[key_added]`` ("responder", "non-responder", "not measurable", "control"; NaN: no perturbation) and
    ``obs[key_added + "_probability"]`` (of being a responder; NaN except in what is measurable).

    Parameters
    ----------
    mdata
        As for :func:`perturbation_effects`. Cells are compared with the controls of their context that their
        perturbation is compared with there.
    modality
        Whose features.
    min_genes
        Genes that must differ from control (q < 0.05), without which a perturbation is not judged; mixscape's 5.
    key_added
        Name of the column.
    seed
        Seed of the folds.

    Returns
    -------
    DataFrame
        A row per perturbation, context and dose: perturbation, context, dose (only where there is one), n_cells,
        n_genes (that differ from control, q < 0.05), share (of responders), separation (of the Gaussians, in standard
        deviations of the controls), measurable, why. Not measurable are perturbations with fewer than 20 cells or
        controls, with fewer than `min_genes` such genes, or whose held-out scores are no higher than those of controls.

    References
    ----------
    Papalexi et al. (2021), Nat. Genet. 53:322 (mixscape).
    """
    screen = read_screen(mdata, modality=modality, caller="responders")
    rng = np.random.default_rng(seed)
    call = np.full(mdata.n_obs, np.nan, dtype=object)
    probability = np.full(mdata.n_obs, np.nan)
    is_control = (screen.moments.design["perturbation"] == contract.CONTROL).to_numpy()
    call[screen.rows[is_control[screen.code]]] = contract.CONTROL
    rows = []
    for unit in range(len(screen.contrasts.design)):
        own, row = _judge(screen, unit, min_genes, rng)
        cells = screen.cells_of(unit)[0]
        call[screen.rows[cells]] = UNKNOWN if own is None else np.where(own > 0.5, RESPONDER, SILENT)
        if own is not None:
            probability[screen.rows[cells]] = own
        rows.append(row)
    left = contract.perturbations(mdata)["perturbation"].notna().to_numpy() & pd.isna(call)
    left[np.setdiff1d(np.arange(mdata.n_obs), contract.rows(mdata, modality))] = False
    call[left] = UNKNOWN
    with _compat.silent():
        if mdata.is_view:
            mdata.uns = dict(mdata.uns)  # makes the view a MuData of its own
        mdata.obs[key_added] = pd.Categorical(call)
        mdata.obs[f"{key_added}_probability"] = probability
    contract.record(mdata, "responders", modality=modality, seed=seed, columns=[key_added])
    lost = screen.contrasts.without_control.assign(
        n_genes=0, share=np.nan, separation=np.nan, measurable=False, why="no controls in its context"
    )
    table = pd.concat([pd.DataFrame(rows), lost], ignore_index=True) if len(lost) else pd.DataFrame(rows)
    return table.drop(columns="dose") if table["dose"].isna().all() else table


def _judge(
    screen: Screen, unit: int, min_genes: int, rng: np.random.Generator
) -> tuple[np.ndarray | None, dict[str, object]]:
    """Give the probability of a response per perturbed cell of a unit (None: not measurable), and its row."""
    perturbed, control = screen.cells_of(unit)
    row: dict[str, object] = {**screen.contrasts.design.iloc[unit][UNIT].to_dict(), "n_cells": len(perturbed)}
    row |= {"n_genes": 0, "share": np.nan, "separation": np.nan, "measurable": False}
    if min(len(perturbed), len(control)) < MIN_CELLS:
        return None, row | {"why": f"fewer than {MIN_CELLS} cells or controls"}
    x = screen.x[np.concatenate([perturbed, control])]
    is_perturbed = np.arange(x.shape[0]) < len(perturbed)
    *_, z, _ = _moments(x, is_perturbed)
    p = 2 * stats.t.sf(np.abs(z), x.shape[0] - 2)
    row["n_genes"] = n_genes = int((stats.false_discovery_control(p) < LEVEL).sum())
    if n_genes < min_genes:
        return None, row | {"why": f"fewer than {min_genes} genes differ from control"}
    score = cross_scores(x, is_perturbed, rng)
    a, b = score[is_perturbed], score[~is_perturbed]
    if not np.isfinite(score).all() or stats.mannwhitneyu(a, b, alternative="greater").pvalue > LEVEL / 10:
        return None, row | {"why": "held-out cells do not differ from control"}
    probability, separation = mixture(a, b)
    found = {"share": float((probability > 0.5).mean()), "separation": separation, "measurable": True}
    return probability, row | found | {"why": "measurable"}


def cross_scores(x: sparse.csr_matrix | np.ndarray, is_perturbed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Project cells (n, n_genes) on perturbed minus control, as learnt without them. Returns (n,)."""
    fold = np.empty(len(is_perturbed), dtype=np.intp)
    for group in (is_perturbed, ~is_perturbed):
        fold[group] = rng.permutation(int(group.sum())) % N_FOLDS
    score = np.full(len(is_perturbed), np.nan)
    for k in range(N_FOLDS):
        learn, held = fold != k, fold == k
        delta, var, z, base = _moments(x[learn], is_perturbed[learn])
        # A gene counts for as much as it differs beyond its noise, per its variance: a diagonal discriminant.
        direction = np.where(np.abs(z) > _CLEAR, delta * (1 - (_CLEAR / np.maximum(np.abs(z), _CLEAR)) ** 2), 0)
        direction = np.divide(direction, var, out=np.zeros_like(var), where=var > 0)
        length = float(direction @ delta)
        if length > 0:
            score[held] = (np.asarray(x[held] @ direction).ravel() - base @ direction) / length
    return score


def mixture(perturbed: np.ndarray, control: np.ndarray) -> tuple[np.ndarray, float]:
    """Split perturbed scores into those of control cells and others.

    Returns
    -------
    Probability of a response per perturbed cell, which never falls as the score rises, and the distance of the two
    means in standard deviations of the controls.
    """
    at, sd = float(control.mean()), float(control.std(ddof=1))
    mean, spread, share = float(np.quantile(perturbed, 0.75)), sd, 0.5
    for _ in range(500):
        before = share, mean
        prob = _posterior(perturbed, share, mean, spread, at, sd)
        share = float(np.clip(prob.mean(), 1e-3, 1 - 1e-3))
        mean = max(float((prob * perturbed).sum() / prob.sum()), at + 1e-9)
        spread = max(float(np.sqrt((prob * (perturbed - mean) ** 2).sum() / prob.sum())), 0.3 * sd)
        if max(abs(share - before[0]), abs(mean - before[1]) / sd) < 1e-5:
            break
    prob = _posterior(perturbed, share, mean, spread, at, sd)
    # A wide responding component would take the cells far below the controls too.
    order = np.argsort(perturbed)
    low = int(prob[order].argmin())
    prob[order[:low]] = prob[order[low]]
    prob[order] = np.maximum.accumulate(prob[order])
    return prob, (mean - at) / sd


def _moments(x: sparse.csr_matrix | np.ndarray, is_perturbed: np.ndarray) -> tuple[np.ndarray, ...]:
    """Difference of means, pooled variance, z (Student's) and mean of controls, (n_genes,) each."""
    mean, square = [], 0.0
    for group in (is_perturbed, ~is_perturbed):
        part = x[group]
        mean.append(np.asarray(part.mean(axis=0)).ravel())
        squares = part.multiply(part) if sparse.issparse(part) else part**2
        square = square + np.asarray(squares.sum(axis=0)).ravel() - part.shape[0] * mean[-1] ** 2
    n = int(is_perturbed.sum()), int((~is_perturbed).sum())
    var = np.maximum(square, 0) / (sum(n) - 2)
    delta, se = mean[0] - mean[1], np.sqrt(var * (1 / n[0] + 1 / n[1]))
    return delta, var, np.divide(delta, se, out=np.zeros_like(se), where=se > 0), mean[1]


def _posterior(x: np.ndarray, share: float, mean: float, spread: float, at: float, sd: float) -> np.ndarray:
    log_odds = stats.norm.logpdf(x, mean, spread) - stats.norm.logpdf(x, at, sd) + np.log(share / (1 - share))
    return 1 / (1 + np.exp(-np.clip(log_odds, -500, 500)))
