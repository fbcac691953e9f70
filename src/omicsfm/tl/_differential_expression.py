"""Differential expression of every perturbation against the controls of its context."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse
from scipy.stats import false_discovery_control

from omicsfm import contract, pp
from omicsfm._errors import InputError
from omicsfm._progress import progress
from omicsfm.metrics._rank_sum import rank_sum
from omicsfm.tl._model import need_mudata

_PSEUDO = 1.0  # counts per 10,000


def differential_expression(mdata: MuData, *, modality: str = "rna", by_context: bool = True) -> pd.DataFrame:
    """Test every gene for every perturbation against the controls of the same context: Wilcoxon rank-sum.

    Cells are the units of the test: it says what differs between these cells, not whether another replicate would show
    it. Doses of a perturbation are taken together.

    Parameters
    ----------
    mdata
        Set up with ``perturbation_key`` and ``control``. Not written to. Cells without a perturbation or a context are
        left out, and so are contexts without controls.
    modality
        Whose features; counts of the recipe "rna" as counts per 10,000, others as they are.
    by_context
        False: all cells together, against all controls; the context is "all".

    Returns
    -------
    DataFrame
        One row per perturbation, context and gene, in this order: perturbation, context and gene (categorical);
        log2_fold_change, log2((m + 1) / (m_control + 1)) with m the mean counts per 10,000 (NaN for what is no count);
        statistic (z, corrected for ties; above 0: higher than in controls); p (two-sided); q (Benjamini-Hochberg over
        the genes of one perturbation in one context); n_cells (with the perturbation). A gene that is zero in all cells
        compared is not tested: NaN in statistic, p and q.

    Raises
    ------
    InputError
        If nothing was perturbed in a context that has controls, on NaN, or for a modality that is not there.

    References
    ----------
    :func:`omicsfm.metrics.rank_sum`; Soneson and Robinson 2018, doi:10.1038/nmeth.4612 (rank-sum among the methods that
    hold their error rate).
    """
    need_mudata(mdata, "differential_expression")
    who = contract.perturbations(mdata).iloc[contract.rows(mdata, modality)]
    who["context"] = who["context"] if by_context else contract.EVERYWHERE
    who = who.reset_index(drop=True)
    cells = {
        str(context): found
        for context, found in who[who["perturbation"].notna()].groupby("context", sort=True, observed=True)
        if 0 < found["is_control"].sum() < len(found)
    }
    if not cells:
        raise InputError(
            "differential_expression: perturbed cells and controls in one context are needed, no context has both. "
            "Fix: check control= and context_key= of ofm.setup, or by_context=False."
        )
    counts = contract.recipe_of(mdata, modality) == "rna"
    x = pp.log_normalised(mdata, modality)
    found = [
        _compare(x[who_c.index.to_numpy()], who_c["perturbation"].to_numpy(), counts)
        for who_c in progress(list(cells.values()), desc="differential_expression")
    ]
    return _table(list(cells), found, mdata.mod[modality].var_names)


@dataclass(frozen=True)
class Compared:
    """The perturbations of one context, the number of their cells, and the numbers of each with each gene."""

    perturbations: pd.Index
    n_cells: np.ndarray
    values: dict[str, np.ndarray]


def _compare(x: sparse.csr_matrix | np.ndarray, perturbation: np.ndarray, counts: bool) -> Compared:
    level = abs(x)
    if counts:
        np.expm1(level.data, out=level.data)
        x = x.astype(np.float32)  # 1 of 100 and 2 of 200 counts are a tie: in float64 they differ by rounding
    test = rank_sum(x, perturbation, reference=contract.CONTROL)
    names = test.groups.append(pd.Index([contract.CONTROL]))
    code = names.get_indexer(perturbation)
    n = np.append(test.n, test.n_reference)
    member = sparse.csr_matrix((1 / n[code], (code, np.arange(len(code)))), shape=(len(names), len(code)))
    mean = member @ level
    mean = mean.toarray() if sparse.issparse(mean) else mean
    tested = (mean[:-1] > 0) | (mean[-1] > 0)
    log_mean = np.log2(mean + _PSEUDO)
    p = np.where(tested, test.p_value, np.nan)
    q = np.full_like(p, np.nan)
    for i in np.flatnonzero(tested.any(axis=1)):
        q[i, tested[i]] = false_discovery_control(p[i, tested[i]])
    change = log_mean[:-1] - log_mean[-1] if counts else np.full_like(p, np.nan)
    values = {"log2_fold_change": change, "statistic": np.where(tested, test.statistic, np.nan), "p": p, "q": q}
    return Compared(test.groups, test.n, values)


def _table(contexts: list[str], found: list[Compared], genes: pd.Index) -> pd.DataFrame:
    """One row per perturbation, context and gene."""
    perturbation = np.concatenate([part.perturbations for part in found])
    context = np.repeat(contexts, [len(part.perturbations) for part in found])
    order = np.lexsort((context, perturbation))
    rows = {"perturbation": pd.Categorical(perturbation[order]), "context": pd.Categorical(context[order])}
    out = pd.DataFrame({name: values.repeat(len(genes)) for name, values in rows.items()})
    out["gene"] = pd.Categorical.from_codes(np.tile(np.arange(len(genes)), len(order)), categories=genes)
    for name in found[0].values:
        out[name] = np.concatenate([part.values[name] for part in found])[order].ravel()
    out["n_cells"] = np.concatenate([part.n_cells for part in found])[order].repeat(len(genes))
    return out
