"""Which model a verb means: a name, an estimator, or one that is fitted already."""

from __future__ import annotations

import inspect
from typing import Any

from mudata import MuData

from omicsfm import contract
from omicsfm._errors import InputError
from omicsfm.models._registry import MODELS, create
from omicsfm.models.stack import auto_model


def make(model: Any, verb: str, *, seed: int) -> Any:
    """Give the estimator that `model` names or is, if it can do what `verb` says.

    Raises
    ------
    InputError
        If there is no such model, or it cannot.
    """
    if isinstance(model, str):
        name = model
        if name == "auto":
            model = auto_model(seed=seed)
        else:
            seeded = name in MODELS and "seed" in inspect.signature(MODELS[name]).parameters
            model = create(name, **({"seed": seed} if seeded else {}))
    if not callable(getattr(model, verb, None)):
        raise InputError(
            f"{verb}: {type(model).__name__} cannot do this (it has no `{verb}`). "
            'Fix: model="auto", or an estimator that can.'
        )
    return model


def is_fitted(model: Any) -> bool:
    """Tell whether an estimator has learnt something (attributes that end in '_')."""
    return any(key.endswith("_") and not key.startswith("_") for key in vars(model))


def fitted(mdata: MuData, model: Any, verb: str, *, seed: int) -> Any:
    """Give the estimator, fitted on `mdata` unless it was fitted before."""
    made = make(model, verb, seed=seed)
    return made if is_fitted(made) else made.fit(mdata)


def made_by(model: Any) -> dict[str, Any]:
    """Say for the history what a model is."""
    out: dict[str, Any] = {"model": type(model).__name__, "params": model.get_params(deep=False)}
    if hasattr(model, "weights_"):
        out["weights"] = model.weights_
    return out


def need_mudata(mdata: Any, caller: str) -> None:
    """Refuse what breaks the contract before anything is fitted."""
    contract.check(mdata).raise_for_errors(caller)
