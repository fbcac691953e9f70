"""How alike two perturbations are: by what was known of their targets, by being the same, by context and dose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from omicsfm import hub
from omicsfm.models._response._rows import Rows

CONTEXT_WIDTHS = (0.3, 1.0)  # of exp((cosine - 1) / width) between controls of two contexts
_DOSE_WIDTH = 0.5  # of a Gaussian over log10 of the dose


@hub.state
@dataclass(frozen=True)
class Prior:
    """Unit-length features of the targets that a prior knows, and the width of its local kernel.

    Attributes
    ----------
    targets : names.
    features : (n_targets, n_features) rows of unit length; the mean was taken off where rows point one way.
    centre : what was taken off.
    width : typical squared distance of two rows.
    """

    targets: tuple[str, ...]
    features: np.ndarray
    width: float

    @classmethod
    def of(cls, table: pd.DataFrame, targets: list[str]) -> Prior | None:
        """Prepare the table of a prior; None if it tells no two of the training `targets` apart."""
        x = table.to_numpy(dtype=np.float64)
        known = table.index.isin(targets)
        if known.sum() < 3:
            return None
        # Text and expression vectors all point one way: what tells targets apart is the rest. The mean of the training
        # targets alone, so that a row does not depend on what else is asked about.
        unit = _unit(x)
        if float(np.square(unit[known].mean(axis=0)).sum()) > 0.3:
            unit = _unit(x - x[known].mean(axis=0))
        kept = np.linalg.norm(unit, axis=1) > 0
        if (kept & known).sum() < 3:
            return None
        x_known = unit[kept & known]
        gram = x_known @ x_known.T
        off = 2 - 2 * gram[np.triu_indices(len(gram), 1)]
        return cls(tuple(table.index[kept].astype(str)), unit[kept], max(float(np.median(off)), 1e-6))

    def rows(self, targets: list[str]) -> np.ndarray:
        """Features of targets, zero where the prior does not know one."""
        position = {t: i for i, t in enumerate(self.targets)}
        out = np.zeros((len(targets), self.features.shape[1]))
        for i, target in enumerate(targets):
            if target in position:
                out[i] = self.features[position[target]]
        return out


@hub.state
@dataclass(frozen=True)
class Controls:
    """How alike contexts are without perturbation.

    Attributes
    ----------
    contexts : names.
    cosine : (n, n) of their mean expression, less the mean over contexts.
    """

    contexts: tuple[str, ...]
    cosine: np.ndarray

    @classmethod
    def of(cls, table: pd.DataFrame | None) -> Controls | None:
        """Compare contexts; None if there are fewer than three: two always point opposite ways."""
        if table is None or len(table) < 3:
            return None
        x = table.to_numpy(dtype=np.float64)
        unit = _unit(x - x.mean(axis=0))
        return cls(tuple(table.index.astype(str)), unit @ unit.T)


def _unit(x: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, norm, out=np.zeros_like(x), where=norm > 1e-12)


def prior_kernels(priors: Mapping[str, Prior], a: Rows, b: Rows) -> dict[str, np.ndarray]:
    """Give two kernels per prior, (len(a), len(b)): cosine, and a local one; members of a combination add up."""
    ta, tb = a.targets, b.targets
    ma, mb = a.membership(ta), b.membership(tb)
    out = {}
    for name, prior in priors.items():
        fa, fb = prior.rows(ta), prior.rows(tb)
        cosine = fa @ fb.T
        known = (np.linalg.norm(fa, axis=1) > 0)[:, None] & (np.linalg.norm(fb, axis=1) > 0)[None]
        local = np.where(known, np.exp(-4 * (1 - cosine) / prior.width), 0.0)
        out[f"prior {name}"] = ma @ cosine @ mb.T
        out[f"prior {name} (local)"] = ma @ local @ mb.T
    return out


def same_context(a: Rows, b: Rows) -> np.ndarray:
    """1 where two rows are of one context."""
    return (a.contexts[:, None] == b.contexts[None]).astype(np.float64)


def same_targets(a: Rows, b: Rows) -> np.ndarray:
    """Count the members that two rows share."""
    targets = sorted({*a.targets, *b.targets})
    return a.membership(targets) @ b.membership(targets).T


def context_kernels(controls: Controls | None, a: Rows, b: Rows) -> dict[str, np.ndarray]:
    """Give how alike the controls of two contexts are; 0 for one that has none, but for itself."""
    if controls is None:
        return {}
    cosine = controls.cosine
    position = {c: i for i, c in enumerate(controls.contexts)}
    ia, ib = (np.array([position.get(str(c), -1) for c in rows.contexts]) for rows in (a, b))
    known = (ia >= 0)[:, None] & (ib >= 0)[None]
    out = {}
    for width in CONTEXT_WIDTHS:
        kernel = np.exp((cosine - 1) / width)[np.ix_(ia, ib)]
        out[f"context {width:g}"] = np.where(known, kernel, same_context(a, b))
    return out


def dose_kernels(a: Rows, b: Rows) -> dict[str, np.ndarray]:
    """Give nearness of two doses, and their product (a trend)."""
    near = np.exp(-np.square(a.dose[:, None] - b.dose[None]) / (2 * _DOSE_WIDTH**2))
    return {"dose": near, "dose trend": a.dose[:, None] * b.dose[None]}


@hub.state
@dataclass(frozen=True)
class Structure:
    """What the training rows can tell apart.

    Attributes
    ----------
    several_contexts, combinations, doses : whether there are.
    """

    several_contexts: bool
    combinations: bool
    doses: bool

    @classmethod
    def of(cls, rows: Rows) -> Structure:
        """Look at the training rows."""
        return cls(len(set(rows.contexts)) > 1, bool((rows.size > 1).any()), len(set(rows.dose)) > 1)


def all_kernels(
    priors: Mapping[str, Prior], controls: Controls | None, structure: Structure, a: Rows, b: Rows
) -> dict[str, np.ndarray]:
    """Give every kernel of the process over perturbations and contexts, (len(a), len(b)) each.

    A target is told from noise only where it stands in several rows: else there is no kernel for it.
    """
    mean = a.size[:, None] * b.size[None]
    out = {"mean": mean}
    known = prior_kernels(priors, a, b)
    out.update(known)
    same = same_targets(a, b)
    if structure.several_contexts or structure.combinations or structure.doses:
        out["target"] = same
    if structure.several_contexts:
        here = same_context(a, b)
        out["context mean"] = mean * here
        out.update({f"{name}, here": kernel * here for name, kernel in known.items()})
        for name, kernel in context_kernels(controls, a, b).items():
            out[name] = mean * kernel
            out[f"target, {name}"] = same * kernel
    if structure.doses:
        for name, kernel in dose_kernels(a, b).items():
            out[name] = mean * kernel
            out[f"target, {name}"] = same * kernel
    return out
