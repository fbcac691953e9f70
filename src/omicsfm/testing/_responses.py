"""Checks of estimators that predict responses to perturbations."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from mudata import MuData
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from omicsfm import _compat, contract, hub
from omicsfm._errors import InputError
from omicsfm.testing._answers import lenient, must

Factory = Callable[[], Any]
_TARGETS = ("A", "B", "C", "D", "E", "F")


def toy_screen(n_cells: int = 20, *, seed: int = 0) -> MuData:
    """Make a small screen: six targets and two pairs in two cell types, counts of 30 genes, a prior of the targets.

    Parameters
    ----------
    n_cells
        Per perturbation and cell type.
    seed
        Of the counts.

    Returns
    -------
    MuData set up with controls and contexts; the perturbation "F" and the pair "C+D" stand in one cell type only.
    """
    rng = np.random.default_rng(seed)
    prior = rng.normal(size=(len(_TARGETS), 4))
    effect = 0.5 * prior @ rng.normal(size=(4, 30))
    of = dict(zip(_TARGETS, effect, strict=True))
    names = ["ctrl", *_TARGETS, "A+B", "C+D"]
    labels, types, rates = [], [], []
    for j, cell_type in enumerate(("T", "B")):
        base = rng.normal(1.5, 0.5, size=30)
        for name in names:
            if j == 1 and name in ("F", "C+D"):
                continue
            shift = sum((of[t] for t in contract.members(name, "ctrl")), np.zeros(30))
            labels += [name] * n_cells
            types += [cell_type] * n_cells
            rates.append(np.exp(np.tile(base + shift, (n_cells, 1))))
    cells = [f"cell{i}" for i in range(len(labels))]
    counts = rng.poisson(np.concatenate(rates)).astype(np.float32)
    obs = pd.DataFrame({"condition": labels, "cell_type": types}, index=cells)
    var = pd.DataFrame(index=[f"GENE{i}" for i in range(30)])
    mdata = _compat.make_mudata({"rna": ad.AnnData(counts, obs=pd.DataFrame(index=cells), var=var)}, obs)
    contract.setup(mdata, perturbation_key="condition", control="ctrl", context_key="cell_type")
    guides = mdata.mod["guide"]
    table = pd.DataFrame(prior, index=list(_TARGETS)).reindex(guides.var["target"]).to_numpy(dtype=np.float32)
    guides.varm["prior_toy"] = table
    return mdata


def toy_design() -> pd.DataFrame:
    """Ask about a known target, an unmeasured one, pairs, one never seen, and a control."""
    rows = [("A", "T"), ("F", "B"), ("C+D", "B"), ("D+A", "T"), ("Z", "B"), ("ctrl", "T")]
    return pd.DataFrame(rows, columns=["perturbation", "context"], index=[f"row{i}" for i in range(len(rows))])


def check_response_parameters(factory: Factory) -> None:
    """Check that ``__init__`` stores parameters alone, `clone` works, and `fit` returns self and keeps them."""
    model = factory()
    params = model.get_params()
    must(set(vars(model)) == set(params), "__init__ must store its parameters under their names and nothing else")
    must(clone(model).get_params() == params, "clone must give the same parameters")
    must(_fit(model) is model, "fit must return the estimator itself")
    must(model.get_params() == params, "fit must not change parameters")


def check_response_errors(factory: Factory) -> None:
    """Check that asking before `fit`, and a design that is none, are refused."""
    _raises(NotFittedError, lambda: factory().respond(toy_design()), "respond before fit")
    model = _fit(factory())
    _raises(
        InputError, lambda: model.respond(toy_design().drop(columns="perturbation")), "a design without perturbation"
    )
    _raises(InputError, lambda: model.respond(["A"]), "a list as design")


def check_response_output(factory: Factory) -> None:
    """Check shapes, index, order of the bounds, and that nothing is NaN; a control does nothing."""
    mdata, design = toy_screen(), toy_design()
    before = contract.fingerprint(mdata), mdata.obs.copy()
    found = _fit(factory(), mdata).respond(design)
    must(contract.fingerprint(mdata) == before[0] and mdata.obs.equals(before[1]), "the MuData was changed")
    for name in ("mean", "sd", "lower", "upper"):
        table = getattr(found, name)
        must(list(table.index) == list(design.index), f"{name} must have the index of the design")
        must(list(table.columns) == list(mdata.mod["rna"].var_names), f"{name} must have the genes as columns")
        must(bool(np.isfinite(table.to_numpy()).all()), f"{name} must be finite")
    must(bool((found.lower.to_numpy() <= found.upper.to_numpy()).all()), "lower must not exceed upper")
    must(bool((found.mean.loc["row5"] == 0).all()), "a control has no effect")
    must(bool(found.reliability.between(0, 1).all()), "reliability must be between 0 and 1")


def check_response_seed(factory: Factory) -> None:
    """Check that two fits agree to the bit."""
    design = toy_design()
    first, second = (_fit(factory()).respond(design).mean for _ in range(2))
    must(bool(first.equals(second)), "two fits with the same seed must give the same bits")


def check_response_rows(factory: Factory) -> None:
    """Check that the answer to a row depends neither on the other rows nor on their order."""
    design = toy_design()
    model = _fit(factory())
    whole, part = model.respond(design).mean, model.respond(design.iloc[[3, 1]]).mean
    gap = np.abs(whole.loc[part.index].to_numpy() - part.to_numpy()).max()
    must(gap <= 1e-6 * max(float(np.abs(whole.to_numpy()).max()), 1e-12), "other rows changed an answer")


def check_response_round_trip(factory: Factory) -> None:
    """Check that `load` gives back what `save` wrote."""
    model = _fit(factory())
    if not callable(getattr(model, "save", None)):
        return
    before = model.respond(toy_design())
    with tempfile.TemporaryDirectory() as folder:
        after = hub.load(model.save(Path(folder) / "model")).respond(toy_design())
    must(before.mean.equals(after.mean) and before.upper.equals(after.upper), "the loaded model answers differently")


RESPONSE_CHECKS: tuple[Callable[[Factory], None], ...] = (
    check_response_parameters,
    check_response_errors,
    check_response_output,
    check_response_seed,
    check_response_rows,
    check_response_round_trip,
)


def _fit(model: Any, mdata: MuData | None = None) -> Any:
    with lenient():
        return model.fit(toy_screen() if mdata is None else mdata)


def _raises(kind: type[Exception], call: Callable[[], Any], what: str) -> None:
    try:
        with lenient():
            call()
    except kind:
        return
    raise AssertionError(f"{what} must raise {kind.__name__}")
