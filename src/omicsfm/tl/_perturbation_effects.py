"""What each perturbation does to each gene, and how large its effect is, with the error of both."""

from __future__ import annotations

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse, stats

from omicsfm.pp import GroupMoments
from omicsfm.tl._screen_contrasts import UNIT, Screen, make_contrasts, moments_of, need_effects, read_screen
from omicsfm.tl._screen_moderate import squeeze

# Cells that the pooled variance counts for. A few cells without a count have no variance, and every difference would be
# significant; of 5, 20, 50 and all, 50 is nearest to uniform p on splits of control cells (Papalexi, Kang; 10 to 300).
_PRIOR = 50
_ENOUGH = 5  # cells of every group that must have a gene from whose variance others learn
COLUMNS = [*UNIT, "gene", "effect", "se", "p", "q", "n_cells", "n_replicates"]


def perturbation_effects(mdata: MuData, *, modality: str = "rna") -> pd.DataFrame:
    """Estimate the effect of every perturbation in every context on every gene.

    The effect is the difference of mean log1p counts per 10,000 between perturbed and control cells of the same context
    and replicate, averaged over the replicates that hold both with weights n1 n2 / (n1 + n2). Its standard error starts
    from the spread of cells within the groups, each variance drawn toward the pooled one by the weight of 50 cells.
    With two replicates or more it grows by what the replicates disagree beyond that: the ratio of observed to expected
    variance between them, per gene, moderated over genes, never below one. p is by t: the degrees of freedom are those
    of the moderated ratio, or of Welch and Satterthwaite where these are fewer; q is by Benjamini and Hochberg over the
    genes of a perturbation, context and dose.

    Parameters
    ----------
    mdata
        Set up with ``perturbation_key``, ``control``, and context, replicate and dose where there are any.
    modality
        Whose features; what is no RNA count is compared as it is.

    Returns
    -------
    DataFrame
        A row per perturbation, context, dose and gene: perturbation, context, dose (only where there is one), gene,
        effect, se, p, q, n_cells (perturbed cells that were used), n_replicates (1: its error is that of cells, and
        says nothing about other replicates; 0: no replicate holds both, all controls of the context were taken). A gene
        without any spread has p = 1. Perturbations without controls in their context are left out;
        :func:`screen_report` lists them.

    Raises
    ------
    InputError
        If no perturbed cell has controls in its own context.

    References
    ----------
    Smyth (2004), Stat. Appl. Genet. Mol. Biol. 3:3 (moderated variances).
    """
    moments = moments_of(mdata, modality=modality)
    contrasts = make_contrasts(moments.design, moments.n)
    need_effects(contrasts, "perturbation_effects")
    n_genes = len(moments.genes)
    tables = []
    for i, pairs in enumerate(contrasts.pairs):
        row = contrasts.weight[i]
        groups, weight = row.indices, row.data
        effect = weight @ moments.mean[groups]
        var = _drawn(moments.n[groups], moments.var[groups])
        sampling, df = _sampling(moments.n[groups], var, weight)
        if len(pairs) > 1:
            p, c = np.searchsorted(groups, pairs.T)  # of a CSR row the positions ascend
            delta = moments.mean[groups[p]] - moments.mean[groups[c]]
            error = var[p] / moments.n[groups[p], None] + var[c] / moments.n[groups[c], None]
            ratio, extra = squeeze(
                _disagreement(delta, error, weight[p]), len(pairs) - 1, common=_common(moments, groups)
            )
            sampling, df = sampling * np.maximum(ratio, 1), np.minimum(df, extra)
        se = np.sqrt(sampling)
        spread = se > 0
        p_value = np.ones(n_genes)
        p_value[spread] = 2 * stats.t.sf(np.abs(effect[spread]) / se[spread], df[spread])
        unit = contrasts.design.iloc[i]
        table = pd.DataFrame(
            {
                "gene": moments.genes,
                "effect": effect,
                "se": se,
                "p": p_value,
                "q": stats.false_discovery_control(p_value),
            }
        )
        tables.append(table.assign(**unit[[*UNIT, "n_cells", "n_replicates"]].to_dict()))
    out = pd.concat(tables, ignore_index=True)[COLUMNS]
    return out.drop(columns="dose") if out["dose"].isna().all() else out


def effect_size(mdata: MuData, *, modality: str = "rna") -> pd.DataFrame:
    """Measure how large the effect of every perturbation is, without what noise adds to it.

    The squared length of an estimated effect is too large by the variance of the estimate, which is most of it where
    cells are few. That variance, the delete-one-cell jackknife of the group means (for means: the unbiased variance
    over n), is taken off; what is left is unbiased and negative about half the time where there is no effect.

    Parameters
    ----------
    mdata, modality
        As for :func:`perturbation_effects`.

    Returns
    -------
    DataFrame
        A row per perturbation, context and dose: perturbation, context, dose (only where there is one), n_cells,
        n_control, n_replicates, squared (length of the estimated effect, squared, summed over genes), noise (its
        expectation without an effect), size (squared - noise), se (of size, jackknife over cells), share (size /
        squared, within 0 and 1).
    """
    out = energy(read_screen(mdata, modality=modality, caller="effect_size"))
    return out.drop(columns="dose") if out["dose"].isna().all() else out


def energy(screen: Screen) -> pd.DataFrame:
    """Give the table of :func:`effect_size`."""
    n, mean, weight = screen.moments.n, screen.moments.mean, screen.contrasts.weight
    squared = (screen.delta**2).sum(axis=1)
    noise = weight.power(2) @ (screen.moments.var.sum(axis=1) / n)
    variance = np.zeros(len(squared))
    by_group = weight.tocsc()
    for k in np.flatnonzero((np.diff(by_group.indptr) > 0) & (n > 2)):  # without one of two cells no variance is left
        units, w = (a[by_group.indptr[k] : by_group.indptr[k + 1]] for a in (by_group.indices, by_group.data))
        x, delta = screen.x[screen.code == k], screen.delta[units]
        squares = x.multiply(x) if sparse.issparse(x) else x**2
        far = np.asarray(squares.sum(axis=1)).ravel() - 2 * np.asarray(x @ mean[k]).ravel() + (mean[k] ** 2).sum()
        along = np.asarray(x @ delta.T) - mean[k] @ delta.T
        # The estimate without a cell, up to what all cells of the group have in common.
        value = -2 * w * along / (n[k] - 1) + (w**2 / (n[k] - 1) ** 2 * (1 + n[k] / (n[k] - 2))) * far[:, None]
        variance[units] += (n[k] - 1) * value.var(axis=0)
    size = squared - noise
    share = np.clip(np.divide(size, squared, out=np.zeros_like(size), where=squared > 0), 0, 1)
    return screen.contrasts.design.assign(squared=squared, noise=noise, size=size, se=np.sqrt(variance), share=share)


def _disagreement(delta: np.ndarray, error: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Variance between the effects of replicates (n_replicates, n_genes) over what their sampling variance explains."""
    expected = (share * (1 - share)) @ error
    found = share @ (delta - share @ delta) ** 2
    return np.divide(found, expected, out=np.full_like(found, np.nan), where=expected > 0)


def _common(moments: GroupMoments, groups: np.ndarray) -> np.ndarray:
    """Tell which genes are in enough cells of every group: mean^2 / var of a rare count is the share with it."""
    mean, var = moments.mean[groups], moments.var[groups]
    return ((moments.n[groups, None] * mean**2 >= _ENOUGH * var) & (var > 0)).all(axis=0)


def _drawn(n: np.ndarray, var: np.ndarray) -> np.ndarray:
    """Draw the variances of groups (n_groups, n_genes) toward their pooled variance, by `_PRIOR` cells."""
    df = (n - 1)[:, None]
    pooled = (df * var).sum(axis=0) / max(df.sum(), 1)
    return (df * var + _PRIOR * pooled) / (df + _PRIOR)


def _sampling(n: np.ndarray, var: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variance of a contrast of group means from the spread of cells, and its degrees of freedom (both (n_genes,)).

    These count the cells alone: that variances were pooled does not make the mean of a few sparse counts normal.
    """
    part = (weight**2 / n)[:, None] * var
    total, square = part.sum(axis=0), (part**2 / np.maximum(n - 1, 1)[:, None]).sum(axis=0)
    return total, np.divide(total**2, square, out=np.ones_like(total), where=square > 0)
