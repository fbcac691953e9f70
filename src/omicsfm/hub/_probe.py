"""A fixed input and what the model made of it: the check that a loaded model still computes the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from omicsfm._errors import InputError

TOLERANCE = 1e-4

# What a model that no longer fits its libraries raises.
_FAILURES = (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError)


def deviation(model: Any, inputs: Mapping[str, np.ndarray], expected: np.ndarray) -> float | str:
    """Run the probe and compare.

    Returns
    -------
    The largest absolute difference, or in words why there is none (failure, other shape, other missing values).
    """
    try:
        found = np.asarray(model._probe_output(dict(inputs)))
    except _FAILURES as err:
        return f"it could not be computed ({type(err).__name__}: {err})"
    if found.shape != expected.shape:
        return f"its shape is {found.shape}, not {expected.shape}"
    if found.dtype.kind not in "biufc":
        return f"it is not numeric but {found.dtype}"
    # Equal infinities and a NaN in the same place agree; their difference would be NaN.
    same = (found == expected) | ((found != found) & (expected != expected))
    if same.all():
        return 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(np.subtract(found, expected, dtype=np.result_type(found, expected, np.float64))[~same])
    return "some values became NaN or infinite" if not np.isfinite(apart).all() else float(apart.max())


def checked(model: Any, probe: tuple[Any, ...]) -> tuple[dict[str, np.ndarray], np.ndarray, float]:
    """Check a probe given to `save`: well formed, and answered by this model as it says.

    Raises
    ------
    InputError
        If not; a model saved with such a probe could never be loaded.
    """
    if len(probe) not in (2, 3) or not isinstance(probe[0], Mapping):
        raise InputError(
            "save: probe must be (inputs, output) or (inputs, output, tolerance), with inputs a dictionary of arrays; "
            "found something else. Fix: give these."
        )
    if not callable(getattr(model, "_probe_output", None)):
        raise InputError(
            f"save: a probe was given, but {type(model).__name__} has no _probe_output(inputs) to answer it. "
            "Fix: define it, or save without a probe."
        )
    inputs = {str(name): np.asarray(value) for name, value in probe[0].items()}
    output = np.asarray(probe[1])
    tolerance = float(probe[2]) if len(probe) == 3 else TOLERANCE
    if not 0 <= tolerance < np.inf or output.dtype.kind not in "biufc":
        raise InputError(
            f"save: the probe needs a numeric output and a tolerance of 0 or more, found {output.dtype} and "
            f"{tolerance}. Fix: give these."
        )
    found = deviation(model, inputs, output)
    if isinstance(found, str) or found > tolerance:
        raise InputError(
            f"save: the model does not reproduce its probe output within {tolerance:g}: {found}. "
            "Fix: compute the output with the model that is saved."
        )
    return inputs, output, tolerance
