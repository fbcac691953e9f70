"""Named sets of questions: which task is asked of which data, and who answers."""

from __future__ import annotations

from dataclasses import dataclass

from omicsfm.tasks import Annotation, CellState, Imputation, MosaicIntegration, Task


@dataclass(frozen=True)
class Question:
    """One task on one data set.

    Attributes
    ----------
    dataset : name in the registry.
    task : the task.
    method : the model on trial.
    baselines : what it is compared with; controls among them.
    batch_key, label_key : for ``ofm.setup``.
    """

    dataset: str
    task: Task
    method: str
    baselines: tuple[str, ...]
    batch_key: str = "batch"
    label_key: str | None = "celltype"


_IMPUTERS = ("MeanImputer", "KNNImputer", "RidgeImputer", "MeanKNNRidge")
_LABELLERS = ("MajorityClass", "LogisticLabels", "KNNLabels")

SUITES: dict[str, tuple[Question, ...]] = {
    "quick": (
        Question("pbmc_mosaic", MosaicIntegration(), "LinearMosaic", ("Chance", "CCA", "ConcatPCA")),
        Question("pbmc_mosaic", Imputation(("protein",)), "LinearMosaic", _IMPUTERS),
        Question("pbmc_mosaic", Annotation(n_unseen=1), "LinearMosaic", _LABELLERS),
    ),
    "full": (
        Question("pbmc_mosaic", MosaicIntegration(), "LinearMosaic", ("Chance", "CCA", "ConcatPCA")),
        Question("pbmc_mosaic", Imputation(), "LinearMosaic", (*_IMPUTERS, "KernelRidgeImputer")),
        Question("pbmc_mosaic", Annotation(), "LinearMosaic", _LABELLERS),
        Question("pbmc_mosaic", CellState(), "LinearMosaic", ("Chance", "CCA", "ConcatPCA")),
        Question("pbmc_cite_scvi", Imputation(("protein",)), "LinearMosaic", _IMPUTERS, label_key=None),
        Question(
            "mop_snareseq_mouse_cortex",
            CellState(),
            "LinearMosaic",
            ("Chance", "ModalityPCA", "CCA", "ConcatPCA"),
        ),
    ),
}
