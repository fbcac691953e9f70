"""The simplest answers: the mean, the same perturbation elsewhere, the sum of the parts; also without some rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from omicsfm.models._response._kinds import COMBINATION, CONTEXT, KNOWN, TARGET
from omicsfm.models._response._rows import Rows

# (training rows, their effects, asked rows, which training rows may be used for each asked row) -> effects
Answer = Callable[[Rows, np.ndarray, Rows, np.ndarray], np.ndarray]


def mean_response(known: Rows, y: np.ndarray, asked: Rows, allowed: np.ndarray) -> np.ndarray:
    """Average the rows of the context (of all, in a new one) with as many members; else of single ones, added.

    Parameters
    ----------
    known, y
        Training rows and their effects (n, k).
    asked
        (m) rows.
    allowed
        (m, n) bool.
    """
    here = asked.contexts[:, None] == known.contexts[None]
    alike = asked.size[:, None] == known.size[None]
    single = np.broadcast_to((known.size == 1)[None], alike.shape)
    out = np.zeros((len(asked), y.shape[1]))
    open_ = np.ones(len(asked), dtype=bool)
    for mask, scaled in ((here & alike, False), (alike, False), (here & single, True), (single, True)):
        use = mask & allowed
        n = use.sum(axis=1)
        rows = open_ & (n > 0)
        factor = asked.size[rows, None] if scaled else 1.0
        out[rows] = factor * (use[rows].astype(float) @ y) / n[rows, None]
        open_ &= ~rows
    return out


def matched(known: Rows, y: np.ndarray, asked: Rows, allowed: np.ndarray) -> np.ndarray:
    """Mean of the same perturbation at the nearest dose over all contexts; the mean response where there is none."""
    out = mean_response(known, y, asked, allowed)
    same = asked.names[:, None] == known.names[None]
    for i in np.flatnonzero((same & allowed).any(axis=1)):
        rows = np.flatnonzero(same[i] & allowed[i])
        gap = np.abs(known.dose[rows] - asked.dose[i])
        out[i] = y[rows[gap <= gap.min() + 1e-9]].mean(axis=0)
    return out


def transfer(known: Rows, y: np.ndarray, asked: Rows, allowed: np.ndarray) -> np.ndarray:
    """How the same perturbation departs from the mean in other contexts, added to the mean here."""
    out = mean_response(known, y, asked, allowed)
    same = (asked.names[:, None] == known.names[None]) & (asked.contexts[:, None] != known.contexts[None]) & allowed
    for i in np.flatnonzero(same.any(axis=1)):
        rows = np.flatnonzero(same[i])
        others = np.repeat(allowed[i : i + 1], len(rows), axis=0)
        others[np.arange(len(rows)), rows] = False
        out[i] += (y[rows] - mean_response(known, y, known.take(rows), others)).mean(axis=0)
    return out


def members_of(known: Rows, y: np.ndarray, asked: Rows, allowed: np.ndarray) -> list[np.ndarray]:
    """Give the effects of the members of each asked row (size, k): measured here, else elsewhere, else the mean."""
    out = []
    for i, part in enumerate(asked.parts):
        alone = Rows(
            np.array(part, dtype=str),
            tuple((t,) for t in part),
            np.repeat(asked.contexts[i : i + 1], len(part)),
            np.repeat(asked.dose[i : i + 1], len(part)),
        )
        mine = np.repeat(allowed[i : i + 1], len(part), axis=0)
        here = mine & (alone.contexts[:, None] == known.contexts[None])
        has_here = ((alone.names[:, None] == known.names[None]) & here).any(axis=1)
        out.append(
            np.where(
                has_here[:, None],
                matched(known, y, alone, here | ~has_here[:, None] & mine),
                matched(known, y, alone, mine),
            )
        )
    return out


def additive(known: Rows, y: np.ndarray, asked: Rows, allowed: np.ndarray) -> np.ndarray:
    """Sum of the effects of the members."""
    return np.stack([parts.sum(axis=0) for parts in members_of(known, y, asked, allowed)])


def max_abs(known: Rows, y: np.ndarray, asked: Rows, allowed: np.ndarray) -> np.ndarray:
    """Give the effect of the member that is largest in size, gene by gene (y in genes)."""
    found = []
    for parts in members_of(known, y, asked, allowed):
        found.append(np.take_along_axis(parts, np.abs(parts).argmax(axis=0)[None], axis=0)[0])
    return np.stack(found)


def mean_of_parts(known: Rows, y: np.ndarray, asked: Rows, allowed: np.ndarray) -> np.ndarray:
    """Give the mean response, for a combination of which some members are known the sum, others counted as the mean."""
    out = mean_response(known, y, asked, allowed)
    several = np.flatnonzero(asked.size > 1)
    if len(several):
        out[several] = additive(known, y, asked.take(several), allowed[several])
    return out


BASE: dict[str, Answer] = {
    TARGET: mean_of_parts,
    KNOWN: mean_response,
    CONTEXT: matched,
    COMBINATION: additive,
}
