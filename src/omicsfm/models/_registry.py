"""Every model there is, by name: ours, and those that other packages announce."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from omicsfm._errors import InputError
from omicsfm.models import external
from omicsfm.models.baselines import (
    CCA,
    WNN,
    Chance,
    ConcatPCA,
    KernelRidgeImputer,
    KNNImputer,
    KNNLabels,
    LogisticLabels,
    MajorityClass,
    MeanImputer,
    MeanKNNRidge,
    ModalityPCA,
    RidgeImputer,
)
from omicsfm.models.linear_mosaic import LinearMosaic
from omicsfm.models.mosaic import Mosaic
from omicsfm.models.response import ResponseModel
from omicsfm.models.responses import (
    AdditiveRegression,
    AdditiveResponse,
    BilinearLM,
    ControlResponse,
    KNNPrior,
    MatchedContext,
    MaxAbs,
    MeanResponse,
    NearestContext,
    RandomForestGO,
    RidgePrior,
    ShrunkenAdditive,
    TwoWayEB,
    WrongTarget,
)
from omicsfm.models.stack import Stack

GROUP = "omicsfm.models"  # of entry points: name = "package.module:Factory"

Factory = Callable[..., Any]

_OURS: dict[str, Factory] = {
    "AdditiveRegression": AdditiveRegression,
    "AdditiveResponse": AdditiveResponse,
    "BilinearLM": BilinearLM,
    "Biolord": external.Biolord,
    "CCA": CCA,
    "Chance": Chance,
    "ConcatPCA": ConcatPCA,
    "ControlResponse": ControlResponse,
    "GEARS": external.GEARS,
    "GLUE": external.GLUE,
    "KNNImputer": KNNImputer,
    "KNNLabels": KNNLabels,
    "KNNPrior": KNNPrior,
    "KernelRidgeImputer": KernelRidgeImputer,
    "LinearMosaic": LinearMosaic,
    "LogisticLabels": LogisticLabels,
    "MIDAS": external.MIDAS,
    "MOFA": external.MOFA,
    "MajorityClass": MajorityClass,
    "MatchedContext": MatchedContext,
    "MaxAbs": MaxAbs,
    "MeanImputer": MeanImputer,
    "MeanKNNRidge": MeanKNNRidge,
    "MeanResponse": MeanResponse,
    "ModalityPCA": ModalityPCA,
    "Mosaic": Mosaic,
    "MultiSpectral": external.MultiSpectral,
    "MultiVI": external.MultiVI,
    "MuonWNN": external.WNN,
    "NearestContext": NearestContext,
    "PeakVI": external.PeakVI,
    "RandomForestGO": RandomForestGO,
    "ResponseModel": ResponseModel,
    "RidgeImputer": RidgeImputer,
    "RidgePrior": RidgePrior,
    "ScANVI": external.ScANVI,
    "ScGen": external.ScGen,
    "ShrunkenAdditive": ShrunkenAdditive,
    "Stack": Stack,
    "TotalVI": external.TotalVI,
    "TwoWayEB": TwoWayEB,
    "WNN": WNN,
    "WrongTarget": WrongTarget,
}


class _Models(Mapping[str, Factory]):
    """Name -> what makes the estimator. Code of another package is imported when its model is asked for, not before."""

    def __getitem__(self, name: str) -> Factory:
        return _OURS[name] if name in _OURS else _theirs()[name].load()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*_OURS, *_theirs()}))

    def __len__(self) -> int:
        return len({*_OURS, *_theirs()})

    def __contains__(self, name: object) -> bool:  # without importing anything, unlike Mapping's own
        return name in _OURS or name in _theirs()


def _theirs() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in _OURS}


MODELS: Mapping[str, Factory] = _Models()


def create(name: str, **params: Any) -> Any:
    """Make an estimator by its registered name.

    Parameters
    ----------
    name
        One of `MODELS`: ours, or an entry point of the group ``omicsfm.models``.
    **params
        Its parameters.

    Returns
    -------
    The estimator, not fitted.

    Raises
    ------
    InputError
        If there is no such model.
    """
    if name not in MODELS:
        raise InputError(f"models.create: there is no model '{name}'. Fix: choose one of {', '.join(MODELS)}.")
    return MODELS[name](**params)
