"""Cells to effects: the difference that each perturbation makes in each context, and how well it is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from omicsfm import contract, io
from omicsfm._errors import InputError
from omicsfm.pp._recipes import RNA

DESIGN = ["perturbation", "context", "dose"]
_PRIOR = "prior_"


@dataclass(frozen=True)
class GroupMoments:
    """Sums over the cells of each group, from which means, variances and their errors follow.

    Attributes
    ----------
    design : DataFrame (n_groups): perturbation, context, dose, and replicate where asked for; a control is "control".
    genes : names of the features.
    n : (n_groups,) number of cells.
    seen : (n_groups, n_genes) number of cells in which a feature was measured.
    mean, var : (n_groups, n_genes) mean and unbiased variance over these; NaN of none, and the variance of one.
    """

    design: pd.DataFrame
    genes: pd.Index
    n: np.ndarray
    seen: np.ndarray
    mean: np.ndarray
    var: np.ndarray


@dataclass(frozen=True)
class ResponseData:
    """What a model of responses learns from: effects, not cells.

    Attributes
    ----------
    effects : DataFrame (n, n_genes): difference to the control of the same context; any scale if given as effects.
    design : DataFrame (n): perturbation ("A", "A+B"), context, dose (NaN where none); same index as `effects`.
    se : DataFrame (n, n_genes) of standard errors, or None where not known.
    controls : DataFrame (contexts, n_genes): mean of the controls, or None where there are no cells. May hold contexts
        in which nothing was perturbed.
    controls_se : DataFrame of the shape of `controls`: standard errors of these means, or None where not known.
    priors : name -> DataFrame (targets, n_features).
    """

    effects: pd.DataFrame
    design: pd.DataFrame
    se: pd.DataFrame | None = None
    controls: pd.DataFrame | None = None
    controls_se: pd.DataFrame | None = None
    priors: Mapping[str, pd.DataFrame] = field(default_factory=dict)


def log_normalised(mdata: MuData, modality: str = "rna") -> sparse.csr_matrix | np.ndarray:
    """Give log1p of counts per 10,000 (n_obs of the modality, n_vars); what is no count comes as it is."""
    x = mdata.mod[modality].X
    if contract.recipe_of(mdata, modality) == "rna":
        return sparse.vstack([RNA().scale(block) for block in io.blocks(x)]).tocsr()
    return io.canonical(x) if sparse.issparse(x) else np.asarray(x, dtype=np.float64)


def group_moments(mdata: MuData, *, modality: str = "rna", replicates: bool = False) -> GroupMoments:
    """Average the cells of every perturbation, context and dose (and replicate), in one pass.

    Parameters
    ----------
    mdata
        Set up with ``perturbation_key`` and ``control``. Cells without a perturbation, context or replicate are left
        out.
    modality
        Whose features; counts of the recipe "rna" as log1p of counts per 10,000, others as they are.
    replicates
        One group per replicate.
    """
    who = contract.perturbations(mdata).iloc[contract.rows(mdata, modality)].drop(columns="is_control")
    by = [*DESIGN, "replicate"] if replicates else DESIGN
    used = who[["perturbation", "context", "replicate"]].notna().all(axis=1).to_numpy()
    x = log_normalised(mdata, modality)[used]
    keys = who[used][by]
    keys.loc[keys["perturbation"] == contract.CONTROL, "dose"] = np.nan
    codes = keys.groupby(by, dropna=False, sort=True, observed=True).ngroup().to_numpy()
    design = keys.assign(_=codes).drop_duplicates("_").sort_values("_").drop(columns="_").reset_index(drop=True)
    member = sparse.csr_matrix((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(len(design), len(codes)))
    n = np.bincount(codes, minlength=len(design)).astype(np.float64)
    seen = np.repeat(n[:, None], x.shape[1], axis=1)
    if np.isnan(x.data if sparse.issparse(x) else x).any():
        x = x.toarray() if sparse.issparse(x) else x
        seen = member @ (~np.isnan(x)).astype(np.float64)
        x = np.nan_to_num(x, nan=0.0)
    total, square = member @ x, member @ (x.multiply(x) if sparse.issparse(x) else x**2)
    total, square = (a.toarray() if sparse.issparse(a) else np.asarray(a) for a in (total, square))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / seen
        var = np.where(seen > 1, np.maximum(square - seen * mean**2, 0) / (seen - 1), np.nan)
    return GroupMoments(design, mdata.mod[modality].var_names, n, seen, mean, var)


def response_data(mdata: MuData, *, modality: str = "rna") -> ResponseData:
    """Give the effect of every perturbation in every context, against the controls of that context.

    The standard error is that of a difference of two means over cells; :func:`omicsfm.tl.perturbation_effects` gives
    the one over replicates. Priors are ``varm["prior_*"]`` of the guide modality.

    Raises
    ------
    InputError
        If `setup` was not told the perturbation and the control, or no perturbed cell has controls in its context.
    """
    if contract.control_of(mdata) is None and not _has_control(mdata):
        raise InputError(
            "response_data: what is a control is not known. "
            'Fix: ofm.setup(mdata, perturbation_key="...", control="..."), or fit_effects() for data without cells.'
        )
    found = _complete(group_moments(mdata, modality=modality))
    is_control = (found.design["perturbation"] == contract.CONTROL).to_numpy()
    place = {
        context: i for i, context in zip(np.flatnonzero(is_control), found.design["context"][is_control], strict=True)
    }
    rows = np.array([i for i in np.flatnonzero(~is_control) if found.design["context"][i] in place], dtype=np.intp)
    if not len(rows):
        raise InputError(
            "response_data: no perturbed cell has controls in its own context, so there are no effects. "
            "Fix: check control= and context_key= of ofm.setup, or leave the context out."
        )
    own = np.array([place[context] for context in found.design["context"].iloc[rows]])
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = found.var / found.seen
        # A group of one cell varies as the others do.
        known = np.isfinite(found.var)
        typical = np.where(known, found.var, 0).sum(axis=0) / known.sum(axis=0)
    variance = np.where(np.isnan(variance), typical / found.seen, variance)
    index, control = pd.RangeIndex(len(rows)), list(place.values())
    return ResponseData(
        effects=pd.DataFrame(found.mean[rows] - found.mean[own], index=index, columns=found.genes),
        design=found.design[DESIGN].iloc[rows].set_axis(index).assign(n_cells=found.n[rows]),
        se=pd.DataFrame(np.sqrt(variance[rows] + variance[own]), index=index, columns=found.genes),
        controls=pd.DataFrame(found.mean[control], index=pd.Index(place), columns=found.genes),
        controls_se=pd.DataFrame(np.sqrt(variance[control]), index=pd.Index(place), columns=found.genes),
        priors=priors_of(mdata),
    )


def _complete(found: GroupMoments) -> GroupMoments:
    """Leave out features that some group was not measured for."""
    kept = (found.seen > 0).all(axis=0)
    if kept.all():
        return found
    if not kept.any():
        raise InputError(
            "response_data: no feature was measured in every group of cells. Fix: leave out those without measurements."
        )
    parts = {name: getattr(found, name)[:, kept] for name in ("seen", "mean", "var")}
    return replace(found, genes=found.genes[kept], **parts)


def priors_of(mdata: MuData) -> dict[str, pd.DataFrame]:
    """Give what ``varm["prior_*"]`` of the guide modality holds, one row per target (guides of one target agree)."""
    mod = contract.guide_modality(mdata)
    if mod is None:
        return {}
    guides = mdata.mod[mod]
    named = guides.var["target"] if "target" in guides.var else guides.var_names.to_series().str.removeprefix("guide:")
    target = named.astype(str).to_numpy()
    out = {}
    for key, value in guides.varm.items():
        if key.startswith(_PRIOR):
            values = value.toarray() if sparse.issparse(value) else np.asarray(value, dtype=np.float64)
            table = pd.DataFrame(values, index=target)
            out[key.removeprefix(_PRIOR)] = table[~table.index.duplicated() & table.notna().all(axis=1)]
    return out


def _has_control(mdata: MuData) -> bool:
    return bool(contract.perturbations(mdata)["is_control"].any())
