"""What regressions of effects on their targets share: features of targets, one fit per context, sums over members."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from omicsfm import contract, hub
from omicsfm._errors import InputError
from omicsfm.models.responses._shared import MeanEffects, MeasuredEffects, ResponseBaseline
from omicsfm.pp import ResponseData

MIN_TARGETS = 3  # fewer teach nothing about how effects follow from features


@hub.state
@dataclass(frozen=True)
class TargetFeatures:
    """Features of targets.

    Attributes
    ----------
    targets : names.
    values : (n_targets, n_features).
    """

    targets: tuple[str, ...]
    values: np.ndarray

    @classmethod
    def of(cls, priors: Mapping[str, pd.DataFrame], caller: str) -> TargetFeatures:
        """Concatenate priors, each row of each at unit norm; zeros where a prior does not know the target."""
        if not priors:
            raise InputError(
                f"{caller}.fit: priors of the targets are needed, found none. "
                "Fix: ofm.pp.add_priors(mdata) before fit, or fit_effects(..., priors={name: DataFrame})."
            )
        targets = sorted({str(target) for table in priors.values() for target in table.index})
        blocks = []
        for name in sorted(priors):
            values = priors[name].reindex(targets).fillna(0.0).to_numpy(dtype=np.float64)
            norm = np.linalg.norm(values, axis=1, keepdims=True)
            blocks.append(np.divide(values, norm, out=np.zeros_like(values), where=norm > 0))
        values = np.hstack(blocks)
        known = np.flatnonzero(values.any(axis=1))
        return cls(tuple(targets[i] for i in known), values[known])

    def position(self) -> dict[str, int]:
        """Target -> row."""
        return {target: i for i, target in enumerate(self.targets)}


Regression = Callable[[np.ndarray], np.ndarray]


class TargetRegression(ResponseBaseline):
    """Base of the regressions of single effects on features of the target, one in each context.

    A subclass gives `_features_of` and `_regress`. Contexts in which fewer than three targets with features were
    perturbed are answered by the fit on means over contexts. A target without features has the mean of the single
    perturbations; a combination is the sum of its members. Doses are averaged.
    """

    def _features_of(self, data: ResponseData) -> TargetFeatures:
        raise NotImplementedError

    def _regress(self, x: np.ndarray, y: np.ndarray) -> Regression | None:
        """Fit effects (n, n_genes) on features (n, n_features); None where nothing can be told apart."""
        raise NotImplementedError

    def _learn(self, data: ResponseData) -> None:
        self.features_ = self._features_of(data)
        effects = MeasuredEffects.of(data).per_member()
        self.mean_ = MeanEffects.of(effects)
        self.anywhere_ = self._fit_one(*effects.table(None))
        self.fits_: dict[str, Regression] = {}
        contexts = sorted(self.mean_.by_context)
        for context in contexts if len(contexts) > 1 else ():  # one context: the same as anywhere
            fit = self._fit_one(*effects.table(context))
            if fit is not None:
                self.fits_[context] = fit

    def _fit_one(self, names: list[str], values: np.ndarray) -> Regression | None:
        position = self.features_.position()
        known = [i for i, name in enumerate(names) if name in position]
        if len(known) < MIN_TARGETS:
            return None
        return self._regress(self.features_.values[[position[names[i]] for i in known]], values[known])

    def _predict(self, design: pd.DataFrame) -> np.ndarray:
        out = np.zeros((len(design), len(self.genes_)))
        position = self.features_.position()
        contexts = design["context"].to_numpy(dtype=str)
        parts = [contract.members(name) for name in design["perturbation"]]
        for context in np.unique(contexts).tolist():
            rows = np.flatnonzero(contexts == context)
            fit = self.fits_.get(context, self.anywhere_)
            asked = sorted({part for i in rows for part in parts[i] if part in position}) if fit is not None else []
            found = {}
            if fit is not None and asked:
                found = dict(zip(asked, fit(self.features_.values[[position[t] for t in asked]]), strict=True))
            for i in rows:
                for part in parts[i]:
                    out[i] += found.get(part, self.mean_(context))
        return out


class PriorRegression(TargetRegression):
    """Base of the regressions on priors."""

    def _features_of(self, data: ResponseData) -> TargetFeatures:
        return TargetFeatures.of(data.priors, type(self).__name__)
