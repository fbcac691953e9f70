"""Leading singular vectors of a matrix of effects."""

from __future__ import annotations

import numpy as np

_NEGLIGIBLE = 1e-6  # of the largest singular value: the Gram matrix holds no more


def top_svd(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the leading singular values and right singular vectors of a matrix.

    Parameters
    ----------
    x
        (n, g); centred where a mean should not be a component.
    k
        At most so many.

    Returns
    -------
    (r,) values, falling, and (r, g) orthonormal rows, r <= k; directions without variance are left out.
    """
    wide = x.shape[0] <= x.shape[1]
    # The smaller of the two Gram matrices: exact, and fast for few perturbations and many genes.
    squared, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    order = np.argsort(squared)[::-1][:k]
    value = np.sqrt(np.maximum(squared[order], 0))
    kept = value > _NEGLIGIBLE * value[:1].sum()
    order, value = order[kept], value[kept]
    right = (vectors[:, order].T @ x) / value[:, None] if wide else vectors[:, order].T
    return value, right
