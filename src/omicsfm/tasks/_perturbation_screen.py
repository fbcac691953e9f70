"""A screen cut for questions: the effects that training would see, those the truth holds, and duplicates of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from omicsfm import contract, pp
from omicsfm.pp import ResponseData
from omicsfm.pp._response_data import DESIGN
from omicsfm.tasks._splits import row_hashes

RNA = "rna"


@dataclass(frozen=True)
class Cells:
    """Which cell serves what, for a screen made of cells.

    Attributes
    ----------
    names : (n_obs,) of the cells.
    row : (n_obs,) row of the design, -1 for controls and for cells that are not used.
    truth_control, train_control : (n_obs,) bool, the two halves of the controls.
    hashes : (n_obs,) of the measurements; empty where there is none.
    """

    names: np.ndarray
    row: np.ndarray
    truth_control: np.ndarray
    train_control: np.ndarray
    hashes: np.ndarray


@dataclass(frozen=True)
class Screen:
    """Effects of all rows of a design; arrays (n, n_genes).

    Attributes
    ----------
    design : DataFrame (n): perturbation, context, dose, n_cells.
    genes : names.
    shift : against the training half of the controls: what training sees of rows that it may see. NaN where the
        context has too few controls.
    effect, se : against the truth half, and its standard error (None without cells).
    duplicate, duplicate_se : one half of the perturbed cells against the training half of the controls.
    half, half_shift : the other half of the perturbed cells, against the truth half and against the training half.
    train : gives what a method may see when some rows (n,) bool are hidden.
    cells : None for data that are effects.
    """

    design: pd.DataFrame
    genes: pd.Index
    shift: np.ndarray
    effect: np.ndarray
    train: Callable[[np.ndarray], MuData | ResponseData]
    se: np.ndarray | None = None
    duplicate: np.ndarray | None = None
    duplicate_se: np.ndarray | None = None
    half: np.ndarray | None = None
    half_shift: np.ndarray | None = None
    cells: Cells | None = None


def screen_of_effects(data: ResponseData) -> Screen:
    """Take effects as they are: there are no controls to share and no cells to halve."""
    effects = data.effects.to_numpy(dtype=np.float64)
    design = data.design.reset_index(drop=True)
    counts = design.get("n_cells", pd.Series(np.inf, index=design.index))

    def train(hidden: np.ndarray) -> ResponseData:
        kept = ~hidden
        index = pd.RangeIndex(int(kept.sum()))
        return ResponseData(
            effects=data.effects[kept].set_axis(index),
            design=design[kept].set_axis(index),
            se=None if data.se is None else data.se[kept].set_axis(index),
            controls=data.controls,
            priors=data.priors,
        )

    se = None if data.se is None else data.se.to_numpy(dtype=np.float64)
    genes = data.effects.columns.astype(str)
    return Screen(design[DESIGN].assign(n_cells=counts), genes, effects, effects, train, se=se)


def screen_of_cells(mdata: MuData, *, seed: int, min_cells: int) -> Screen:
    """Cut controls and perturbed cells into halves within each context and replicate, and take the means.

    The truth needs `min_cells` controls in both halves: a context with fewer cannot be asked about.
    """
    rng = np.random.default_rng(seed)
    where = contract.rows(mdata, RNA)
    who = contract.perturbations(mdata).iloc[where]
    used = who[["perturbation", "context", "replicate"]].notna().all(axis=1).to_numpy()
    control = who["is_control"].to_numpy() & used
    done = who.groupby(DESIGN, dropna=False, observed=True).ngroup().to_numpy()
    row = np.where(used & ~control, done, -1)
    _, first, row[row >= 0] = np.unique(row[row >= 0], return_index=True, return_inverse=True)
    design = who[DESIGN][row >= 0].iloc[first].reset_index(drop=True)
    contexts, context = np.unique(who["context"].to_numpy()[control].astype(str), return_inverse=True)
    place = np.full(len(who), -1)
    place[control] = context

    group = np.where(control, place + len(design), row)
    in_a = halves(group, pd.factorize(who["replicate"])[0], rng)
    x = pp.log_normalised(mdata, RNA)
    full, var = _moments(x, row, len(design))
    mean_a, var_a = _moments(x, np.where(in_a, row, -1), len(design))
    mean_b, _ = _moments(x, np.where(in_a, -1, row), len(design))
    t_mean, t_var = _moments(x, np.where(in_a, place, -1), len(contexts))
    u_mean, u_var = _moments(x, np.where(in_a, -1, place), len(contexts))
    n_train, n_truth = (np.bincount(place[control & side], minlength=len(contexts)) for side in (in_a, ~in_a))
    t, t_var = _of_context(design, contexts, n_train >= 1, t_mean, t_var)
    u, u_var = _of_context(design, contexts, np.minimum(n_train, n_truth) >= min_cells, u_mean, u_var)
    cells = Cells(
        mdata.obs_names.to_numpy(dtype=str),
        _over_obs(row, where, mdata.n_obs, -1),
        _over_obs(control & ~in_a, where, mdata.n_obs, False),
        _over_obs(control & in_a, where, mdata.n_obs, False),
        _over_obs(np.array(row_hashes(mdata.mod[RNA].X), dtype=object), where, mdata.n_obs, b""),
    )

    def train(hidden: np.ndarray) -> MuData:
        kept = cells.train_control | ((cells.row >= 0) & ~hidden[cells.row])
        return _with_own_expression(contract.subset(mdata, kept), seed)

    return Screen(
        design.assign(n_cells=np.bincount(row[row >= 0], minlength=len(design))),
        mdata.mod[RNA].var_names.astype(str),
        full - t,
        full - u,
        train,
        se=np.sqrt(var + u_var),
        duplicate=mean_a - t,
        duplicate_se=np.sqrt(var_a + t_var),
        half=mean_b - u,
        half_shift=mean_b - t,
        cells=cells,
    )


def halves(group: np.ndarray, within: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw half of the members of every group, and of what is within it (but for one), (n,) bool.

    The odd one of a group falls to either side; a group of two or more has members on both.
    """
    order = np.lexsort((rng.random(len(group)), within, group))
    _, start, size = np.unique(group[order], return_index=True, return_counts=True)
    rank = np.arange(len(group)) - np.repeat(start, size) + np.repeat(rng.integers(0, 2, len(size)), size)
    out = np.empty(len(group), dtype=bool)
    out[order] = rank % 2 == 0
    return out


def _moments(x: sparse.csr_matrix | np.ndarray, code: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the mean of every group and its squared standard error, (n, n_genes); code -1 = in no group.

    The variance within a group of one is that of the other groups; the mean of an empty group is NaN.
    """
    inside = np.flatnonzero(code >= 0)
    member = sparse.csr_matrix((np.ones(len(inside)), (code[inside], inside)), shape=(n, len(code)))
    size = np.asarray(member.sum(axis=1)).ravel()[:, None]
    total, square = member @ x, member @ (x.multiply(x) if isinstance(x, sparse.csr_matrix) else np.square(x))
    total, square = (a.toarray() if sparse.issparse(a) else np.asarray(a) for a in (total, square))
    mean = np.divide(total, size, out=np.full(total.shape, np.nan), where=size > 0)
    excess = np.maximum(square - size * np.nan_to_num(mean) ** 2, 0.0)
    within = excess.sum(axis=0) / max(float(np.maximum(size - 1, 0).sum()), 1.0)
    var = np.where(size > 1, excess / np.maximum(size - 1, 1), within)
    return mean, np.divide(var, size, out=np.full(var.shape, np.nan), where=size > 0)


def _of_context(
    design: pd.DataFrame, contexts: np.ndarray, enough: np.ndarray, *tables: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Give each row of the design what its context has, (n, n_genes) each; NaN where there is not enough of it."""
    position = {str(c): i for i, c in enumerate(contexts) if enough[i]}
    own = np.array([position.get(str(c), -1) for c in design["context"]], dtype=np.intp)
    return tuple(np.where((own >= 0)[:, None], table[own], np.nan) for table in tables)


def _over_obs(values: np.ndarray, where: np.ndarray, n_obs: int, missing: object) -> np.ndarray:
    out = np.full(n_obs, missing, dtype=values.dtype)
    out[where] = values
    return out


def _with_own_expression(train: MuData, seed: int) -> MuData:
    """Learn the prior that is made of controls anew: it had seen those of the truth."""
    mod = contract.guide_modality(train)
    if mod is not None and "prior_expression" in train.mod[mod].varm:
        table = pp.expression_prior(train, seed=seed)
        guides = train.mod[mod]
        named = guides.var["target"] if "target" in guides.var else guides.var_names.str.removeprefix("guide:")
        guides.varm["prior_expression"] = table.reindex(np.asarray(named, dtype=str)).to_numpy(dtype=np.float32)
    return train
