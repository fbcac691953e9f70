"""A design as numbers: which targets a row holds, in which context, at which dose."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from omicsfm import contract, hub


@hub.state
@dataclass(frozen=True)
class Rows:
    """Rows of a design.

    Attributes
    ----------
    names : (n,) perturbations.
    parts : members of each row.
    contexts : (n,) text.
    dose : (n,) log10 of the dose less that of a typical one, 0 where there is none: units do not matter.
    """

    names: np.ndarray
    parts: tuple[tuple[str, ...], ...]
    contexts: np.ndarray
    dose: np.ndarray

    @classmethod
    def of(cls, design: pd.DataFrame, centre: float = 0.0) -> Rows:
        """Read a design (perturbation, context, dose); `centre` is the log10 of the typical dose."""
        names = design["perturbation"].to_numpy(dtype=str)
        dose = design["dose"].to_numpy(dtype=np.float64)
        known = np.isfinite(dose) & (dose > 0)
        log = np.zeros(len(dose))
        log[known] = np.log10(dose[known]) - centre
        parts = tuple(contract.members(name) for name in names)
        return cls(names, parts, design["context"].to_numpy(dtype=str), log)

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: np.ndarray) -> Rows:
        """Give some of the rows."""
        parts = tuple(self.parts[i] for i in rows)
        return Rows(self.names[rows], parts, self.contexts[rows], self.dose[rows])

    @property
    def size(self) -> np.ndarray:
        """Number of members of each row."""
        return np.array([len(p) for p in self.parts], dtype=np.float64)

    @property
    def targets(self) -> list[str]:
        """All members, sorted."""
        return sorted({t for p in self.parts for t in p})

    def membership(self, targets: list[str]) -> np.ndarray:
        """Give 1 where a row holds a target, (n, n_targets); targets that are not asked about are left out."""
        position = {t: i for i, t in enumerate(targets)}
        out = np.zeros((len(self), len(targets)))
        for i, part in enumerate(self.parts):
            for target in part:
                if target in position:
                    out[i, position[target]] = 1.0
        return out

    def keys(self) -> list[tuple[str, float]]:
        """Give what was done, wherever it was: perturbation and dose."""
        return list(zip(self.names, self.dose, strict=True))


def dose_centre(design: pd.DataFrame) -> float:
    """Give the mean log10 of the doses, 0 where there are none."""
    dose = design["dose"].to_numpy(dtype=np.float64)
    dose = dose[np.isfinite(dose) & (dose > 0)]
    return float(np.log10(dose).mean()) if len(dose) else 0.0


def groups_of(labels: Sequence[Hashable]) -> list[np.ndarray]:
    """Positions of each label, in order of appearance."""
    found: dict[Hashable, list[int]] = {}
    for i, label in enumerate(labels):
        found.setdefault(label, []).append(i)
    return [np.array(rows) for rows in found.values()]


def relative_noise(se: pd.DataFrame | None, n: int) -> np.ndarray:
    """Give the sampling variance of each row relative to the mean row, (n,); 0 where it is not known."""
    if se is None:
        return np.zeros(n)
    variance = np.nanmean(np.square(se.to_numpy(dtype=np.float64)), axis=1)
    variance = np.where(np.isfinite(variance), variance, np.nanmean(variance) if np.isfinite(variance).any() else 0.0)
    return variance / (variance.mean() or 1.0)
