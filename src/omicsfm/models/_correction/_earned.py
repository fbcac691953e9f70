"""What a correction earns on held-out cells, and the weight that this justifies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from omicsfm import hub, metrics
from omicsfm.models._factor import Pattern

# A correction is applied where the lower end of the 99 % interval of its gain is above zero: several are tried, and one
# that helps by chance would hurt elsewhere.
Z = 2.58
WEIGHTS = (0.25, 0.5, 0.75, 1.0)


@hub.state
@dataclass(frozen=True)
class Earned:
    """One comparison of the closed form with and without a correction, on cells held out of training.

    Attributes
    ----------
    what : "tokens" (share of their variance left unexplained), "match" (FOSCTTM) or "batches" (iLISI).
    source, target : modalities.
    n : cells compared.
    closed_form, corrected : mean scores.
    gain, lower, upper : mean improvement per cell and its 99 % interval.
    weight : of the correction, 0 to 1.
    """

    what: str
    source: str
    target: str
    n: int
    closed_form: float
    corrected: float
    gain: float
    lower: float
    upper: float
    weight: float


def table(rows: Sequence[Earned]) -> pd.DataFrame:
    """Give one row per comparison."""
    names = list(Earned.__dataclass_fields__)
    return pd.DataFrame([[getattr(row, name) for name in names] for row in rows], columns=names)


def weigh_tokens(source: str, target: str, residual: np.ndarray, correction: np.ndarray) -> Earned:
    """Weigh a correction of predicted tokens.

    Parameters
    ----------
    residual
        Truth less the closed form's prediction, (n, d).
    correction
        What the network adds to the prediction, (n, d).
    """
    product, square = (residual * correction).mean(axis=1), (correction**2).mean(axis=1)
    weight = float(np.clip(product.sum() / max(square.sum(), 1e-12), 0, 1))
    before = (residual**2).mean(axis=1)
    gain_n = 2 * weight * product - weight**2 * square
    gain, half = interval(gain_n)
    return Earned(
        "tokens",
        source,
        target,
        len(residual),
        float(before.mean()),
        float((before - gain_n).mean()),
        gain,
        gain - half,
        gain + half,
        weight if gain > half else 0.0,
    )


def weigh_match(pairs: dict[tuple[str, str], list[tuple[np.ndarray, ...]]]) -> list[Earned]:
    """Weigh a correction of the state by whether the halves of a cell find each other better.

    Parameters
    ----------
    pairs
        Pair of modalities -> per fold, states of the same held-out cells (n, k): from the first, from the second, and
        the corrections of both.
    """

    def scores(folds: list[tuple[np.ndarray, ...]], weight: float) -> np.ndarray:
        return np.concatenate([metrics.foscttm(a + weight * da, b + weight * db) for a, b, da, db in folds])

    before = {pair: scores(folds, 0.0) for pair, folds in pairs.items()}
    best, chosen = None, {}
    for weight in WEIGHTS:
        after = {pair: scores(folds, weight) for pair, folds in pairs.items()}
        gain, half = interval(np.concatenate([before[p] - after[p] for p in pairs]))
        if best is None or gain > best[0]:
            best, chosen = (gain, half, weight), after
    if best is None:
        return []
    out = []
    for (a, b), x in before.items():
        gain, half = interval(x - chosen[a, b])
        weight = best[2] if best[0] > best[1] else 0.0
        means = float(x.mean()), float(chosen[a, b].mean())
        out.append(Earned("match", a, b, len(x), *means, gain, gain - half, gain + half, weight))
    return out


def gates(rows: Sequence[Earned]) -> dict[str, float]:
    """Give the weight of every correction by name: "state", or "rna->protein"."""
    return {"state" if row.what == "match" else f"{row.source}->{row.target}": row.weight for row in rows}


def weight_of(gate: dict[str, float], pattern: Pattern, mod: str) -> float:
    """Give the weight of a correction: as measured for this pattern, else the least of its members' weights."""
    exact = gate.get(f"{'+'.join(pattern)}->{mod}")
    return exact if exact is not None else min((gate.get(f"{m}->{mod}", 0.0) for m in pattern), default=0.0)


def interval(gain_n: np.ndarray) -> tuple[float, float]:
    """Mean of a paired difference over cells and half the width of its 99 % interval (normal)."""
    if len(gain_n) < 2:
        return 0.0, np.inf
    return float(gain_n.mean()), float(Z * gain_n.std(ddof=1) / len(gain_n) ** 0.5)
