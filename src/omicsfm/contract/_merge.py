"""Join what several data sets say about the same features: kept where they agree, reported where they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp


def same(one: Any, other: Any) -> bool:
    """Tell whether two stored values are equal, NaN equal to NaN."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, pd.DataFrame | pd.Series):
        return type(one) is type(other) and one.equals(other)
    if sp.issparse(one) or sp.issparse(other):
        return sp.issparse(one) and sp.issparse(other) and one.shape == other.shape and (one != other).nnz == 0
    left, right = np.asarray(one), np.asarray(other)
    if left.shape != right.shape:
        return False
    return bool(np.all((left == right) | (pd.isna(left) & pd.isna(right))))


def join_obs(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Stack tables of cells; columns are united, categories too, and what a table lacks is NaN.

    Every column comes out with a type that HDF5 and zarr can store.
    """
    tables = [table.set_axis(table.index.rename(None), axis=0) for table in tables]
    index = pd.Index(np.concatenate([np.asarray(table.index, dtype=object) for table in tables]), dtype=object)
    out = {}
    for name in dict.fromkeys(column for table in tables for column in table.columns):
        parts = [table[name] for table in tables if name in table.columns]
        column = pd.concat(parts).reindex(index)
        kinds = {part.dtype.kind if isinstance(part.dtype, np.dtype) else str(part.dtype) for part in parts}
        if all(isinstance(part.dtype, pd.CategoricalDtype) for part in parts):
            levels = pd.Index(pd.unique(pd.concat([part.cat.categories.to_series() for part in parts])))
            column = column.astype(pd.CategoricalDtype(levels))
        elif column.dtype == object and kinds == {"b"}:
            column = column.astype("boolean")
        elif column.dtype == object and not pd.api.types.is_string_dtype(column.dropna()):
            column = column.where(column.isna(), column.astype(str))
        out[name] = column.to_numpy(dtype=object) if column.dtype == object else column.array
    return pd.DataFrame(out, index=index.astype(str))


def join_features(parts: Sequence[tuple[pd.Index, Any]], union: pd.Index) -> Any:
    """Join one varm slot or var column given for several sets of features.

    Parameters
    ----------
    parts
        Feature names and the value, (n_vars,) or (n_vars, d): Series, DataFrame, array or sparse matrix.
    union
        All features, in the order of the result.

    Returns
    -------
    The value for `union`, NaN (False, 0 in sparse) where no part has the feature; None where the parts contradict each
    other or differ in width or kind.
    """
    kinds = {type(value) for _, value in parts}
    widths = {value.shape[1:] for _, value in parts}
    if len(kinds) > 1 or len(widths) > 1:
        return None
    first = parts[0][1]
    if sp.issparse(first):
        return _join_sparse(parts, union)
    if isinstance(first, np.ndarray):
        if first.ndim > 2:
            return None
        frames = [pd.DataFrame(value, index=names) for names, value in parts]
        joined = _join_frames(frames, union)
        return None if joined is None else joined.to_numpy().reshape(len(union), *first.shape[1:])
    frames = [pd.DataFrame(value).set_axis(names, axis=0) for names, value in parts]
    if any(list(frame.columns) != list(frames[0].columns) for frame in frames):
        return None
    joined = _join_frames(frames, union)
    if joined is None:
        return None
    return joined.iloc[:, 0] if isinstance(first, pd.Series) else joined


def _join_frames(frames: Sequence[pd.DataFrame], union: pd.Index) -> pd.DataFrame | None:
    whole = frames[0]
    for frame in frames[1:]:
        common = whole.index.intersection(frame.index, sort=False)
        if not same(whole.loc[common].to_numpy(dtype=object), frame.loc[common].to_numpy(dtype=object)):
            return None
        whole = pd.concat([whole, frame.loc[~frame.index.isin(whole.index)]])
    if whole.shape[1] and all(dtype.kind == "b" for dtype in whole.dtypes):
        return whole.reindex(union, fill_value=False)
    return whole.reindex(union)


def _join_sparse(parts: Sequence[tuple[pd.Index, Any]], union: pd.Index) -> sp.csr_matrix | None:
    done = pd.Index([], dtype=object)
    stacked: list[sp.csr_matrix] = []
    for names, value in parts:
        value = sp.csr_matrix(value)
        common = done.intersection(names, sort=False)
        if len(common):
            before = sp.vstack(stacked, format="csr")[done.get_indexer(common)]
            if (before != value[names.get_indexer(common)]).nnz:
                return None
        new = ~names.isin(done)
        stacked.append(value[new])
        done = done.append(names[new])
    missing = union.difference(done)
    stacked.append(sp.csr_matrix((len(missing), stacked[0].shape[1]), dtype=stacked[0].dtype))
    return sp.vstack(stacked, format="csr")[done.append(missing).get_indexer(union)]


def join_pairs(parts: Sequence[tuple[pd.Index, Any]], union: pd.Index) -> sp.csr_matrix | None:
    """Join one varp slot, feature by feature; None where the parts contradict each other."""
    n = len(union)
    total: sp.csr_matrix | None = None
    known = np.zeros((len(parts), n), dtype=bool)
    for i, (names, value) in enumerate(parts):
        place = union.get_indexer(names)
        entries = sp.coo_matrix(value)
        value = sp.csr_matrix((entries.data, (place[entries.row], place[entries.col])), shape=(n, n))
        known[i, place] = True
        if total is None:
            total = value
            continue
        for j in range(i):  # pairs of features that both parts know
            both = np.flatnonzero(known[i] & known[j])
            if (total[both][:, both] != value[both][:, both]).nnz:
                return None
            new = sp.coo_matrix(value)
            keep = ~(np.isin(new.row, both) & np.isin(new.col, both))
            value = sp.csr_matrix((new.data[keep], (new.row[keep], new.col[keep])), shape=(n, n))
        total = sp.csr_matrix(total + value)
    return total


def join_uns(tables: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """Join unstructured annotation: the union of the keys, those with different values left out and named."""
    out: dict[str, Any] = {}
    lost: list[str] = []
    for table in tables:
        for key, value in table.items():
            if key in lost:
                continue
            if key == "samples" and isinstance(value, pd.DataFrame) and isinstance(out.get(key), pd.DataFrame):
                both = pd.concat([out[key], value])
                out[key] = both[~both.index.duplicated()]
            elif key in out and not same(out[key], value):
                del out[key]
                lost.append(key)
            else:
                out.setdefault(key, value)
    return out, lost
