"""Named sets of questions: which task is asked of which data, and who answers."""

from __future__ import annotations

from dataclasses import dataclass

from omicsfm.tasks import Annotation, CellState, Imputation, MosaicIntegration, PerturbationResponse, Task


@dataclass(frozen=True)
class Question:
    """One task on one data set.

    Attributes
    ----------
    dataset : name in the registry.
    task : the task.
    method : the model on trial.
    baselines : what it is compared with.
    controls : what a model that learnt nothing would score; shown, never the baseline of a verdict.
    batch_key, label_key : for ``ofm.setup``.
    """

    dataset: str
    task: Task
    method: str
    baselines: tuple[str, ...]
    batch_key: str | None = "batch"
    label_key: str | None = "celltype"
    controls: tuple[str, ...] = ()

    @property
    def methods(self) -> tuple[str, ...]:
        """All that are asked: the model on trial first."""
        return (self.method, *self.baselines, *self.controls)


_IMPUTERS = ("MeanImputer", "KNNImputer", "RidgeImputer", "MeanKNNRidge")
_LABELLERS = ("MajorityClass", "LogisticLabels", "KNNLabels")


_CONTEXTS = ("MatchedContext", "NearestContext", "TwoWayEB")


def _response(dataset: str, task: PerturbationResponse, *baselines: str) -> Question:
    return Question(
        dataset, task, "ResponseModel", baselines, batch_key=None, label_key=None, controls=("ControlResponse",)
    )


SUITES: dict[str, tuple[Question, ...]] = {
    "perturbation": (
        _response(
            "norman19",
            PerturbationResponse("unseen_combination", n_seen=2),
            *("AdditiveResponse", "MaxAbs", "AdditiveRegression", "MeanResponse"),
        ),
        _response("kang18_ifnb_harmony", PerturbationResponse("unseen_context"), *_CONTEXTS),
        _response("mcfaline23", PerturbationResponse("unseen_context"), "MatchedContext", "MeanResponse"),
    ),
    "quick": (
        Question("pbmc_mosaic", MosaicIntegration(), "LinearMosaic", ("CCA", "ConcatPCA"), controls=("Chance",)),
        Question("pbmc_mosaic", Imputation(("protein",)), "LinearMosaic", _IMPUTERS),
        Question("pbmc_mosaic", Annotation(n_unseen=1), "LinearMosaic", _LABELLERS),
    ),
    "full": (
        Question("pbmc_mosaic", MosaicIntegration(), "LinearMosaic", ("CCA", "ConcatPCA"), controls=("Chance",)),
        Question("pbmc_mosaic", Imputation(), "LinearMosaic", (*_IMPUTERS, "KernelRidgeImputer")),
        Question("pbmc_mosaic", Annotation(), "LinearMosaic", _LABELLERS),
        Question("pbmc_mosaic", CellState(), "LinearMosaic", ("CCA", "ConcatPCA"), controls=("Chance",)),
        Question("pbmc_cite_scvi", Imputation(("protein",)), "LinearMosaic", _IMPUTERS, label_key=None),
        Question(
            "mop_snareseq_mouse_cortex",
            CellState(),
            "LinearMosaic",
            ("ModalityPCA", "CCA", "ConcatPCA"),
            controls=("Chance",),
        ),
    ),
}
