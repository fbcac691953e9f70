"""Landmark features: tokens lifted so that a linear model on them can bend (Nystroem approximation of a kernel)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from omicsfm import hub

FIT_ROWS = 20_000  # rows that k-means looks at: centres do not need a million cells


@hub.state
@dataclass(frozen=True)
class Landmarks:
    """A fitted lift from tokens (n, d) to features (n, n_out).

    Attributes
    ----------
    centre_ld : landmarks (n_landmarks, d); empty where the tokens themselves are the features.
    map_lk : from kernel values to features (n_landmarks, n_out).
    width : squared length at which the kernel falls to 1/e.
    """

    centre_ld: np.ndarray
    map_lk: np.ndarray
    width: float

    @property
    def n_out(self) -> int:
        """Number of features that come out."""
        return self.map_lk.shape[1]

    @classmethod
    def fit(cls, x_nd: np.ndarray, n_landmarks: int, *, seed: int) -> Landmarks:
        """Place landmarks by k-means; with fewer than 2 landmarks the lift is the identity.

        References
        ----------
        Zhang, Tsang & Kwok (2008), ICML, k-means landmarks; Williams & Seeger (2001), NIPS, the map.
        """
        if n_landmarks < 2:
            return cls(np.zeros((0, x_nd.shape[1])), np.zeros((0, x_nd.shape[1])), 1.0)
        rng = np.random.default_rng(seed)
        if len(x_nd) > FIT_ROWS:
            x_nd = x_nd[np.sort(rng.choice(len(x_nd), FIT_ROWS, replace=False))]
        x_nd = x_nd.astype(np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct cells than landmarks: handled below
            centre_ld = KMeans(n_landmarks, n_init=1, max_iter=20, random_state=seed).fit(x_nd).cluster_centers_
        centre_ld = np.unique(centre_ld, axis=0)
        width = float(np.median(squared_distance(x_nd, centre_ld))) or 1.0
        value, vector = np.linalg.eigh(np.exp(-squared_distance(centre_ld, centre_ld) / width))
        keep = value > value[-1] * 1e-6
        return cls(centre_ld, vector[:, keep] / np.sqrt(value[keep]), width)

    def __call__(self, x_nd: np.ndarray) -> np.ndarray:
        """Lift tokens (n, d) to features (n, n_out), float64."""
        if len(self.centre_ld) == 0:
            return x_nd.astype(np.float64)
        return np.exp(-squared_distance(x_nd.astype(np.float64), self.centre_ld) / self.width) @ self.map_lk


def squared_distance(x_nd: np.ndarray, y_md: np.ndarray) -> np.ndarray:
    squared = (x_nd**2).sum(axis=1)[:, None] + (y_md**2).sum(axis=1) - 2 * x_nd @ y_md.T
    return np.maximum(squared, 0, out=squared)
