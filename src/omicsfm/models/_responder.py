"""What every model of perturbation responses has in common: the two ways in, the one way out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from mudata import MuData
from scipy.stats import norm
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from omicsfm import _html, contract
from omicsfm._errors import InputError
from omicsfm.pp import ResponseData, response_data
from omicsfm.pp._response_data import DESIGN


@dataclass(frozen=True, repr=False)
class Response:
    """Predicted effects, one row per row of the design that was asked about.

    Attributes
    ----------
    design : DataFrame (n): perturbation, context, dose, as asked.
    mean, sd, lower, upper : DataFrames (n, n_genes) on the scale of the effects learnt from; ``lower`` and ``upper``
        bound an interval of the stated level for the measured effect.
    reliability : Series (n,), 0 (as good as the mean response) to 1 (as good as a repeat of the experiment).
    level : nominal coverage of the interval.
    """

    design: pd.DataFrame
    mean: pd.DataFrame
    sd: pd.DataFrame
    lower: pd.DataFrame
    upper: pd.DataFrame
    reliability: pd.Series
    level: float

    def __repr__(self) -> str:
        n, n_genes = self.mean.shape
        return f"Response: {n:,} predictions x {n_genes:,} genes, {self.level:.0%} intervals"

    def _repr_html_(self) -> str:
        size = np.sqrt(np.square(self.mean).mean(axis=1))
        largest = self.mean.abs().idxmax(axis=1) if self.mean.shape[1] else ""
        shown = self.design.assign(reliability=self.reliability, size=size, largest=largest)
        return _html.heading(repr(self)) + _html.table(shown, rows=20)


@runtime_checkable
class Responds(Protocol):
    """Predicts effects of perturbations."""

    def fit(self, mdata: MuData) -> Any:
        """Learn from a MuData that was set up with a perturbation key and a control."""

    def fit_effects(self, effects: pd.DataFrame, design: pd.DataFrame) -> Any:
        """Learn from effects."""

    def respond(self, design: pd.DataFrame) -> Response:
        """Predict the effects of a design."""


class Responder(BaseEstimator):
    """Base of the estimators that predict effects: checks, and an interval from the errors on what was held out.

    A subclass gives ``_learn(data)``, which sets learnt attributes, and ``_predict(design)``, (n, n_genes) means. One
    that knows its own uncertainty overrides ``_answer``.
    """

    level: float = 0.9

    def fit(self, mdata: MuData | ResponseData, *, modality: str = "rna") -> Any:
        """Learn the response to perturbations.

        Parameters
        ----------
        mdata
            Effects, or cells: set up with ``perturbation_key``, ``control`` and, where there are several,
            ``context_key``. Contexts with controls alone can be asked about later. Priors of the targets are
            ``varm["prior_*"]`` of the guide modality.
        modality
            Whose features respond.

        Raises
        ------
        InputError
            If there are no controls, or nothing was perturbed.
        """
        if isinstance(mdata, ResponseData):
            return self._fit(mdata)
        self._fit(response_data(mdata, modality=modality))
        self.control_ = contract.control_of(mdata) or contract.CONTROL
        return self

    def fit_effects(
        self,
        effects: pd.DataFrame,
        design: pd.DataFrame,
        *,
        priors: Mapping[str, pd.DataFrame] | None = None,
        se: pd.DataFrame | None = None,
        controls: pd.DataFrame | None = None,
        controls_se: pd.DataFrame | None = None,
    ) -> Any:
        """Learn from effects where there are no cells (z-scores, ranks, log fold changes).

        Parameters
        ----------
        effects
            (n, n_genes), a row per perturbation and context; finite.
        design
            DataFrame (n): `perturbation` ("A", "A+B"), `context` (one is enough), `dose` (or no such column).
        priors
            Name -> DataFrame (targets, n_features); targets that are not in it are taken as unknown.
        se
            (n, n_genes) standard errors of the effects.
        controls
            (contexts, n_genes): what the contexts are like without perturbation; rows named as in the design.
        controls_se
            Standard errors of `controls`, of the same rows and columns.

        Raises
        ------
        InputError
            If shapes differ, a number is not finite, or every row is a control.
        """
        effects, design = as_effects(effects), as_design(design, "fit_effects")
        if controls is not None:
            controls = as_effects(controls, "controls")
            controls.index = controls.index.astype(str)
            if len(missing := effects.columns.difference(controls.columns)):
                raise InputError(
                    f"fit_effects: `controls` lacks {len(missing)} genes of the effects, such as {missing[0]}. "
                    "Fix: give the same columns."
                )
            controls = controls[list(effects.columns)]
        if controls_se is not None:
            controls_se = as_effects(controls_se, "controls_se")
            controls_se.index = controls_se.index.astype(str)
            if controls is None or not controls_se.index.isin(controls.index).all():
                raise InputError("fit_effects: `controls_se` needs the rows of `controls`. Fix: give both alike.")
            controls_se = controls_se[list(effects.columns)]
        if len(effects) != len(design):
            raise InputError(
                f"fit_effects: effects and design need the same rows, found {len(effects)} and {len(design)}. "
                "Fix: one row of the design per row of effects, in the same order."
            )
        index = pd.RangeIndex(len(design))
        kept = (design["perturbation"] != contract.CONTROL).to_numpy()
        if not kept.any():
            raise InputError("fit_effects: every row is a control. Fix: give rows of perturbations.")
        effects, design = effects.set_axis(index, axis=0)[kept], design.set_axis(index)[kept]
        if se is not None:
            se = as_effects(se, "se").set_axis(index, axis=0)[kept]
            if se.shape != effects.shape:
                raise InputError(
                    f"fit_effects: se needs the shape of effects {effects.shape}, found {se.shape}. Fix: same rows."
                )
        return self._fit(
            ResponseData(
                effects=effects.reset_index(drop=True),
                design=design.reset_index(drop=True),
                se=None if se is None else se.reset_index(drop=True),
                controls=controls,
                controls_se=controls_se,
                priors={name: as_prior(name, table) for name, table in (priors or {}).items()},
            )
        )

    def respond(self, design: pd.DataFrame) -> Response:
        """Predict the effect of perturbations in contexts.

        Parameters
        ----------
        design
            DataFrame (n): `perturbation` ("A", "A+B", also ones never seen), `context` (may be left out where the
            training data had one), `dose` where training had doses. A control has no effect.

        Returns
        -------
        Response, rows in the order and with the index of the design.
        """
        if not hasattr(self, "genes_"):
            raise NotFittedError(f"{type(self).__name__} is not fitted. Fix: call fit or fit_effects first.")
        context = self.contexts_[0] if len(self.contexts_) == 1 else None
        asked = as_design(design, "respond", context=context, control=self.control_)
        mean, sd, half, reliability = self._answer(asked)
        nothing = (asked["perturbation"] == contract.CONTROL).to_numpy()
        for values in (mean, sd, half):
            values[nothing] = 0.0
        reliability = np.where(nothing, 1.0, reliability)

        def frame(values: np.ndarray) -> pd.DataFrame:
            return pd.DataFrame(values, index=design.index, columns=self.genes_)

        return Response(
            design=asked.set_axis(design.index),
            mean=frame(mean),
            sd=frame(sd),
            lower=frame(mean - half),
            upper=frame(mean + half),
            reliability=pd.Series(reliability, index=design.index, name="reliability"),
            level=self.level,
        )

    def _fit(self, data: ResponseData) -> Any:
        if not 0 < self.level < 1:
            raise InputError(f"{type(self).__name__}: level must be between 0 and 1, found {self.level}. Fix: 0.9.")
        self.control_ = contract.CONTROL
        self.genes_ = data.effects.columns.astype(str)
        self.contexts_ = tuple(
            sorted(set(data.design["context"]) | set(() if data.controls is None else data.controls.index))
        )
        self._learn(data)
        residual = data.effects.to_numpy(dtype=np.float64) - self._predict(data.design)
        # In the sample: too small for what was never seen. Models that claim more override `_answer`.
        self.spread_g_ = np.sqrt(np.mean(residual**2, axis=0))
        return self

    def _answer(self, design: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Give mean, sd and half width of the interval (n, n_genes each), and reliability (n,)."""
        mean = self._predict(design)
        sd = np.broadcast_to(self.spread_g_, mean.shape).copy()
        return mean, sd, norm.ppf(0.5 + self.level / 2) * sd, np.zeros(len(mean))

    def _learn(self, data: ResponseData) -> None:
        raise NotImplementedError

    def _predict(self, design: pd.DataFrame) -> np.ndarray:
        raise NotImplementedError


def as_effects(table: Any, name: str = "effects") -> pd.DataFrame:
    """Give a finite float64 table; arrays get numbered columns."""
    frame = pd.DataFrame(table)
    try:
        frame = frame.astype(np.float64)
    except (TypeError, ValueError) as err:
        raise InputError(f"fit_effects: `{name}` must hold numbers. Fix: drop columns of text.") from err
    bad = int((~np.isfinite(frame.to_numpy())).sum())
    if bad or 0 in frame.shape:
        raise InputError(
            f"fit_effects: `{name}` must be finite and not empty, found {bad} entries NaN or infinite, shape "
            f"{frame.shape}. Fix: drop those genes, or fill them."
        )
    return frame


def as_design(
    design: Any, caller: str, *, context: str | None = contract.EVERYWHERE, control: str = contract.CONTROL
) -> pd.DataFrame:
    """Give perturbation (one name each), context and dose as they stand in every table of ours."""
    if not isinstance(design, pd.DataFrame) or "perturbation" not in design.columns:
        found = list(design.columns) if isinstance(design, pd.DataFrame) else type(design).__name__
        raise InputError(
            f"{caller}: the design needs a column 'perturbation', found {found}. "
            "Fix: pd.DataFrame({'perturbation': ['A', 'A+B'], 'context': ['K562', 'K562']})."
        )
    if "context" not in design.columns and context is None:
        raise InputError(f"{caller}: several contexts were learnt from. Fix: add a column 'context' to the design.")
    missing = [c for c in ("perturbation", "context") if c in design.columns and design[c].isna().any()]
    if missing:
        raise InputError(f"{caller}: the design has NaN in {missing}. Fix: drop those rows.")
    out = pd.DataFrame(index=design.index)
    out["perturbation"] = [contract.canonical(str(name), control) for name in design["perturbation"]]
    out["context"] = design["context"].astype(str).to_numpy() if "context" in design.columns else context
    out["dose"] = np.nan
    if "dose" in design.columns:
        perturbed = (out["perturbation"] != contract.CONTROL).to_numpy()
        out["dose"] = _doses(design["dose"].where(perturbed), caller)
    return out[DESIGN]


def _doses(values: pd.Series, caller: str) -> np.ndarray:
    found = pd.to_numeric(values.astype(object), errors="coerce").to_numpy(dtype=np.float64)
    bad = values[np.isnan(found) & values.notna().to_numpy() | (found <= 0) | np.isinf(found)]
    if len(bad):
        raise InputError(
            f"{caller}: a dose is a number above 0, found {bad.iloc[0]!r}. Fix: numbers in one unit, NaN where none."
        )
    return found


def as_prior(name: str, table: Any) -> pd.DataFrame:
    """Give a prior as a float64 table with one row per target."""
    if not isinstance(table, pd.DataFrame):
        raise InputError(
            f"fit_effects: prior '{name}' needs a DataFrame (targets x features), found {type(table).__name__}. "
            "Fix: pd.DataFrame(values, index=targets)."
        )
    try:
        frame = table.set_axis(table.index.astype(str), axis=0).astype(np.float64)
    except (TypeError, ValueError) as err:
        raise InputError(f"fit_effects: prior '{name}' must hold numbers. Fix: drop columns of text.") from err
    frame = frame[np.isfinite(frame.to_numpy()).all(axis=1)]
    return frame[~frame.index.duplicated()]
