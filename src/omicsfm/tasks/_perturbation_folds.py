"""Which rows of a design are asked about, and which tell the answer and must leave training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import fcluster, linkage

from omicsfm import contract

TARGET, COMBINATION, CONTEXT = "unseen_target", "unseen_combination", "unseen_context"
KNOWN, DOSE, DONOR = "known_target_new_context", "unseen_dose", "unseen_donor"
KINDS = (TARGET, COMBINATION, CONTEXT, KNOWN, DOSE, DONOR)

Plain = Callable[[str], str]  # one name for all the names of a target
_IN = " | "  # joins a context and the donor in whose cells it is


@dataclass(frozen=True)
class Fold:
    """Bool arrays over the rows of a design.

    Attributes
    ----------
    unit : what is held out.
    asked : rows that are asked about.
    hidden : rows that leave training; holds `asked`.
    """

    unit: str
    asked: np.ndarray
    hidden: np.ndarray


def plain_names(aliases: Mapping[str, str]) -> Plain:
    """Give a function that maps every way to write a target to one: case, version of an Ensembl id, alias."""

    def fold_case(name: str) -> str:
        upper = name.strip().upper()
        return upper.split(".")[0] if upper.startswith("ENS") else upper

    table = {fold_case(other): fold_case(name) for other, name in aliases.items()}

    def plain(name: str) -> str:
        return table.get(fold_case(name), fold_case(name))

    return plain


def parts_of(design: pd.DataFrame, plain: Plain) -> list[frozenset[str]]:
    """Give the members of every row under their one name."""
    return [frozenset(plain(part) for part in contract.members(str(name))) for name in design["perturbation"]]


def reveals(kind: str, design: pd.DataFrame, asked: pd.DataFrame, plain: Plain) -> np.ndarray:
    """Tell which rows of a design give away the answer about the asked rows, (n,) bool.

    A target alone or within a combination gives it away (everywhere for an unseen target, in its context for one known
    elsewhere); so do the same combination, any perturbed cell of an unseen context or donor, and the same dose of a
    target.
    """
    parts, theirs = parts_of(design, plain), parts_of(asked, plain)
    where, there = ([plain(str(c)) for c in d["context"]] for d in (design, asked))
    perturbed = np.array([bool(part) for part in parts])
    if kind == TARGET:
        targets = frozenset().union(*theirs)
        return np.array([bool(part & targets) for part in parts])
    if kind == COMBINATION:
        return np.array([part in set(theirs) for part in parts])
    if kind == DONOR:
        return perturbed & donors_of(design).isin(donors_of(asked)).to_numpy()
    if kind == CONTEXT:
        return perturbed & np.isin(where, there)
    if kind == KNOWN:
        here = {(c, t) for c, part in zip(there, theirs, strict=True) for t in part}
        return np.array([any((c, t) in here for t in part) for c, part in zip(where, parts, strict=True)])
    at = {(round(float(d), 9), t) for d, part in zip(asked["dose"], theirs, strict=True) for t in part}
    doses = design["dose"].to_numpy(dtype=float)
    return np.array([any((round(float(d), 9), t) in at for t in part) for d, part in zip(doses, parts, strict=True)])


def n_seen(design: pd.DataFrame, train: pd.DataFrame, plain: Plain) -> np.ndarray:
    """Count the members of every row that training holds alone, in any context, (n,)."""
    alone = frozenset().union(*(part for part in parts_of(train, plain) if len(part) == 1))
    return np.array([len(part & alone) for part in parts_of(design, plain)])


def target_folds(
    design: pd.DataFrame, able: np.ndarray, plain: Plain, *, n_folds: int, seed: int, groups: Mapping[str, str] | None
) -> Iterator[Fold]:
    """Hold out targets (or whole groups of them) in turns.

    Parameters
    ----------
    design
        (n) rows.
    able
        (n,) bool: rows that can be asked about.
    groups
        Plain name of a target -> group; targets that are not in it stand alone.
    """
    parts = parts_of(design, plain)
    single = np.array([len(part) == 1 for part in parts]) & able
    targets = sorted({t for part, one in zip(parts, single, strict=True) if one for t in part})
    together: dict[str, list[str]] = {}
    for target in targets:
        group = None if groups is None else groups.get(target)
        together.setdefault(f"target {target}" if group is None else f"group {group}", []).append(target)
    names = list(together)
    folds: list[list[str]] = [[] for _ in range(min(n_folds, len(names)))]
    for i in np.random.default_rng(seed).permutation(len(names)):
        min(folds, key=len).extend(together[names[i]])
    for k, held in enumerate(folds):
        mine = np.array([bool(part & set(held)) for part in parts])
        yield Fold(f"fold {k + 1}", mine & single, mine)


def combination_folds(
    design: pd.DataFrame, able: np.ndarray, plain: Plain, *, n_folds: int, seed: int, seen: int | None
) -> Iterator[Fold]:
    """Hold out combinations in turns; with `seen`, all rows of their other members leave too, where that can be.

    Parameters
    ----------
    seen
        Members that stay as singles; None: all that were measured alone.
    """
    rng = np.random.default_rng(seed)
    parts = parts_of(design, plain)
    names = sorted({part for part, ok in zip(parts, able, strict=True) if ok and len(part) > 1}, key=sorted)
    order = rng.permutation(len(names))
    for k, chosen in enumerate(np.array_split(order, min(n_folds, len(names)))):
        held = [names[i] for i in chosen]
        gone: set[str] = set()
        if seen is not None:
            for part in held:
                free = sorted(part - gone)
                # Members drop at random until so many are left as are wanted.
                gone.update(free[i] for i in rng.permutation(len(free))[: max(0, len(free) - seen)])
        hidden = np.array([part in held or bool(part & gone) for part in parts])
        asked = np.array([part in held for part in parts]) & able
        if seen is not None:
            asked &= n_seen(design, design[~hidden], plain) == seen
        if asked.any():
            yield Fold(f"fold {k + 1}", asked, hidden)


def context_of_donor(context: str, donor: str) -> str:
    """Name the cells of a context in one donor."""
    return context + _IN + donor.replace(_IN, "|")


def donors_of(design: pd.DataFrame) -> pd.Series:
    """Give the donor of every row of a design whose contexts were named by :func:`context_of_donor`."""
    return design["context"].astype(str).str.rpartition(_IN)[2]


def context_folds(design: pd.DataFrame, able: np.ndarray, groups: pd.Series) -> Iterator[Fold]:
    """Hold out one group of contexts (each alone, or those of a donor) after the other; asked is what others had too.

    Parameters
    ----------
    groups
        (n) text: the group of every row.
    """
    group, names = groups.to_numpy(dtype=str), design["perturbation"].to_numpy(dtype=str)
    for held in sorted(set(group)):
        here = group == held
        asked = here & able & np.isin(names, names[~here])
        if asked.any():
            yield Fold(str(held), asked, here)


def known_folds(design: pd.DataFrame, able: np.ndarray, plain: Plain, *, fraction: float, seed: int) -> Iterator[Fold]:
    """Measure a fraction of the targets of one context after the other, and ask for those known from another."""
    rng = np.random.default_rng(seed)
    contexts, names = design["context"].to_numpy(dtype=str), design["perturbation"].to_numpy(dtype=str)
    parts = parts_of(design, plain)
    for context in sorted(set(contexts)):
        here = contexts == context
        targets = sorted({t for part, mine in zip(parts, here, strict=True) if mine for t in part})
        held = {targets[i] for i in rng.permutation(len(targets))[round(fraction * len(targets)) :]}
        hidden = here & np.array([bool(part & held) for part in parts])
        asked = here & able & np.array([part <= held for part in parts]) & np.isin(names, names[~here])
        if asked.any() and (here & ~hidden).any():
            yield Fold(str(context), asked, hidden)


def dose_folds(design: pd.DataFrame, able: np.ndarray, plain: Plain) -> Iterator[Fold]:
    """Hold out one inner dose of every perturbation: its second, its third, ..."""
    doses, names = design["dose"].to_numpy(dtype=float), design["perturbation"].to_numpy(dtype=str)
    inner = {name: np.unique(doses[(names == name) & np.isfinite(doses)])[1:-1] for name in sorted(set(names))}
    for k in range(max((len(found) for found in inner.values()), default=0)):
        asked = np.array([k < len(inner[n]) and d == inner[n][k] for n, d in zip(names, doses, strict=True)]) & able
        if asked.any():
            yield Fold(f"inner dose {k + 1}", asked, asked | reveals(DOSE, design, design[asked], plain))


def prior_groups(priors: Mapping[str, pd.DataFrame], targets: list[str], plain: Plain, n: int) -> dict[str, str]:
    """Cut targets into Ward clusters of the priors' kernel (the sum of cosines over priors).

    Parameters
    ----------
    priors
        Name -> DataFrame (targets, features).
    n
        Number of clusters; targets of which no prior knows anything are left out.
    """
    blocks = []
    for table in priors.values():
        x = table.set_axis([plain(str(t)) for t in table.index], axis=0)
        x = x[~x.index.duplicated()].reindex(targets).fillna(0.0).to_numpy(dtype=np.float64)
        norm = np.linalg.norm(x, axis=1, keepdims=True)
        blocks.append(np.divide(x, norm, out=np.zeros_like(x), where=norm > 0))
    x = np.hstack(blocks)
    known = np.flatnonzero(np.abs(x).sum(axis=1) > 0)
    label = fcluster(linkage(x[known], "ward"), n, "maxclust")
    return {targets[i]: str(k) for i, k in zip(known, label, strict=True)}
