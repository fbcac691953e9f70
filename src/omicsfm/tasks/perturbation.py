"""Predict the response to a perturbation that was held out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from mudata import MuData

from omicsfm import contract, pp
from omicsfm._errors import InputError
from omicsfm.models._responder import Responds, Response
from omicsfm.pp import ResponseData
from omicsfm.tasks import _perturbation_folds as folds
from omicsfm.tasks._perturbation_audit import audit
from omicsfm.tasks._perturbation_calibration import ScreenCalibration, calibrate_screen
from omicsfm.tasks._perturbation_score import (
    Observed,
    gene_weights,
    point_scores,
    uncertainty_scores,
    weighted_scores,
)
from omicsfm.tasks._perturbation_screen import Screen, screen_of_cells, screen_of_effects
from omicsfm.tasks._perturbation_truth import (
    effects_of_rows,
    groups_of_targets,
    make_split,
    with_contexts_of_replicates,
)
from omicsfm.tasks._task import Finding, Scores, Split


class PerturbationResponse:
    """Hold out perturbations, and ask for the difference they make against controls that no method saw.

    The controls of every context and replicate are cut in two: one half goes with training, the other is only used for
    the truth. Everything but the truth comes from training: genes to score, the mean response, priors made of cells.

    Parameters
    ----------
    kind
        "unseen_target": single targets in folds; combinations that contain one leave training with it.
        "unseen_combination": combinations in folds.
        "unseen_context": the perturbed cells of one context leave, its controls stay.
        "unseen_donor": the same for all perturbed cells of a replicate; its contexts are asked one by one.
        "known_target_new_context": a fraction of the targets is measured in a context, the rest is known from others.
        "unseen_dose": one inner dose of every perturbation.
    n_folds
        For unseen targets and combinations.
    seed
        Of folds, of what is measured, and of the halves of the cells.
    groups
        For unseen targets: what is held out together. A mapping of targets to groups, or a number of Ward clusters of
        the priors (60 leave hardly a member of the same complex in training). None: every target for itself.
    n_seen
        For unseen combinations: members that stay in training as singles; rows of the others leave. None: all stay.
    fraction
        For known targets: how many are measured in the new context.
    measurable
        Ask only about these perturbations (with effects that repeat); the others stay in training. None: all.
    min_cells
        Perturbed cells, and controls in each half, that a truth needs.
    n_genes
        Score the genes that move most in training; None: all that move.
    priors
        Names for :func:`omicsfm.pp.target_priors` or "expression" (controls of training); empty: those of the data.
    aliases
        Other name of a target -> its name, beyond case and versions of Ensembl ids.
    """

    primary: tuple[str, ...] = ("pearson_delta", "nmse", "discrimination")
    needs_tokens = False

    def __init__(
        self,
        kind: str,
        *,
        n_folds: int = 5,
        seed: int = 0,
        groups: int | Mapping[str, str] | None = None,
        n_seen: int | None = None,
        fraction: float = 0.5,
        measurable: Sequence[str] | None = None,
        min_cells: int = 10,
        n_genes: int | None = None,
        priors: Sequence[str] = (),
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        if kind not in folds.KINDS:
            raise InputError(f"PerturbationResponse: no kind '{kind}'. Fix: choose one of {', '.join(folds.KINDS)}.")
        if n_folds < 2 or not 0 < fraction < 1:
            raise InputError(
                f"PerturbationResponse: n_folds >= 2 and 0 < fraction < 1 are needed, found {n_folds} and {fraction}. "
                "Fix: n_folds=5, fraction=0.5."
            )
        if min_cells < 2:
            raise InputError(f"PerturbationResponse: min_cells >= 2 is needed, found {min_cells}. Fix: min_cells=10.")
        self.kind = kind
        self.n_folds = n_folds
        self.seed = seed
        self.groups = groups
        self.n_seen = n_seen
        self.fraction = fraction
        self.measurable = measurable
        self.min_cells = min_cells
        self.n_genes = n_genes
        self.priors = tuple(priors)
        self.aliases = dict(aliases or {})

    @property
    def name(self) -> str:
        """Kind, and what is harder than usual about it."""
        more = "" if self.groups is None else "_groups"
        return self.kind + (more if self.n_seen is None else f"_{self.n_seen}_seen")

    @property
    def split_unit(self) -> str:
        """What is held out."""
        units = {folds.CONTEXT: "context", folds.KNOWN: "context", folds.DONOR: "donor", folds.DOSE: "dose"}
        return units.get(self.kind, "fold")

    def splits(self, mdata: MuData | ResponseData) -> Iterator[Split]:
        """Give one split per fold, context, donor or dose.

        Parameters
        ----------
        mdata
            Set up with ``perturbation_key``; without a control, every row is taken as an effect. Or effects.

        Raises
        ------
        InputError
            If nothing can be held out and still learnt, or there are cells and no controls.
        """
        data = self._with_priors(mdata)
        if isinstance(data, ResponseData):
            screen = screen_of_effects(data)
        else:
            screen = screen_of_cells(data, seed=self.seed, min_cells=self.min_cells)
        plain = folds.plain_names(self.aliases)
        learnt = np.isfinite(screen.shift).all(axis=1)
        any_split = False
        for fold in self._folds(screen, data, plain):
            if (learnt & ~fold.hidden).any():
                any_split = True
                yield make_split(screen, fold, plain, self.n_genes)
        if not any_split:
            raise InputError(
                f"PerturbationResponse: nothing can be held out for '{self.kind}' and still be learnt. Fix: check the "
                f"keys and the control given to ofm.setup, or lower min_cells={self.min_cells}."
            )

    def can(self, model: Any) -> bool:
        """Needs `respond`."""
        return isinstance(model, Responds)

    def predict(self, model: Any, split: Split) -> Response:
        """Ask for the effects of the held-out rows."""
        return model.respond(split.query)

    def score(self, prediction: Response, split: Split) -> Scores:
        """Give values per perturbation, plain against unseen controls and ":perturbed" against the training mean.

        Where combinations differ in how many members were seen, every score comes once for each number as well.
        """
        truth, genes = split.truth, split.truth["genes"]
        missing = genes.difference(prediction.mean.columns)
        if len(missing):
            raise InputError(
                f"PerturbationResponse.score: the prediction lacks {len(missing)} genes of the score, such as "
                f"{missing[0]}. Fix: predict every gene of the training data."
            )
        mean = prediction.mean[genes].to_numpy(dtype=np.float64)
        common = truth["context"], truth["effect"], truth["shift"], truth["baseline"], truth["exclude"]
        scores: Scores = dict(point_scores(mean, Observed(*common, se=truth["se"])))
        if truth["half"] is not None:
            half = Observed(truth["context"], truth["half"], truth["half_shift"], truth["baseline"], truth["exclude"])
            scores |= weighted_scores(mean, half, gene_weights(truth))
        seen = np.asarray(truth["n_seen"])
        if self.kind == folds.COMBINATION and len(set(seen)) > 1:
            for name, value in list(scores.items()):
                for k in sorted(set(seen)):
                    joint = "," if ":" in name else ":"
                    scores[f"{name}{joint}{k} seen"] = np.asarray(value)[seen == k]
        return scores | uncertainty_scores(prediction, genes, Observed(*common))

    def audit(self, split: Split) -> list[Finding]:
        """Look for held-out targets under another name or in a combination, cells, controls, guides and features."""
        return audit(self.kind, split, folds.plain_names(self.aliases), self.n_genes)

    def calibration(self, mdata: MuData | ResponseData) -> ScreenCalibration:
        """Tell whether a replicate of this screen beats the mean response, and so whether a verdict is allowed."""
        return calibrate_screen(self.splits(mdata), self.primary)

    def _with_priors(self, data: MuData | ResponseData) -> MuData | ResponseData:
        if not isinstance(data, ResponseData):
            if contract.perturbations(data)["is_control"].any():
                return self._cells_with_priors(data)
            data = effects_of_rows(data)
        if not self.priors:
            return data
        found = pp.target_priors(data.design["perturbation"], self.priors)
        return dataclasses.replace(data, priors={**data.priors, **found})

    def _cells_with_priors(self, mdata: MuData) -> MuData:
        if self.kind == folds.DONOR:
            if contract.keys(mdata).replicate is None:
                raise InputError(
                    "PerturbationResponse: 'unseen_donor' needs replicates, found no replicate key. "
                    'Fix: ofm.setup(mdata, replicate_key="donor").'
                )
            mdata = with_contexts_of_replicates(mdata)
        if self.priors:
            mdata = contract.subset(mdata, np.ones(mdata.n_obs, dtype=bool))
            pp.add_priors(mdata, self.priors, seed=self.seed)
        return mdata

    def _folds(self, screen: Screen, data: MuData | ResponseData, plain: folds.Plain) -> Iterator[folds.Fold]:
        design, seed = screen.design, self.seed
        able = (design["n_cells"] >= self.min_cells).to_numpy() & np.isfinite(screen.effect).all(axis=1)
        if self.measurable is not None:
            able &= design["perturbation"].isin([contract.canonical(name) for name in self.measurable]).to_numpy()
        if self.kind == folds.TARGET:
            priors = data.priors if isinstance(data, ResponseData) else pp.priors_of(data)
            together = groups_of_targets(self.groups, priors, design, plain)
            return folds.target_folds(design, able, plain, n_folds=self.n_folds, seed=seed, groups=together)
        if self.kind == folds.COMBINATION:
            return folds.combination_folds(design, able, plain, n_folds=self.n_folds, seed=seed, seen=self.n_seen)
        if self.kind == folds.KNOWN:
            return folds.known_folds(design, able, plain, fraction=self.fraction, seed=seed)
        if self.kind == folds.DOSE:
            return folds.dose_folds(design, able, plain)
        groups = folds.donors_of(design) if self.kind == folds.DONOR else design["context"]
        return folds.context_folds(design, able, groups)
