"""Everything a fitted estimator says of some cells, and what it must look like."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import pandas as pd
from mudata import MuData

from omicsfm import contract
from omicsfm._errors import InputError, OmicsfmWarning
from omicsfm.models import Annotates, Embeds, Imputation, Imputes


def outputs(model: Any, mdata: MuData) -> dict[str, np.ndarray]:
    """Give everything a fitted estimator says of some cells, as arrays with one row per cell."""
    out: dict[str, np.ndarray] = {}
    with lenient():
        if isinstance(model, Embeds):
            out["embed"] = np.asarray(model.embed(mdata))
        for mod in targets(model, mdata):
            found = model.impute(mdata, mod)
            for part in ("mean", "sd", "lower", "upper"):
                out[f"impute {mod} {part}"] = getattr(found, part).to_numpy()
        if isinstance(model, Annotates):
            table = model.annotate(mdata)
            out["label"] = table["label"].to_numpy(dtype=str)
            out["confidence"] = table["confidence"].to_numpy(dtype=float)
            out["unknown"] = table["unknown"].to_numpy(dtype=bool)
    return out


def check_against(model: Any, query: MuData, train: MuData) -> None:
    """Check the form of every answer of a model fitted on `train` about the cells of `query`."""
    n = query.n_obs
    with lenient():
        if isinstance(model, Embeds):
            z = model.embed(query)
            ok = isinstance(z, np.ndarray) and z.ndim == 2 and len(z) == n and z.dtype.kind == "f"
            must(ok, f"embed must give a float array with a row for each of {n} cells, found {np.shape(z)}")
            must(bool(np.isfinite(z).all()), "embed gave NaN or infinite values")
            if "return_sd" in inspect.signature(model.embed).parameters:
                mean, sd = cast(Any, model).embed(query, return_sd=True)
                ok = mean.shape == sd.shape == z.shape and bool((np.isfinite(sd) & (sd >= 0)).all())
                must(ok, "embed with return_sd must give the state and its sd, not negative, of the same shape")
            again = model.embed(train)
            must(again.shape[1] == z.shape[1], "embed must give as many columns for every query")
        for mod in targets(model, train):
            _check_imputation(model.impute(query, mod), mod, query, train)
        if isinstance(model, Annotates):
            _check_annotation(model.annotate(query), query, train)


def _check_imputation(found: Imputation, mod: str, query: MuData, train: MuData) -> None:
    names = train.mod[mod].var_names
    for part in ("mean", "sd", "lower", "upper"):
        frame = getattr(found, part)
        must(frame.index.equals(query.obs_names), f"impute '{mod}': index of {part} must be the query's obs_names")
        must(list(frame.columns) == list(names), f"impute '{mod}': columns of {part} must be the training features")
        must(bool(np.isfinite(frame.to_numpy()).all()), f"impute '{mod}': {part} holds NaN or infinite values")
    must(bool((found.sd.to_numpy() >= 0).all()), f"impute '{mod}': sd must not be negative")
    inside = (found.lower.to_numpy() <= found.mean.to_numpy()) & (found.mean.to_numpy() <= found.upper.to_numpy())
    must(bool(inside.all()), f"impute '{mod}': the mean must lie in its interval")
    must(0 < found.level < 1, f"impute '{mod}': level must lie between 0 and 1")
    observed = train.mod[mod].X[:5]
    must(found.transform(observed).shape == observed.shape, f"impute '{mod}': transform must keep the shape")


def _check_annotation(table: pd.DataFrame, query: MuData, train: MuData) -> None:
    must(table.index.equals(query.obs_names), "annotate: the index must be the query's obs_names")
    lacking = {"label", "confidence", "unknown"} - set(table.columns)
    must(not lacking, f"annotate: columns {sorted(lacking)} are missing")
    known = set(contract.labels(train).dropna())
    must(set(table["label"]) <= known, "annotate: labels must be among those of training")
    must(bool(table["confidence"].between(0, 1).all()), "annotate: confidence must lie between 0 and 1, without NaN")
    must(table["unknown"].dtype == bool, "annotate: unknown must be bool")


def targets(model: Any, mdata: MuData) -> list[str]:
    """Modalities that the model was fitted to predict: those for which it does not refuse."""
    if not isinstance(model, Imputes):
        return []
    out = []
    for mod in mdata.mod:
        try:
            model.impute(mdata, mod)
        except InputError:
            continue
        out.append(mod)
    return out


@contextmanager
def lenient() -> Iterator[None]:
    """Let a model warn a user of what its data lack; that breaks no rule."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OmicsfmWarning)
        yield


def must(condition: bool, rule: str) -> None:
    """Raise AssertionError with the rule unless the condition holds."""
    if not condition:
        raise AssertionError(rule)
