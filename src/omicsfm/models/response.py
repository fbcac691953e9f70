"""ResponseModel: what a perturbation does, to cells it was never tried on, and how far to believe it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from omicsfm import hub
from omicsfm.models._responder import Responder
from omicsfm.models._response import _elsewhere, _simple
from omicsfm.models._response._blend import Blend, default_blend, fit_blend
from omicsfm.models._response._components import Components
from omicsfm.models._response._errors import ErrorModel, control_variance, fit_errors
from omicsfm.models._response._kernels import Controls, Prior, Structure, all_kernels
from omicsfm.models._response._kinds import (
    COMBINATION,
    CONTEXT,
    KINDS,
    KNOWN,
    TARGET,
    Rehearsal,
    kinds_of,
    rehearsals,
    ways_of,
)
from omicsfm.models._response._learned import ResponseCorrection, fit_correction
from omicsfm.models._response._process import Bands, bands_of, choose_weights, condition
from omicsfm.models._response._rows import Rows, dose_centre, relative_noise
from omicsfm.pp import ResponseData

Kernels = dict[str, np.ndarray]
KernelsOf = Callable[[Rows, Rows], Kernels]
_FEW = 5  # rows: with fewer, the simplest answer is believed until shown otherwise
_ROWS_AT_ONCE = 256
_ROWS_FOR_WEIGHTS = 700  # more change the weights little and cost the cube


@hub.saveable
class ResponseModel(Responder):
    """Predict effects of perturbations: unseen targets, combinations, contexts and doses; closed form.

    A Gaussian process over (perturbation, context) rows. Its kernels are priors of the targets (alone and within each
    context), sharing a target, likeness of contexts by their controls, and doses; combinations add up. A second process
    translates what a perturbation does elsewhere into what it does here. Weights are chosen by the exact error on rows
    left out and may be zero. For each kind of question (unseen target, known elsewhere, unseen context, unseen
    combination) the answers are blended with the simplest one (mean response, same perturbation elsewhere, sum of the
    parts), as much as they earned on training rows left out in that very way. Intervals and reliability come from the
    same rows.

    Parameters
    ----------
    n_components
        At most so many directions of effects are modelled; the rest is predicted to be zero.
    level
        Nominal coverage of the intervals.
    seed
        Of the subset of rows on which weights are chosen, where there are many.

    Attributes
    ----------
    genes_, contexts_ : features, and contexts that can be asked about.
    weights_ : kernel -> weight, in units of the noise; 0 = of no use.
    process_, elsewhere_ : the two processes; the second is None where no perturbation was tried in two contexts.
    blends_ : kind of question -> :class:`Blend`: what was earned beyond the simplest answer, on how many rows.
    corrections_ : kind -> a small network on what is left over. Its `gate` is 0 unless it earned more on perturbations
        left out of its training; absent where there are fewer than 60 rows to judge by.
    errors_ : kind -> error model.
    control_noise_ : context -> (n_genes,) sampling variance of the mean of its controls, which intervals allow for.

    References
    ----------
    Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, ch. 2 and 5; Lei et al. 2018,
    doi:10.1080/01621459.2017.1307116 (split conformal intervals, here normalised by a scale).
    """

    def __init__(self, *, n_components: int = 100, level: float = 0.9, seed: int = 0) -> None:
        self.n_components = n_components
        self.level = level
        self.seed = seed

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the fitted model to a folder that ``ofm.load`` reads."""
        return hub.save(self, path, overwrite=overwrite)

    def _learn(self, data: ResponseData) -> None:
        # In one order and one unit, so that neither theirs matters.
        order = data.design.sort_values(["perturbation", "context", "dose"], kind="stable").index
        self.dose_centre_ = dose_centre(data.design)
        known = self.rows_ = Rows.of(data.design.loc[order], self.dose_centre_)
        self.controls_ = Controls.of(data.controls)
        noise = {} if data.controls_se is None else dict(data.controls_se.iterrows())
        self.control_noise_ = {str(name): np.square(se.to_numpy(dtype=np.float64)) for name, se in noise.items()}
        effects = data.effects.loc[order].to_numpy(dtype=np.float64)
        self.unit_ = float(np.sqrt(np.mean(effects**2))) or 1.0
        effects = effects / self.unit_
        self.components_, self.y_ = Components.of(effects, self.n_components)
        found = {name: Prior.of(table, known.targets) for name, table in data.priors.items()}
        self.priors_ = {name: prior for name, prior in found.items() if prior is not None}
        self.structure_ = Structure.of(known)
        self.sampling_ = relative_noise(None if data.se is None else data.se.loc[order], len(known))
        ways = rehearsals(known)
        self.process_ = self._process(self._kernels, known, ways_of(known, ways))
        self.weights_ = self.process_.weights
        self._fit_elsewhere(known, ways)
        self._fit_answers(known, ways, effects)

    # -- the two processes

    def _kernels(self, a: Rows, b: Rows) -> Kernels:
        return all_kernels(self.priors_, self.controls_, self.structure_, a, b)

    def _process(self, kernels: KernelsOf, known: Rows, ways: list[tuple[np.ndarray, ...]]) -> Bands:
        """Choose weights on some of the rows, band by band, then condition on all of them."""
        n = len(known)
        some = np.arange(n)
        if n > _ROWS_FOR_WEIGHTS:
            some = np.sort(np.random.default_rng(self.seed).permutation(n)[:_ROWS_FOR_WEIGHTS])
        position = np.full(n, -1)
        position[some] = np.arange(len(some))
        left = []
        for blocks in ways:
            kept = [position[b][position[b] >= 0] for b in blocks]
            left.append([b for b in kept if 0 < len(b) < len(some)])
        left = [way for way in left if way] or [[np.array([i]) for i in range(len(some))]]
        part = known.take(some)
        found = kernels(part, part)
        stack = np.stack([*found.values(), np.diag(self.sampling_[some])])
        whole = kernels(known, known)
        parts = []
        for band in bands_of(self.y_):
            scale = np.sqrt(np.mean(np.square(band[some]).sum(axis=1))) or 1.0
            weights = choose_weights(stack, band[some] / scale, left) if n > 2 else np.full(len(stack), 0.1)
            *shares, sampling = weights.tolist()
            noise = 1 + sampling * self.sampling_
            parts.append(condition(dict(zip(found, shares, strict=True)), whole, noise, band))
        size = np.array([np.square(band).sum() for band in bands_of(self.y_)])
        return Bands(tuple(parts), size / size.sum() if size.sum() else np.full(len(size), 1 / len(size)))

    def _fit_elsewhere(self, known: Rows, ways: dict[str, Rehearsal]) -> None:
        self.elsewhere_: Bands | None = None
        if KNOWN not in ways or not self.structure_.several_contexts:
            return
        everything = ~np.eye(len(known), dtype=bool)
        self.departs_ = self.y_ - _simple.mean_response(known, self.y_, known, everything)
        self.widths_ = _elsewhere.widths(_elsewhere.effects_elsewhere(known, self.departs_, known), self.seed)
        self.elsewhere_ = self._process(self._elsewhere_kernels, known, [ways[KNOWN].blocks])

    def _elsewhere_kernels(self, a: Rows, b: Rows) -> Kernels:
        known = self.rows_
        za, zb = (_elsewhere.effects_elsewhere(known, self.departs_, rows) for rows in (a, b))
        return _elsewhere.kernels(self.priors_, a, b, za, zb, width=self.widths_[0], size=self.widths_[1])

    def _known_elsewhere(self, kind: str, rows: Rows) -> np.ndarray:
        """Give what the same perturbation does in other contexts, where the question is of that kind."""
        if kind != KNOWN or self.elsewhere_ is None:
            return np.zeros((len(rows), 0))
        return _elsewhere.effects_elsewhere(self.rows_, self.departs_, rows)

    # -- what they are worth

    def _answers(
        self, kind: str, y: np.ndarray, v: Components, asked: Rows, allowed: np.ndarray, processes: list[np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Give the simplest answer and all others, in components, if the training rows have the scores `y`."""
        known = self.rows_
        base = _simple.BASE[kind](known, y, asked, allowed)
        others = list(processes)
        if kind == KNOWN:
            others.append(_simple.transfer(known, y, asked, allowed))
        if kind == COMBINATION:
            others.append(_simple.max_abs(known, v.genes(y), asked, allowed) @ v.v_kg.T)
        return base, others

    def _shared_variance(self, kind: str, asked: Rows, allowed: np.ndarray, cross: list[Kernels]) -> np.ndarray:
        """Give what controls add to the error of new rows beyond that of rows left out, (n, n_genes)."""
        contexts = np.unique([*self.rows_.contexts, *asked.contexts])
        here = (self.rows_.contexts[:, None] == contexts).astype(np.float64)
        processes = [p.weight_on(here, k) for p, k in zip((self.process_, self.elsewhere_), cross, strict=False) if p]
        base, others = self._answers(kind, here, Components(np.eye(len(contexts))), asked, allowed, processes)
        weight = replace(self.blends_[kind], slopes=np.ones(len(contexts)))(base, others)
        nothing = np.zeros(len(self.genes_))
        noise = np.stack([self.control_noise_.get(str(context), nothing) for context in contexts]) / self.unit_**2
        own = (asked.contexts[:, None] == contexts).astype(np.float64)
        return control_variance(weight, noise, own, rehearsed=kind in self.errors_)

    def _names(self, kind: str) -> tuple[str, ...]:
        names = ["process"]
        if kind == KNOWN:
            names += ["elsewhere", "transfer"] if self.elsewhere_ is not None else ["transfer"]
        return (*names, "max abs") if kind == COMBINATION else tuple(names)

    def _fit_answers(self, known: Rows, ways: dict[str, Rehearsal], effects: np.ndarray) -> None:
        self.blends_: dict[str, Blend] = {}
        self.errors_: dict[str, ErrorModel] = {}
        self.corrections_: dict[str, ResponseCorrection] = {}
        n, k = self.y_.shape
        for kind in KINDS:
            if kind not in ways:
                self.blends_[kind] = default_blend(self._names(kind), _expected(self._names(kind), n), k)
                continue
            way = ways[kind]
            rows = way.rows
            allowed = np.ones((n, n), dtype=bool)
            for block, asked in zip(way.blocks, way.asked, strict=True):
                allowed[np.ix_(asked, block)] = False
            process, variance = self.process_.left_out(self.y_, way)
            answers = [process[rows]]
            if "elsewhere" in self._names(kind) and self.elsewhere_ is not None:
                answers.append(self.elsewhere_.left_out(self.y_, way)[0][rows])
            part = known.take(rows)
            base, others = self._answers(kind, self.y_, self.components_, part, allowed[rows], answers)
            blend = self.blends_[kind] = fit_blend(
                self._names(kind),
                _expected(self._names(kind), n),
                self.y_[rows],
                base,
                others,
                rest=float(np.square(effects[rows]).sum() - np.square(self.y_[rows]).sum()),
            )
            mean = blend(base, others)
            learned = fit_correction(
                self.priors_, part, self.y_[rows] - mean, elsewhere=self._known_elsewhere(kind, part), seed=self.seed
            )
            if learned is not None:
                self.corrections_[kind], added = learned
                mean = mean + added
            reference = _simple.mean_response(known, self.y_, part, allowed[rows])
            self.errors_[kind] = fit_errors(
                effects[rows],
                self.components_.genes(mean),
                mean - reference,
                variance[rows],
                contexts=part.contexts,
                reference=self.components_.genes(reference),
                level=self.level,
            )
        if not self.errors_:  # one perturbation in one or two contexts: nothing could be left out
            nothing = np.zeros_like(effects)
            self.errors_[TARGET] = fit_errors(
                effects, nothing, self.y_, np.ones(n), contexts=known.contexts, reference=nothing, level=self.level
            )

    # -- answers

    def _predict(self, design: pd.DataFrame) -> np.ndarray:
        return self._answer(design)[0]

    def _answer(self, design: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        known, asked = self.rows_, Rows.of(design, self.dose_centre_)
        kinds = kinds_of(asked, known)
        shape = (len(asked), len(self.genes_))
        mean, sd, half, reliability = np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(len(asked))
        for kind in KINDS:
            everything = np.flatnonzero(kinds == kind)
            for rows in np.array_split(everything, max(1, len(everything) // _ROWS_AT_ONCE)):
                if not len(rows):
                    continue
                part = asked.take(rows)
                allowed = np.ones((len(rows), len(known)), dtype=bool)
                cross = [self._kernels(part, known)]
                process, variance = self.process_.predict(cross[0], self._kernels(part, part))
                answers = [process]
                if "elsewhere" in self._names(kind) and self.elsewhere_ is not None:
                    cross.append(self._elsewhere_kernels(part, known))
                    answers.append(self.elsewhere_.predict(cross[1], self._elsewhere_kernels(part, part))[0])
                base, others = self._answers(kind, self.y_, self.components_, part, allowed, answers)
                scores = self.blends_[kind](base, others)
                if kind in self.corrections_:
                    there = self._known_elsewhere(kind, part)
                    scores = scores + self.corrections_[kind](self.priors_, part, there, scores.shape[1])
                departs = scores - _simple.mean_response(known, self.y_, part, allowed)
                mean[rows] = self.components_.genes(scores)
                errors = self._errors_of(kind)
                scale = errors.scale(part.contexts, mean[rows], departs, variance)
                shared = self._shared_variance(kind, part, allowed, cross)
                sd[rows] = np.sqrt(np.square(scale * errors.unit) + shared)
                half[rows] = np.sqrt(np.square(scale * errors.factor) + norm.ppf(0.5 + self.level / 2) ** 2 * shared)
                reliability[rows] = errors.reliability(departs, variance)
        return mean * self.unit_, sd * self.unit_, half * self.unit_, reliability

    def _errors_of(self, kind: str) -> ErrorModel:
        """Give the error model of a kind, or of the hardest that could be rehearsed."""
        return next(self.errors_[k] for k in (kind, TARGET, CONTEXT, COMBINATION, KNOWN) if k in self.errors_)


def _expected(names: tuple[str, ...], n_rows: int) -> np.ndarray:
    """Give the weights of answers before anything is seen.

    The process, if it had a few rows to learn from. For combinations half of it, since the parts rarely add up in full,
    and a quarter of the way from their sum to the larger of them.
    """
    expected = {"process": 0.5, "max abs": 0.25} if "max abs" in names else {"process": float(n_rows >= _FEW)}
    return np.array([expected.get(name, 0.0) for name in names])
