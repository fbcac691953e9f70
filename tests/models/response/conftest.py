"""Simulated screens of which every true effect is known, for the tests of the response model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from omicsfm.models._response._rows import Rows


@dataclass
class Screen:
    """Effects that follow from features of the targets, which the prior holds.

    The effect of target t in context c is ``common + context_c + (z_t + own * u_tc) W``; a combination has `saturation`
    times the sum of its members; at dose x the effect is multiplied by ``x / (1 + x)``.
    """

    rng: np.random.Generator
    z: pd.DataFrame
    common: np.ndarray
    contexts: dict[str, np.ndarray]
    w: np.ndarray
    private: dict[tuple[str, str], np.ndarray]
    noise: float
    saturation: float

    def truth(self, design: pd.DataFrame) -> pd.DataFrame:
        out = []
        for row in design.itertuples():
            parts = row.perturbation.split("+")
            effect = sum(
                self.common + self.contexts[row.context] + (self.z.loc[t] + self.private[t, row.context]) @ self.w
                for t in parts
            )
            effect = effect * (self.saturation if len(parts) > 1 else 1.0)
            dose = getattr(row, "dose", np.nan)
            out.append(np.asarray(effect) * (1 if np.isnan(dose) else dose / (1 + dose)))
        return pd.DataFrame(out, index=design.index, columns=[f"g{i}" for i in range(self.w.shape[1])])

    def measure(self, design: pd.DataFrame) -> pd.DataFrame:
        truth = self.truth(design)
        return truth + self.noise * self.rng.normal(size=truth.shape)

    @property
    def useless(self) -> pd.DataFrame:
        """The prior with the names of its targets shuffled, none in its place."""
        return self.z.set_axis(np.roll(self.z.index.to_numpy(), len(self.z) // 3), axis=0)


def simulate(
    n_targets: int = 24,
    contexts: Sequence[str] = ("c1",),
    *,
    seed: int = 0,
    n_genes: int = 40,
    n_features: int = 4,
    common: float = 1.0,
    context: float = 0.7,
    own: float = 0.0,
    noise: float = 0.3,
    saturation: float = 0.7,
) -> Screen:
    rng = np.random.default_rng(seed)
    targets = [f"t{i:02d}" for i in range(n_targets)]
    return Screen(
        rng,
        pd.DataFrame(rng.normal(size=(n_targets, n_features)), index=targets),
        common * rng.normal(size=n_genes),
        {c: context * rng.normal(size=n_genes) for c in contexts},
        rng.normal(size=(n_features, n_genes)) / np.sqrt(n_features),
        {(t, c): own * rng.normal(size=n_features) for t in targets for c in contexts},
        noise,
        saturation,
    )


def grid(targets: Sequence[str], contexts: Sequence[str] = ("c1",), doses: Sequence[float] | None = None):
    rows = [(t, c, x) for c in contexts for t in targets for x in (doses or [np.nan])]
    design = pd.DataFrame(rows, columns=["perturbation", "context", "dose"])
    return design if doses else design.drop(columns="dose")


def rows_of(*rows: tuple) -> Rows:
    """Rows of (perturbation, context) or (perturbation, context, dose)."""
    filled = [(*row, np.nan)[:3] for row in rows]
    return Rows.of(pd.DataFrame(filled, columns=["perturbation", "context", "dose"]))


@pytest.fixture(scope="session", name="simulate")
def _simulate() -> Callable[..., Screen]:
    return simulate


@pytest.fixture(scope="session", name="grid")
def _grid() -> Callable[..., pd.DataFrame]:
    return grid


@pytest.fixture(scope="session", name="rows_of")
def _rows_of() -> Callable[..., Rows]:
    return rows_of
