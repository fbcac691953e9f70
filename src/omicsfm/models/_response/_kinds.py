"""What is asked: an unseen target, one known elsewhere, a new context, a new combination; and the same, rehearsed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omicsfm.models._response._rows import Rows, groups_of

TARGET, KNOWN, CONTEXT, COMBINATION = "target", "known", "context", "combination"
KINDS = (TARGET, KNOWN, CONTEXT, COMBINATION)


@dataclass(frozen=True)
class Rehearsal:
    """Training rows left out in the way a question leaves them out.

    Attributes
    ----------
    blocks : rows that leave together.
    asked : for each block, the rows of it that are predicted; a row is predicted once.
    """

    blocks: tuple[np.ndarray, ...]
    asked: tuple[np.ndarray, ...]

    @property
    def rows(self) -> np.ndarray:
        """All predicted rows, block by block."""
        return np.concatenate(self.asked)


def kinds_of(asked: Rows, known: Rows) -> np.ndarray:
    """Give the kind of every row that is asked about, given what was learnt from."""
    alone = {part[0] for part in known.parts if len(part) == 1}
    names, contexts = set(known.names), set(known.contexts)
    out = []
    for name, part, context in zip(asked.names, asked.parts, asked.contexts, strict=True):
        if name in names:
            out.append(KNOWN if context in contexts else CONTEXT)
        elif len(part) > 1 and set(part) <= alone:
            out.append(COMBINATION)
        else:
            out.append(TARGET)
    return np.array(out, dtype=object)


def rehearsals(known: Rows) -> dict[str, Rehearsal]:
    """Give, for every kind that the training rows allow, how to leave them out."""
    out = {}
    single = known.size == 1
    holds = {t: [] for t in known.targets}  # type: dict[str, list[int]]
    for i, part in enumerate(known.parts):
        for target in part:
            holds[target].append(i)
    alone = {t: [i for i in rows if single[i]] for t, rows in holds.items()}
    pairs = [(np.array(holds[t]), np.array(alone[t])) for t in holds if alone[t]]
    if len(pairs) >= 3:
        out[TARGET] = Rehearsal(*_transposed(pairs))

    by_name = groups_of(list(known.names))
    repeated = [rows for rows in by_name if len(rows) > 1]
    crowded = {c for c in set(known.contexts) if (known.contexts == c).sum() > 1}
    again = [np.array([i]) for rows in repeated for i in rows if known.contexts[i] in crowded]
    if again:
        out[KNOWN] = Rehearsal(tuple(again), tuple(again))

    by_context = groups_of(list(known.contexts))
    if len(by_context) >= 3:
        shared = {i for rows in repeated for i in rows if len({known.contexts[j] for j in rows}) > 1}
        pairs = [(rows, np.array([i for i in rows if i in shared], dtype=np.intp)) for rows in by_context]
        pairs = [(rows, asked) for rows, asked in pairs if len(asked)]
        if pairs:
            out[CONTEXT] = Rehearsal(*_transposed(pairs))

    several = [
        i
        for i in np.flatnonzero(~single)
        if all(alone[t] for t in known.parts[i]) and (known.names == known.names[i]).sum() == 1
    ]
    if several:
        out[COMBINATION] = Rehearsal(*_transposed([(np.array([i]), np.array([i])) for i in several]))
    return out


def ways_of(known: Rows, ways: dict[str, Rehearsal]) -> list[tuple[np.ndarray, ...]]:
    """Give the blocks by which a process is judged: those of the rehearsals, and every combination alone.

    A combination whose members were never alone rehearses no question, but tells how members add up.
    """
    blocks = [way.blocks for kind, way in ways.items() if kind != COMBINATION]
    several = tuple(np.array([i]) for i in np.flatnonzero(known.size > 1))
    return [*blocks, several] if several else blocks


def _transposed(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    blocks, asked = zip(*pairs, strict=True)
    return blocks, asked
