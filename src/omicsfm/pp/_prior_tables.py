"""What can be done with any prior (targets x features), and the one that is made of effects elsewhere."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse import linalg

from omicsfm import contract
from omicsfm._errors import InputError

_DENSE = 3000  # targets (or features) up to which a Gram matrix is decomposed as a whole


def reduce_prior(prior: pd.DataFrame, n_components: int = 500) -> pd.DataFrame:
    """Give fewer features with the same dot products between targets.

    Parameters
    ----------
    prior
        (n_targets, n_features), sparse or not.
    n_components
        At most so many columns. Dot products are kept to rounding where the rank is no larger, else the nearest of that
        rank (Eckart and Young 1936).

    Returns
    -------
    DataFrame (n_targets, min(rank, n_components)) of float32, columns by falling weight.
    """
    x = prior.sparse.to_coo().tocsr() if _is_sparse(prior) else prior.to_numpy(dtype=np.float64)
    if 0 in x.shape:
        return pd.DataFrame(index=prior.index, dtype=np.float32)
    if min(x.shape) <= max(_DENSE, n_components):
        wide = x.shape[0] <= x.shape[1]
        gram = x @ x.T if wide else x.T @ x
        value, vector = np.linalg.eigh(gram.toarray() if sparse.issparse(gram) else gram)
        score = vector * np.sqrt(np.maximum(value, 0.0)) if wide else np.asarray(x @ vector)
    else:
        start = np.random.default_rng(0).standard_normal(min(x.shape))
        vector, singular, _ = linalg.svds(x, k=n_components, v0=start)
        score, value = vector * singular, singular**2
    top = np.argsort(-value)[:n_components]
    score = score[:, top[value[top] > 1e-10 * value.max()]]
    # The sign of an eigenvector is free: the largest entry is made positive, so that two machines agree.
    score = score * np.sign(score[np.abs(score).argmax(axis=0), np.arange(score.shape[1])])
    return pd.DataFrame(score.astype(np.float32), index=prior.index)


def permuted_prior(prior: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Give every target the row of another: a prior as informative to look at, with nothing to say. The control.

    Parameters
    ----------
    prior
        (targets, features), at least 2 rows.
    seed
        Of the shuffle, which leaves no row in its place.

    Returns
    -------
    DataFrame with the index and columns of `prior`.
    """
    if len(prior) < 2:
        raise InputError(f"permuted_prior: needs 2 targets or more, found {len(prior)}. Fix: give a larger prior.")
    cycle = np.random.default_rng(seed).permutation(len(prior))
    source = np.empty_like(cycle)
    source[cycle] = np.roll(cycle, 1)
    return prior.iloc[source].set_axis(prior.index, axis=0)


def effect_prior(
    effects: pd.DataFrame, design: pd.DataFrame, *, exclude_context: str, n_components: int = 50
) -> pd.DataFrame:
    """Give what each target did in other contexts, as scores on principal components.

    Parameters
    ----------
    effects
        (n, n_genes), of the training data: a held-out target must not be in it.
    design
        DataFrame (n): `perturbation`, `context`, in the order of `effects`. Combinations are not used.
    exclude_context
        The context to predict, which is left out.
    n_components
        At most so many columns.

    Returns
    -------
    DataFrame (targets, components) of float32. The mean effect of its context is taken from each effect, then the
    effects of a target are averaged over contexts.

    Raises
    ------
    InputError
        If no single target was perturbed in another context.
    """
    members = [contract.members(str(name)) for name in design["perturbation"]]
    used = (
        np.array([len(part) == 1 for part in members]) & (design["context"].astype(str) != exclude_context).to_numpy()
    )
    if not used.any():
        raise InputError(
            f"effect_prior: no single target was perturbed outside context '{exclude_context}'. "
            "Fix: give effects of other contexts, or leave this prior out."
        )
    table = effects[used]
    context = design["context"].astype(str).to_numpy()[used]
    target = np.array([part[0] for part, use in zip(members, used, strict=True) if use], dtype=object)
    centred = table - table.groupby(context).transform("mean")
    return reduce_prior(centred.groupby(target).mean(), n_components)


def _is_sparse(frame: pd.DataFrame) -> bool:
    return frame.shape[1] > 0 and all(isinstance(dtype, pd.SparseDtype) for dtype in frame.dtypes.unique())
