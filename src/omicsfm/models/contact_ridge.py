"""ContactRidge: how strongly two places touch, from what each of them holds."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from omicsfm._errors import InputError

_ALPHAS = np.logspace(0, 6, 13)


class ContactRidge(BaseEstimator):
    """Contact strength of pairs of places, by ridge regression on what does not change when the two change places.

    Features of places are standardised and reduced to principal components, a and b; a pair is described by ``a + b``,
    ``a * b`` and ``|a - b|``. The penalty is chosen by leave-one-out error on training pairs.

    Parameters
    ----------
    n_components
        Principal components of the features of places.

    Attributes
    ----------
    scaler_, pca_, ridge_ : the fitted steps.

    References
    ----------
    Hoerl & Kennard (1970), Technometrics 12:55; leave-one-out as in Golub, Heath & Wahba (1979), Technometrics 21:215.
    """

    def __init__(self, n_components: int = 30) -> None:
        self.n_components = n_components

    def fit(self, x_nd: Any, pairs: tuple[np.ndarray, np.ndarray], value: np.ndarray) -> Self:
        """Learn from measured pairs.

        Parameters
        ----------
        x_nd
            (n_places, d) features, an array or sparse; only places of `pairs` are looked at.
        pairs
            Positions of both places, (n_pairs,) each.
        value
            (n_pairs,) contact strengths, such as the square root of observed over expected.

        Raises
        ------
        InputError
            If pairs and values differ in length, fewer than two are given, or a number is not finite.
        """
        target = np.asarray(value, dtype=np.float64)
        if len(target) < 2 or not len(target) == len(pairs[0]) == len(pairs[1]) or not np.isfinite(target).all():
            raise InputError(
                f"ContactRidge.fit: two or more pairs with one finite value each are needed, found {len(pairs[0])} and "
                f"{len(pairs[1])} places and {len(target)} values. Fix: leave out pairs that were not measured."
            )
        used = np.unique(np.concatenate(pairs))
        places = _dense(x_nd, used)
        self.n_features_in_ = places.shape[1]
        self.scaler_ = StandardScaler().fit(places)
        n = min(self.n_components, *places.shape)
        self.pca_ = PCA(n, svd_solver="full").fit(self.scaler_.transform(places))
        self.ridge_ = RidgeCV(alphas=_ALPHAS).fit(self._describe(x_nd, pairs), target)
        return self

    def predict(self, x_nd: Any, pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Give the contact strength of pairs, float64 (n_pairs,); the order of the two places does not matter."""
        check_is_fitted(self, "ridge_")
        return np.asarray(self.ridge_.predict(self._describe(x_nd, pairs)), dtype=np.float64)

    def _describe(self, x_nd: Any, pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        used, at = np.unique(np.concatenate(pairs), return_inverse=True)
        places = _dense(x_nd, used)
        if places.shape[1] != self.n_features_in_:
            raise InputError(
                f"ContactRidge: fitted on {self.n_features_in_} features, found {places.shape[1]}. "
                "Fix: describe places as in training."
            )
        # Components of unit variance, so that their products are of one size.
        z_nk = self.pca_.transform(self.scaler_.transform(places)) / np.sqrt(self.pca_.explained_variance_ + 1e-12)
        a, b = z_nk[at[: len(pairs[0])]], z_nk[at[len(pairs[0]) :]]
        return np.hstack([a + b, a * b, np.abs(a - b)])


def _dense(x_nd: Any, rows: np.ndarray) -> np.ndarray:
    chosen = x_nd[rows]
    out = np.asarray(chosen.toarray() if sparse.issparse(chosen) else chosen, dtype=np.float64)
    if not np.isfinite(out).all():
        raise InputError("ContactRidge: features must be finite. Fix: leave out places whose features are not known.")
    return out
