"""Every model there is, by name: ours, and those that other packages announce."""

from __future__ import annotations

import inspect
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


_REGISTERED: dict[str, Factory] = {}


class _Models(Mapping[str, Factory]):
    """Name -> what makes the estimator. Code of another package is imported when its model is asked for, not before."""

    def __getitem__(self, name: str) -> Factory:
        if name in _OURS:
            return _OURS[name]
        return _REGISTERED[name] if name in _REGISTERED else _theirs()[name].load()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*_OURS, *_REGISTERED, *_theirs()}))

    def __len__(self) -> int:
        return len({*_OURS, *_REGISTERED, *_theirs()})

    def __contains__(self, name: object) -> bool:  # without importing anything, unlike Mapping's own
        return name in _OURS or name in _REGISTERED or name in _theirs()


def _theirs() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in _OURS}


MODELS: Mapping[str, Factory] = _Models()


def register(name: str, factory: Factory) -> None:
    """Announce a model of your own for this session: verbs and the bench then know it by its name.

    A package announces its models as entry points of the group ``omicsfm.models`` instead.

    Parameters
    ----------
    name
        How it is called in tables. A name registered before is replaced, as when a cell of a notebook runs again.
    factory
        The class, or a function, that makes the estimator; the bench gives it ``seed``.

    Raises
    ------
    InputError
        If the name is one of ours, or the factory cannot be called with a seed.
    """
    if name in _OURS or not name:
        raise InputError(f"models.register: the name '{name}' is taken. Fix: choose another, such as 'My{name}'.")
    try:
        takes = inspect.signature(factory).parameters
    except TypeError as err:
        raise InputError(
            f"models.register: '{name}' needs what makes the estimator, found {type(factory).__name__}. "
            "Fix: give the class, not an estimator."
        ) from err
    if "seed" not in takes and not any(p.kind is p.VAR_KEYWORD for p in takes.values()):
        raise InputError(
            f"models.register: '{name}' takes no seed, found {', '.join(takes) or 'no parameters'}. "
            "Fix: give it a parameter `seed`, stored even if nothing is random: the bench runs methods seed by seed."
        )
    _REGISTERED[name] = factory


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
