"""What the baselines of perturbation response share: looking up measured effects, their means, and saving."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from omicsfm import contract, hub
from omicsfm.models._responder import Responder
from omicsfm.pp import ResponseData

NO_DOSE = float("nan")


@hub.state
@dataclass(frozen=True)
class MeasuredEffects:
    """Effects by perturbation, context and dose.

    Attributes
    ----------
    names, contexts : (n,) text.
    log_dose : (n,) natural logarithm; NaN where there is no dose, or none above zero.
    values : (n, n_genes).
    """

    names: np.ndarray
    contexts: np.ndarray
    log_dose: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, data: ResponseData) -> MeasuredEffects:
        """Take the training effects as they are."""
        dose = data.design["dose"].to_numpy(dtype=np.float64)
        return cls(
            data.design["perturbation"].to_numpy(dtype=str),
            data.design["context"].to_numpy(dtype=str),
            np.log(np.where(dose > 0, dose, np.nan)),
            data.effects.to_numpy(dtype=np.float64),
        )

    @cached_property
    def where(self) -> dict[str, dict[str, np.ndarray]]:
        """Perturbation -> context -> rows, both sorted."""
        found: dict[str, dict[str, list[int]]] = {}
        for row in np.lexsort((self.contexts, self.names)):
            found.setdefault(str(self.names[row]), {}).setdefault(str(self.contexts[row]), []).append(int(row))
        return {name: {c: np.array(rows) for c, rows in at.items()} for name, at in found.items()}

    @cached_property
    def members(self) -> dict[str, frozenset[str]]:
        """Perturbation -> its members, in the order of `where`."""
        return {name: frozenset(contract.members(name)) for name in self.where}

    def measured(self, name: str, context: str, dose: float = NO_DOSE) -> np.ndarray | None:
        """Effect (n_genes,) in this context: at the nearest dose on the log scale, or the mean over doses."""
        rows = self.where.get(name, {}).get(context)
        if rows is None:
            return None
        if dose > 0 and np.isfinite(self.log_dose[rows]).any():
            gap = np.abs(self.log_dose[rows] - np.log(dose))
            rows = rows[gap <= np.nanmin(gap) + 1e-9]
        return self.values[rows].mean(axis=0)

    def elsewhere(self, name: str, context: str | None, dose: float = NO_DOSE) -> np.ndarray | None:
        """Mean effect over the contexts other than this one; over all of them for None."""
        others = [other for other in self.where.get(name, {}) if other != context]
        found = [effect for other in others if (effect := self.measured(name, other, dose)) is not None]
        return np.stack(found).mean(axis=0) if found else None

    def effect(self, name: str, context: str, dose: float = NO_DOSE) -> np.ndarray | None:
        """Effect in this context, else the mean over those in which it was measured."""
        here = self.measured(name, context, dose)
        return self.elsewhere(name, None, dose) if here is None else here

    def table(self, context: str | None) -> tuple[list[str], np.ndarray]:
        """Perturbations measured in a context and their effects (m, n_genes); None: all, averaged over contexts."""
        names = [name for name, at in self.where.items() if context is None or context in at]
        rows = [self.elsewhere(n, None) if context is None else self.measured(n, context) for n in names]
        return names, np.array(rows).reshape(len(names), self.values.shape[1])

    def per_member(self) -> MeasuredEffects:
        """Keep single perturbations; where there are none, effects of combinations divided by their members."""
        size = np.array([len(contract.members(name)) for name in self.names])
        kept = np.flatnonzero(size == 1) if (size == 1).any() else np.arange(len(size))
        values = self.values[kept] / size[kept, None]
        return MeasuredEffects(self.names[kept], self.contexts[kept], self.log_dose[kept], values)


@hub.state
@dataclass(frozen=True)
class MeanEffects:
    """Mean over perturbations, each of which counts once whatever its doses and contexts.

    Attributes
    ----------
    by_context : context -> (n_genes,).
    overall : (n_genes,), of each perturbation's mean over contexts.
    """

    by_context: dict[str, np.ndarray]
    overall: np.ndarray

    @classmethod
    def of(cls, effects: MeasuredEffects) -> MeanEffects:
        """Average what was measured."""
        contexts = sorted({context for at in effects.where.values() for context in at})
        by_context = {context: effects.table(context)[1].mean(axis=0) for context in contexts}
        return cls(by_context, effects.table(None)[1].mean(axis=0))

    def __call__(self, context: str) -> np.ndarray:
        """Give the mean in a context, overall in one where nothing was measured."""
        return self.by_context.get(context, self.overall)


class ResponseBaseline(Responder):
    """Base of the baselines: a subclass gives `_learn(data)`, and `_row` for one perturbation or `_predict` for all.

    Parameters
    ----------
    seed
        Of what is random; most of these are not and take it to be made like every model.
    """

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the fitted model to a folder that ``ofm.load`` reads."""
        check_is_fitted(self, "genes_")
        return hub.save(self, path, overwrite=overwrite)

    def _predict(self, design: pd.DataFrame) -> np.ndarray:
        out = np.zeros((len(design), len(self.genes_)))
        asked = zip(design["perturbation"], design["context"], design["dose"], strict=True)
        for i, (name, context, dose) in enumerate(asked):
            if name != contract.CONTROL:
                out[i] = self._row(name, context, dose)
        return out

    def _row(self, name: str, context: str, dose: float) -> np.ndarray:
        """Give the effect (n_genes,) of a perturbation that is no control."""
        raise NotImplementedError
