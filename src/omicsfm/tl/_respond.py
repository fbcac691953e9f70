"""respond: what perturbations would do where they were not tried."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData

from omicsfm import _compat, contract
from omicsfm._errors import InputError
from omicsfm.models._responder import Response
from omicsfm.models.response import ResponseModel
from omicsfm.pp._response_data import DESIGN, priors_of
from omicsfm.tl._model import is_fitted, made_by, make


def respond(
    mdata: MuData, design: pd.DataFrame | None = None, model: Any = "auto", *, modality: str = "rna", seed: int = 0
) -> Response:
    """Predict the effects of perturbations, with intervals and a reliability for each prediction.

    The answers in short are written to ``uns["response"]``, a dict of columns (``pd.DataFrame`` takes it):
    perturbation, context, dose, reliability, size (root of the summed squared effects over genes). What was done is
    written to the history (``ofm.contract.history``).

    Parameters
    ----------
    mdata
        Set up with ``perturbation_key``, ``control`` and, where there are several, ``context_key``; priors of the
        targets, if any, as ``varm["prior_*"]`` of the guide modality. Written to.
    design
        What to ask: columns perturbation ("A", "A+B"), context and dose where there are several. None: see
        :func:`unmeasured`.
    model
        "auto" (:class:`omicsfm.models.ResponseModel`), a registered name, or an estimator with `respond`. One that is
        fitted already is only asked; another is fitted here.
    modality
        Whose features respond.
    seed
        Seed of a model made here by name.

    Returns
    -------
    Response: ``mean``, ``sd``, ``lower``, ``upper`` (rows of the design x genes, difference of mean log1p counts per
    10,000 against the control of the context) and ``reliability``.

    Raises
    ------
    InputError
        If there are no controls, nothing was perturbed, the design cannot be read, or nothing is left to ask.
    """
    made = maker(model, seed=seed)
    asked = unmeasured(mdata, modality=modality) if design is None else design
    if not len(asked):
        raise InputError(
            "respond: every known target was measured in every context, so nothing is left to ask. "
            "Fix: give a design, or priors of more targets (varm['prior_*'] of the guide modality)."
        )
    found = made if is_fitted(made) else made.fit(mdata, modality=modality)
    out: Response = found.respond(asked)
    with _compat.silent():
        if mdata.is_view:
            mdata.uns = dict(mdata.uns)  # makes the view a MuData of its own
        mdata.uns["response"] = {
            "perturbation": out.design["perturbation"].to_numpy(dtype=object),
            "context": out.design["context"].to_numpy(dtype=object),
            "dose": out.design["dose"].to_numpy(dtype=np.float64),
            "reliability": out.reliability.to_numpy(dtype=np.float64),
            "size": np.sqrt(np.square(out.mean.to_numpy()).sum(axis=1)),
        }
    contract.record(
        mdata, "respond", slots=["response"], modality=modality, level=out.level, n=len(asked), **made_by(found)
    )
    return out


def maker(model: Any, *, seed: int) -> Any:
    """Give the estimator that `model` names or is, if it can respond."""
    return ResponseModel(seed=seed) if isinstance(model, str) and model == "auto" else make(model, "respond", seed=seed)


def unmeasured(mdata: MuData, *, modality: str = "rna") -> pd.DataFrame:
    """Give every known perturbation and dose, in every context that has controls, where it was not measured.

    Known are the perturbations that were tried anywhere, and the targets of which there is a prior.

    Returns
    -------
    DataFrame: perturbation, context, dose (NaN where none), sorted.
    """
    who = contract.perturbations(mdata).iloc[contract.rows(mdata, modality)].dropna(subset=["perturbation", "context"])
    contexts = sorted(set(who.loc[who["is_control"], "context"]))
    tried = who.loc[~who["is_control"], DESIGN].drop_duplicates()
    what = tried[["perturbation", "dose"]].drop_duplicates()
    known = {target for table in priors_of(mdata).values() for target in table.index}
    names = sorted(known - set(what["perturbation"]) - {contract.CONTROL, contract.control_of(mdata)})
    what = pd.concat([what, pd.DataFrame({"perturbation": names, "dose": np.nan})] if names else [what])
    every = what.merge(pd.DataFrame({"context": contexts}), how="cross")
    found = every.merge(tried, on=DESIGN, how="left", indicator=True)
    left = found.loc[found["_merge"] == "left_only", DESIGN]
    return left.sort_values(["context", "perturbation", "dose"], ignore_index=True)
