"""One function per rule of the contract of estimators."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mudata import MuData
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from omicsfm import contract, hub
from omicsfm._errors import InputError
from omicsfm.models import Annotates, Embeds, Imputes
from omicsfm.testing._answers import check_against, lenient, must, outputs
from omicsfm.testing._toy import alone, renamed, toy_mosaic

Factory = Callable[[], Any]

# Rows that are computed together with others may differ in the last bits of single precision.
_RTOL, _ATOL = 1e-3, 1e-4


def check_parameters(factory: Factory, mdata: MuData | None = None) -> None:
    """Check that ``__init__`` stores parameters alone, `clone` works, and `fit` returns self and keeps them."""
    model = factory()
    params = model.get_params()
    must(set(vars(model)) == set(params), "__init__ must store its parameters under their names and nothing else")
    must(_same(clone(model).get_params(), params), "clone must give the same parameters")
    with lenient():
        fitted = model.fit(_data(mdata))
    must(fitted is model, "fit must return the estimator itself")
    must(_same(model.get_params(), params), "fit must not change parameters")
    must(any(k.endswith("_") and not k.startswith("_") for k in vars(model)), "learnt attributes must end in '_'")


def check_not_fitted(factory: Factory, mdata: MuData | None = None) -> None:
    """Check that before `fit` everything raises scikit-learn's NotFittedError."""
    data = _data(mdata)
    for name, call in _calls(factory(), data):
        _raises(NotFittedError, call, f"{name} before fit")


def check_bad_input(factory: Factory, mdata: MuData | None = None) -> None:
    """Check that what is no MuData, and a modality that is unknown, raise InputError."""
    data = _data(mdata)
    _raises(InputError, lambda: factory().fit(next(iter(data.mod.values()))), "fit on an AnnData")
    model = _fit(factory, data)
    for name, call in _calls(model, next(iter(data.mod.values()))):
        _raises(InputError, call, f"{name} of an AnnData")
    if isinstance(model, Imputes):
        _raises(InputError, lambda: model.impute(data, "no such modality"), "impute of an unknown modality")


def check_data_untouched(factory: Factory, mdata: MuData | None = None) -> None:
    """Check that the MuData and NumPy's global generator are as they were after fitting and asking."""
    data = _data(mdata)
    before = contract.fingerprint(data), data.obs.copy(), repr(data.uns), list(data.obsm)
    state = np.random.get_state()
    outputs(_fit(factory, data), data)
    must(contract.fingerprint(data) == before[0], "X, names or modalities of the MuData were changed")
    must(data.obs.equals(before[1]), "obs of the MuData was changed")
    must((repr(data.uns), list(data.obsm)) == before[2:], "uns or obsm of the MuData was changed")
    must(_same(np.random.get_state(), state), "NumPy's global generator was touched: use np.random.default_rng(seed)")


def check_output(factory: Factory, mdata: MuData | None = None) -> None:
    """Check shapes, index, columns and ranges of what comes out; no NaN."""
    data = _data(mdata)
    model = _fit(factory, data)
    must(
        isinstance(model, Embeds | Imputes | Annotates),
        "an estimator must embed, impute or annotate",
    )
    check_against(model, data, data)


def check_seed(factory: Factory, mdata: MuData | None = None) -> None:
    """Check that two fits with the same seed agree to the bit."""
    data = _data(mdata)
    first, second = outputs(_fit(factory, data), data), outputs(_fit(factory, data), data)
    must(_same(first, second), "two fits with the same seed must give the same bits")


def check_new_cells(factory: Factory, mdata: MuData | None = None) -> None:
    """Check that cells never seen, without setup and labels, are answered like any others."""
    train = _data(mdata)
    model = _fit(factory, train)
    query = toy_mosaic(30, prefix="new", seed=7) if mdata is None else renamed(train)
    query.obs = query.obs.drop(columns=[c for c in (contract.keys(train).label,) if c in query.obs.columns])
    query.uns.clear()
    check_against(model, query, train)


def check_any_subset(factory: Factory, mdata: MuData | None = None) -> None:
    """Check that queries with each modality alone are answered, whatever the model was fitted on."""
    data = _data(mdata)
    model = _fit(factory, data)
    for mod in data.mod:
        check_against(model, alone(data, mod), data)


def check_rows(factory: Factory, mdata: MuData | None = None) -> None:
    """Check that a row belongs to its own cell: neither the order of cells nor the other cells change it."""
    data = _data(mdata)
    model = _fit(factory, data)
    rng = np.random.default_rng(0)
    some = contract.subset(data, rng.permutation(data.n_obs)[: max(1, data.n_obs // 3)])
    must(some.n_obs > 0, "the check needs cells")
    whole, part = outputs(model, data), outputs(model, some)
    position = data.obs_names.get_indexer(some.obs_names)
    for name, value in part.items():
        expected = whole[name][position]
        if value.dtype.kind == "f":
            scale = max(float(np.abs(whole[name]).max()), 1e-12)
            off = np.abs(value - expected) > _ATOL * scale + _RTOL * np.abs(expected)
        else:
            off = value != expected
        rows = off.reshape(len(off), -1).any(axis=1)
        # A tie between neighbours may fall the other way; a wrong order would change nearly every row.
        must(rows.mean() <= 0.05, f"{name}: {rows.mean():.0%} of cells got another answer among other cells")


def check_round_trip(factory: Factory, mdata: MuData | None = None) -> None:
    """Check that `load` gives back what `save` wrote: same class, parameters and answers to the bit."""
    data = _data(mdata)
    model = _fit(factory, data)
    if not callable(getattr(model, "save", None)):
        return
    before = outputs(model, data)
    with tempfile.TemporaryDirectory() as folder:
        loaded = hub.load(model.save(Path(folder) / "model"))
    must(type(loaded) is type(model), f"load gave a {type(loaded).__name__}")
    must(_same(loaded.get_params(), model.get_params()), "load gave other parameters")
    must(_same(outputs(loaded, data), before), "the loaded model answers differently")


CHECKS: tuple[Callable[..., None], ...] = (
    check_parameters,
    check_not_fitted,
    check_bad_input,
    check_data_untouched,
    check_output,
    check_seed,
    check_new_cells,
    check_any_subset,
    check_rows,
    check_round_trip,
)


def check_estimator(factory: Factory, mdata: MuData | None = None) -> None:
    """Run every check.

    Parameters
    ----------
    factory
        Makes the estimator, without arguments: its class will do.
    mdata
        Data to check it on; a small mosaic where none is given.

    Raises
    ------
    AssertionError
        At the first check that fails; the message says which rule was broken.
    """
    for check in CHECKS:
        check(factory, mdata)


def _calls(model: Any, mdata: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    if isinstance(model, Embeds):
        yield "embed", lambda: model.embed(mdata)
    if isinstance(model, Imputes):
        yield "impute", lambda: model.impute(mdata, next(iter(getattr(mdata, "mod", {"rna": None}))))
    if isinstance(model, Annotates):
        yield "annotate", lambda: model.annotate(mdata)


def _data(mdata: MuData | None) -> MuData:
    return toy_mosaic() if mdata is None else contract.subset(mdata, np.ones(mdata.n_obs, dtype=bool))


def _fit(factory: Factory, mdata: MuData) -> Any:
    with lenient():
        return factory().fit(mdata)


def _same(a: Any, b: Any) -> bool:
    """Equal to the bit, through dictionaries, tuples, lists and arrays."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    return bool(a == b)


def _raises(kind: type[Exception], call: Callable[[], Any], what: str) -> None:
    try:
        with lenient():
            call()
    except kind:
        return
    raise AssertionError(f"{what} must raise {kind.__name__}")
