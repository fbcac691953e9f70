"""Fit a correction and weigh it: cross-fitted on held-out cells, then trained once on all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from omicsfm.models._correction._correction import Correction
from omicsfm.models._correction._count_source import CountSource
from omicsfm.models._correction._earned import Earned, weigh_match, weigh_tokens
from omicsfm.models._correction._inputs import Frame, Inputs, code_of, covariances, sets, shown_code
from omicsfm.models._correction._notes import Notes
from omicsfm.models._correction._options import Options
from omicsfm.models._factor import FactorModel, Pattern, fit_factors
from omicsfm.models._latent import Latent
from omicsfm.pp import Tokens

MIN_PAIRS = 60  # fewer cells with two modalities cannot say whether a correction helps
FEW_PAIRS = 5000  # up to here every pair is held out once; beyond, one part is
N_FOLDS = 3
HELD_OUT = 5  # one part in five, where only one is held out
MAX_MATCH = 2000  # cells among which partners are sought


@dataclass(frozen=True)
class Fitted:
    """A correction, what it earned, and its predictions of tokens for cells that it was not trained on.

    Attributes
    ----------
    correction : trained on all cells; None where nothing could be, or nothing was earned.
    earned : all comparisons made.
    out_of_fold : modality -> positions of cells (n,), and corrections (n, d) of their tokens from their others.
    """

    correction: Correction | None
    earned: list[Earned]
    out_of_fold: dict[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Problem:
    """What every fold shares.

    Attributes
    ----------
    latent, tokens : the closed form, and the cells.
    scale : gives the scale of each factor in the state, by the modalities that a cell shows.
    label : class of every cell, -1 for none.
    counts : modality -> counts whose likelihood is trained as well.
    ridge, options : of the closed form and of the network.
    start : a correction to go on from.
    frozen : the closed form never saw these cells, so it is not refitted without those held out.
    """

    latent: Latent
    tokens: Tokens
    scale: Callable[[Pattern], np.ndarray]
    label: np.ndarray
    counts: dict[str, CountSource]
    ridge: float
    options: Options
    start: Correction | None = None
    frozen: bool = False

    @cached_property
    def code(self) -> np.ndarray:
        """Number of the set of modalities of every cell, (n_obs,)."""
        has = np.zeros((self.tokens.n_obs, len(self.tokens.values)), dtype=bool)
        for i, m in enumerate(sorted(self.tokens.values)):
            has[self.tokens.rows[m], i] = True
        return shown_code(has)


def fit_correction(problem: Problem, *, notes: Notes | None = None) -> Fitted:
    """Train on folds, weigh on the cells held out of each, and train on all cells if anything was earned."""
    several = np.bitwise_count(problem.code) > 1
    paired = np.flatnonzero(several)
    if len(paired) < MIN_PAIRS:
        return Fitted(None, [], {})
    use = several | (problem.label >= 0) if problem.options.label_weight else several
    everything = problem.latent.moments(problem.tokens)
    folds = []
    for i, held in enumerate(_folds(problem, paired)):
        options = replace(problem.options, seed=problem.options.seed + 1000 * (i + 1))
        factors = problem.latent.factors
        if not problem.frozen:
            left = everything.merge(problem.latent.moments(problem.tokens, held), sign=-1)
            factors = fit_factors(left, n_latent=0, ridge=problem.ridge, max_iter=5, start=factors)
        train = np.setdiff1d(np.flatnonzero(use), held, assume_unique=True)
        # Training stops on half of the held-out cells, the other half weighs what it led to.
        stop = held[::2]
        found, epoch = _train(problem, factors, train, stop, options, notes, f"fold {i + 1}")
        folds.append((found, held, epoch))
    earned = _weigh(problem, folds)
    epochs = int(np.median([epoch for _, _, epoch in folds]))
    if not any(row.weight for row in earned):
        return Fitted(None, earned, {})
    if epochs == 0:  # no epoch was better than where training began: that is what was weighed, if it was anything
        if problem.start is None:
            return Fitted(None, [replace(row, weight=0.0) for row in earned], {})
        return Fitted(problem.start, earned, _out_of_fold(problem, folds))
    options = replace(problem.options, max_epochs=epochs)
    final, _ = _train(problem, problem.latent.factors, np.flatnonzero(use), None, options, notes, "all cells")
    return Fitted(final, earned, _out_of_fold(problem, folds))


def _train(
    problem: Problem,
    factors: FactorModel,
    train: np.ndarray,
    stop: np.ndarray | None,
    options: Options,
    notes: Notes | None,
    words: str,
) -> tuple[Correction, int]:
    from omicsfm.models._correction._run import run  # imports torch and Lightning

    start = problem.start
    frame = Frame.fit(problem.latent, factors, problem.tokens, train) if start is None else start.frame
    obs = train if stop is None else np.union1d(train, stop)
    inputs = Inputs.of(frame, problem.latent, factors, problem.tokens, obs)
    shared = {
        "covariance": covariances(frame, factors),
        "scale": np.array([problem.scale(p) for p in sets(frame)], dtype=np.float32),
    }
    sizes, trained = run(
        frame,
        inputs,
        shared,
        label=problem.label[obs],
        met=problem.code,
        counts=problem.counts,
        train_rows=np.searchsorted(obs, train),
        stop_rows=None if stop is None else np.searchsorted(obs, stop),
        options=options,
        start=None if start is None else start.weights,
        notes=notes,
        words=words,
    )
    return Correction(frame, factors, sizes, trained.weights), trained.best_epoch


def _weigh(problem: Problem, folds: list[tuple[Correction, np.ndarray, int]]) -> list[Earned]:
    code = problem.code
    tokens: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = {}
    match: dict[tuple[str, str], list[tuple[np.ndarray, ...]]] = {}
    for correction, held, _ in folds:
        frame, rows = correction.frame, held[1::2]
        whole = _inputs(problem, correction, rows)
        for source, target in _directions(frame, np.unique(code[rows])):
            has = _having(frame, code[rows], (*source, target))
            if len(has):
                z, out = _read(problem, correction, rows[has], source)
                residual = whole.x[target][has] - frame.mean[target] - z @ frame.loading[target].T
                tokens.setdefault(("+".join(source), target), []).append((residual, out["tokens"][target]))
        for a, b in combinations(frame.mods, 2):
            has = _having(frame, code[rows], (a, b))[:MAX_MATCH]
            if len(has) > 1:
                scales = problem.scale((a,)), problem.scale((b,))
                (za, oa), (zb, ob) = (_read(problem, correction, rows[has], (m,)) for m in (a, b))
                four = za * scales[0], zb * scales[1], oa["state"] * scales[0], ob["state"] * scales[1]
                match.setdefault((a, b), []).append(four)
    weighed = [weigh_tokens(*key, *(np.vstack(v) for v in zip(*parts, strict=True))) for key, parts in tokens.items()]
    return weighed + weigh_match(match)


def _having(frame: Frame, code: np.ndarray, pattern: Pattern) -> np.ndarray:
    need = code_of(frame, pattern)
    return np.flatnonzero((code & need) == need)


def _inputs(problem: Problem, correction: Correction, obs: np.ndarray, shown: Pattern | None = None) -> Inputs:
    return Inputs.of(correction.frame, problem.latent, correction.factors, problem.tokens, obs, shown=shown)


def _read(
    problem: Problem, correction: Correction, obs: np.ndarray, source: Pattern
) -> tuple[np.ndarray, dict[str, Any]]:
    """Give closed-form factors and the network's corrections of cells of which only `source` is seen."""
    inputs = _inputs(problem, correction, obs, source)
    information = sum(inputs.information[m].astype(np.float64) for m in source)
    z = information @ correction.factors.posterior(tuple(m for m in correction.frame.mods if m in source))[2]
    return z, correction.read(inputs, np.full(len(obs), code_of(correction.frame, source)))


def _out_of_fold(
    problem: Problem, folds: list[tuple[Correction, np.ndarray, int]]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    code = problem.code
    for correction, held, _ in folds:
        frame = correction.frame
        for source, target in _directions(frame, np.unique(code[held])):
            exactly = code_of(frame, (*source, target))
            obs = held[code[held] == exactly]
            if len(obs):
                step = _read(problem, correction, obs, source)[1]["tokens"][target] * frame.scale[target]
                found.setdefault(target, []).append((obs, step))
    out = {}
    for m, parts in found.items():
        obs, step = np.concatenate([o for o, _ in parts]), np.vstack([s for _, s in parts])
        order = np.argsort(obs, kind="stable")
        out[m] = obs[order], step[order]
    return out


def _directions(frame: Frame, codes: np.ndarray) -> Iterator[tuple[Pattern, str]]:
    """Give the sources from which each modality is predicted: each other one alone, and all others that cells have."""
    for target in frame.mods:
        others = [m for m in frame.mods if m != target]
        sources: set[Pattern] = {(m,) for m in others}
        for c in codes:
            rest = tuple(m for i, m in enumerate(frame.mods) if c >> i & 1 and m != target)
            if c >> frame.mods.index(target) & 1 and rest:
                sources.add(rest)
        for source in sorted(sources):
            yield source, target


def _folds(problem: Problem, paired: np.ndarray) -> Iterator[np.ndarray]:
    """Give the held-out cells of each fold: whole batches where there are enough of them, else random parts.

    A correction that helps in batches that it never saw will help in the next.
    """
    rng = np.random.default_rng(problem.options.seed)
    names, batch = np.unique(problem.tokens.batch[paired], return_inverse=True)
    if len(names) >= N_FOLDS:
        group = rng.permutation(np.arange(len(names)) % N_FOLDS)[batch]
        if _every_pair_remains(problem.code[paired], group):
            for i in range(N_FOLDS):
                yield paired[group == i]
            return
    shuffled = rng.permutation(paired)
    if len(paired) > FEW_PAIRS:
        yield np.sort(shuffled[: len(paired) // HELD_OUT])
        return
    for i in range(N_FOLDS):
        yield np.sort(shuffled[np.arange(len(paired)) % N_FOLDS == i])


def _every_pair_remains(code: np.ndarray, group: np.ndarray) -> bool:
    """Tell whether, without the cells of any group, every two modalities that cells link are still linked by some."""
    bits = [1 << i for i in range(int(code.max()).bit_length())]
    for a, b in combinations(bits, 2):
        both = (code & (a | b)) == (a | b)
        left = [int(both[group != i].sum()) for i in range(N_FOLDS)]
        if both.any() and min(left) < min(MIN_PAIRS, int(both.sum())):
            return False
    return all((group == i).sum() >= MIN_PAIRS // N_FOLDS for i in range(N_FOLDS))
