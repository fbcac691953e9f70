"""Labels from cell states: regularised logistic regression, calibrated, with the option of not knowing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from omicsfm import hub

MAX_ROWS = 20_000
N_FOLDS = 5
FEW_ROWS = 50


@hub.state
@dataclass(frozen=True)
class LabelHead:
    """Fitted classifier on cell states.

    Attributes
    ----------
    labels : class names.
    coefficient, intercept : (n_classes, k), (n_classes,).
    temperature : divides the logits so that confidence matches held-out accuracy.
    centre_ck, precision_kk : class means and the shared inverse covariance of the states of training cells.
    far_c : distance to the predicted class beyond which a cell is "unknown" (99th percentile of held-out cells).
    """

    labels: list[str]
    coefficient: np.ndarray
    intercept: np.ndarray
    temperature: float
    centre_ck: np.ndarray
    precision_kk: np.ndarray
    far_c: np.ndarray

    @classmethod
    def fit(cls, z_nk: np.ndarray, label_n: np.ndarray, group_n: np.ndarray, *, seed: int) -> LabelHead:
        """Fit on states (n, k) of labelled cells; rows of one cell share a `group_n`, and never straddle a fold."""
        rng = np.random.default_rng(seed)
        if len(z_nk) > MAX_ROWS:
            chosen = np.sort(rng.choice(len(z_nk), MAX_ROWS, replace=False))
            z_nk, label_n, group_n = z_nk[chosen], label_n[chosen], group_n[chosen]
        names, code = np.unique(label_n.astype(str), return_inverse=True)
        fold_n = _folds(code, group_n, seed=seed)
        centre, precision = _classes(z_nk, code, len(names))
        distance = _held_out_distance(z_nk, code, fold_n, len(names))
        far = np.array([np.quantile(distance[code == c], 0.99) for c in range(len(names))])
        # A handful of cells says little about how far their class reaches: it reaches as far as classes do.
        few = np.bincount(code, minlength=len(names)) < FEW_ROWS
        far[few] = np.maximum(far[few], np.quantile(distance, 0.99))
        if len(names) == 1:
            return cls([str(names[0])], np.zeros((1, z_nk.shape[1])), np.zeros(1), 1.0, centre, precision, far)
        model = LogisticRegression(C=1.0, max_iter=500, random_state=seed)
        temperature = _temperature(model, z_nk, code, fold_n)
        model.fit(z_nk, code)
        coefficient, intercept = model.coef_, model.intercept_
        if len(names) == 2:  # scikit-learn keeps one row for two classes
            coefficient, intercept = np.vstack([-coefficient, coefficient]) / 2, np.array([-1.0, 1.0]) * intercept / 2
        return cls([str(n) for n in names], coefficient, intercept, temperature, centre, precision, far)

    def predict(self, z_nk: np.ndarray, *, min_confidence: float) -> pd.DataFrame:
        """Give label, confidence, unknown and novelty (distance to the class, in units of its limit) per row."""
        probability = softmax((z_nk @ self.coefficient.T + self.intercept) / self.temperature, axis=1)
        best = probability.argmax(axis=1)
        distance = _distance(z_nk - self.centre_ck[best], self.precision_kk)
        confidence = probability[np.arange(len(best)), best]
        novelty = distance / np.maximum(self.far_c[best], 1e-12)
        return pd.DataFrame(
            {
                "label": np.array(self.labels, dtype=object)[best],
                "confidence": confidence,
                "unknown": (confidence < min_confidence) | (novelty > 1),
                "novelty": novelty,
            }
        )


def _classes(z_nk: np.ndarray, code: np.ndarray, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Class means (c, k), and the inverse of their shared, shrunk covariance (k, k)."""
    centre = np.array([z_nk[code == c].mean(axis=0) for c in range(n_classes)])
    residual = z_nk - centre[code]
    scatter = residual.T @ residual / len(z_nk)
    k = len(scatter)
    return centre, np.linalg.inv(scatter + (0.05 * np.trace(scatter) / k + 1e-9) * np.eye(k))


def _distance(residual_nk: np.ndarray, precision_kk: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("nk,kl,nl->n", residual_nk, precision_kk, residual_nk))


def _held_out_distance(z_nk: np.ndarray, code: np.ndarray, fold_n: np.ndarray, n_classes: int) -> np.ndarray:
    """Distance of every cell to its class, measured without it where its class can spare it."""
    centre, precision = _classes(z_nk, code, n_classes)
    out = _distance(z_nk - centre[code], precision)
    for i in np.unique(fold_n):
        test = fold_n == i
        if test.all() or len(np.unique(code[~test])) < n_classes:
            continue
        centre, precision = _classes(z_nk[~test], code[~test], n_classes)
        out[test] = _distance(z_nk[test] - centre[code[test]], precision)
    return out


def _folds(code: np.ndarray, group_n: np.ndarray, *, seed: int) -> np.ndarray:
    """Fold of every row, classes spread evenly, rows of one group together; one fold if a class has a single group."""
    _, first, member = np.unique(group_n, return_index=True, return_inverse=True)
    smallest = int(np.bincount(code[first]).min())
    if smallest < 2:
        return np.zeros(len(code), dtype=int)
    folds = StratifiedKFold(min(N_FOLDS, smallest), shuffle=True, random_state=seed)
    fold_of_group = np.empty(len(first), dtype=int)
    for i, (_, test) in enumerate(folds.split(first, code[first])):
        fold_of_group[test] = i
    return fold_of_group[member]


def _temperature(model: LogisticRegression, z_nk: np.ndarray, code: np.ndarray, fold_n: np.ndarray) -> float:
    """Temperature scaling on cross-validated logits (Guo et al. 2017, ICML)."""
    splits = [(np.flatnonzero(fold_n != i), np.flatnonzero(fold_n == i)) for i in np.unique(fold_n)]
    if len(splits) < 2:
        return 1.0
    logit = cross_val_predict(model, z_nk, code, cv=splits, method="decision_function")
    if logit.ndim == 1:
        logit = np.column_stack([-logit, logit]) / 2
    return fit_temperature(logit, code)


def fit_temperature(logit: np.ndarray, code: np.ndarray) -> float:
    """Temperature that makes held-out logits (n, c) most likely for the true classes (n,)."""
    rows = np.arange(len(code))

    def loss(log_t: float) -> float:
        return float(-log_softmax(logit / np.exp(log_t), axis=1)[rows, code].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-2.0, 2.0), method="bounded").x))
