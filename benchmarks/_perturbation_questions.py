"""The questions of the perturbation study: data, task, what is asked of it, and the figures to reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import omicsfm as ofm
from omicsfm import contract
from omicsfm.pp import ResponseData
from omicsfm.pp._priors import ANNOTATIONS
from omicsfm.tasks.perturbation import PerturbationResponse

SIMPLE = ("ControlResponse", "MeanResponse", "WrongTarget")
PRIORS = ("KNNPrior", "RidgePrior", "BilinearLM", "RandomForestGO", "ResponseModel, permuted priors")
PARTS = ("AdditiveResponse", "ShrunkenAdditive", "MaxAbs", "AdditiveRegression")
CONTEXTS = ("MatchedContext", "NearestContext", "TwoWayEB")


@dataclass(frozen=True)
class Goal:
    """A figure to reach: a metric of our model, at least or at most so much."""

    metric: str
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Ask:
    """One question.

    Attributes
    ----------
    key, title : of the question.
    load : gives the data.
    task : makes the task for a seed.
    methods : beside ResponseModel.
    peers : other people's, run when asked for.
    goals : what is to be reached.
    seeds : how many splits at random.
    """

    key: str
    title: str
    load: Callable[[], Any]
    task: Callable[[int], PerturbationResponse]
    methods: tuple[str, ...]
    goals: tuple[Goal, ...] = ()
    seeds: int = 3
    peers: tuple[str, ...] = ()

    @property
    def contexts(self) -> bool:
        """Whether it is asked what happens in a new context or donor."""
        return self.key.startswith("kang")


def replogle(line: str | None = None) -> Any:
    """Ranked effects of 585 knockdowns, in one line or both."""
    mdata = ofm.datasets.load("replogle22_k562_rpe1_sigrecon")
    return mdata if line is None else contract.subset(mdata, (mdata.obs["cell_line"] == line).to_numpy())


def _task(kind: str, **options: Any) -> Callable[[int], PerturbationResponse]:
    return lambda seed: PerturbationResponse(kind, seed=seed, **options)


COVERAGE = (Goal("interval_coverage", 0.87, 0.93), Goal("interval_coverage:worst decile", 0.85))

ASKS = {
    ask.key: ask
    for ask in (
        *(
            Ask(
                f"replogle_target_{line}",
                f"Replogle {line}: unseen target",
                partial(replogle, line),
                _task("unseen_target", priors=ANNOTATIONS),
                (*SIMPLE, *PRIORS),
                (
                    Goal("pearson_delta:perturbed", r),
                    Goal("discrimination:perturbed", d),
                    Goal("nmse", most=e),
                    *COVERAGE,
                ),
            )
            for line, r, d, e in (("K562", 0.36, 0.87, 0.84), ("RPE1", 0.335, 0.865, 0.865))
        ),
        *(
            Ask(
                f"replogle_cluster_{line}",
                f"Replogle {line}: unseen cluster of targets",
                partial(replogle, line),
                _task("unseen_target", priors=ANNOTATIONS, groups=60),
                ("MeanResponse", *PRIORS),
                (Goal("nmse", most=e), *COVERAGE),
            )
            for line, e in (("K562", 0.90), ("RPE1", 0.935))
        ),
        Ask(
            "replogle_known",
            "Replogle: known target, new line, half measured there",
            replogle,
            _task("known_target_new_context", priors=ANNOTATIONS, fraction=0.5),
            ("MeanResponse", *CONTEXTS, "RidgePrior", "BilinearLM"),
            (Goal("nmse", most=0.80), *COVERAGE),
            seeds=2,
        ),
        Ask(
            "norman_doubles",
            "Norman: unseen pair, both members seen alone, no other pairs with unseen members in training",
            partial(ofm.datasets.load, "norman19"),
            _task("unseen_combination", n_seen=2),
            ("MeanResponse", *PARTS, "WrongTarget"),
            peers=("GEARS", "Biolord"),
        ),
        Ask(
            "norman_doubles_shared",
            "Norman: unseen pair, the others in training, one set of controls on both sides as in published figures",
            lambda: ofm.pp.response_data(ofm.datasets.load("norman19")),
            _task("unseen_combination"),
            ("MeanResponse", *PARTS, "WrongTarget"),
            (Goal("pearson_delta:2 seen", 0.88), Goal("l2_delta:2 seen", most=0.41)),
        ),
        Ask(
            "kang_type",
            "Kang: unseen cell type",
            partial(ofm.datasets.load, "kang18_ifnb_harmony"),
            _task("unseen_context"),
            ("ControlResponse", *CONTEXTS),
            seeds=5,
            peers=("ScGen", "Biolord"),
        ),
        Ask(
            "kang100_type",
            "Kang, 100 genes: unseen cell type",
            partial(ofm.datasets.load, "kang18_ifnb_distinct100"),
            _task("unseen_context"),
            ("ControlResponse", *CONTEXTS),
            seeds=5,
        ),
        Ask(
            "kang100_donor",
            "Kang, 100 genes: unseen donor, cell type by cell type",
            partial(ofm.datasets.load, "kang18_ifnb_distinct100"),
            _task("unseen_donor"),
            ("ControlResponse", *CONTEXTS),
            seeds=5,
        ),
        Ask(
            "papalexi_target",
            "Papalexi: unseen target",
            partial(ofm.datasets.load, "papalexi21_thp1_eccite_sceptredata"),
            _task("unseen_target", priors=(*ANNOTATIONS, "expression")),
            (*SIMPLE, "KNNPrior", "RidgePrior", "BilinearLM"),
            peers=("GEARS", "Biolord"),
        ),
        Ask(
            "mcfaline_context",
            "McFaline: unseen line",
            partial(ofm.datasets.load, "mcfaline23"),
            _task("unseen_context"),
            ("ControlResponse", "MatchedContext", "MeanResponse"),
        ),
    )
}


class Permuted(ofm.models.ResponseModel):
    """The model with the priors of the targets shuffled among them: what it gains then is not knowledge."""

    def _fit(self, data: ResponseData) -> Any:
        shuffled = {name: ofm.pp.permuted_prior(table, self.seed) for name, table in data.priors.items()}
        return super()._fit(replace(data, priors=shuffled))


def make(name: str, seed: int) -> Any:
    """Make a method by its name here."""
    return Permuted(seed=seed) if name == "ResponseModel, permuted priors" else ofm.models.create(name, seed=seed)
