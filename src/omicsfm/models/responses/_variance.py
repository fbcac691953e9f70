"""Two-way random effects: variance components by fitting constants, and best linear unbiased predictions.

References
----------
Henderson (1953), Biometrics 9:226 (method 3: fitting constants); Henderson (1975), Biometrics 31:423 (mixed model
equations); Searle, Casella & McCulloch (1992), Variance Components, ch. 5 and 7.
"""

from __future__ import annotations

import numpy as np

_SMALLEST = 1e-6  # of the total variance: keeps the equations solvable where a component is zero


def variance_components(y: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Estimate the variances of rows, of columns and of what is left, for every feature.

    Parameters
    ----------
    y
        (n, k) values of cells of an unbalanced two-way layout.
    row, column
        (n,) codes from 0, each used.

    Returns
    -------
    (3, k), not negative; 0 where the layout does not tell, as that of columns where there is one.
    """
    n_rc = _counts(row, column)
    n_r, n_c = n_rc.sum(axis=1), n_rc.sum(axis=0)
    within_r = y - (_sums(row, y) / n_r[:, None])[row]
    within_c = y - (_sums(column, y) / n_c[:, None])[column]
    # Columns adjusted for rows: their normal equations, and what they explain beyond the rows.
    adjusted = np.diag(n_c) - n_rc.T @ (n_rc / n_r[:, None])
    value, vector = np.linalg.eigh(adjusted)
    kept = value > 1e-9 * n_c.max()
    rank = int(kept.sum())
    found = (vector[:, kept].T @ _sums(column, within_r)) / np.sqrt(value[kept])[:, None]
    left_r, left_c = np.square(within_r).sum(axis=0), np.square(within_c).sum(axis=0)
    left = np.maximum(left_r - np.square(found).sum(axis=0), 0)
    free = len(y) - len(n_r) - rank
    noise = left / free if free > 0 else np.zeros(y.shape[1])
    of_column = (left_r - left - rank * noise) / np.trace(adjusted) if rank else np.zeros_like(noise)
    trace_r = len(y) - float((np.square(n_rc) / n_c).sum())
    rank_r = len(n_r) + rank - len(n_c)
    of_row = (left_c - left - rank_r * noise) / trace_r if rank_r else np.zeros_like(noise)
    return np.maximum(np.stack([of_row, of_column, noise]), 0)


def two_way_effects(
    y: np.ndarray, row: np.ndarray, column: np.ndarray, variances: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predict the mean (k,), the rows' effects (n_rows, k) and the columns' (n_columns, k).

    Parameters
    ----------
    y, row, column
        As in `variance_components`.
    variances
        (3, k) of rows, columns and noise.
    """
    n_rc = _counts(row, column)
    n_r, n_c = n_rc.sum(axis=1), n_rc.sum(axis=0)
    sum_r, sum_c = _sums(row, y), _sums(column, y)
    floored = np.maximum(variances, _SMALLEST * variances.sum(axis=0) + np.finfo(float).tiny)
    fixed = np.block([[np.array([[len(y)]]), n_c[None]], [n_c[:, None], np.diag(n_c)]])
    crossed = np.vstack([n_r, n_rc.T])
    total = np.vstack([sum_r.sum(axis=0), sum_c])
    mean, rows, columns = np.zeros(y.shape[1]), np.zeros_like(sum_r), np.zeros_like(sum_c)
    for k in range(y.shape[1]):
        weight = 1 / (n_r + floored[2, k] / floored[0, k])  # rows are eliminated: their block is diagonal
        penalty = np.full(len(n_c) + 1, floored[2, k] / floored[1, k])
        penalty[0] = 0
        left = fixed + np.diag(penalty) - (crossed * weight) @ crossed.T
        found = np.linalg.solve(left, total[:, k] - crossed @ (weight * sum_r[:, k]))
        mean[k], columns[:, k] = found[0], found[1:]
        rows[:, k] = weight * (sum_r[:, k] - crossed.T @ found)
    return mean, rows, columns


def _counts(row: np.ndarray, column: np.ndarray) -> np.ndarray:
    out = np.zeros((row.max() + 1, column.max() + 1))
    np.add.at(out, (row, column), 1)
    return out


def _sums(code: np.ndarray, y: np.ndarray) -> np.ndarray:
    out = np.zeros((code.max() + 1, y.shape[1]))
    np.add.at(out, code, y)
    return out
