"""One door to every optional dependency."""

from __future__ import annotations

import importlib
from types import ModuleType

from omicsfm._errors import InputError


class MissingDependency(InputError, ImportError):
    """An optional dependency is not installed; the message holds the command that installs it."""


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional module, or say which extra brings it.

    Parameters
    ----------
    module
        Import name, such as ``"scib_metrics"`` or ``"dask.array"``.
    extra
        The extra of `omicsfm-toolkit` that installs it.

    Returns
    -------
    The imported module.

    Raises
    ------
    MissingDependency
        If the module is absent. An ImportError from inside an installed module is passed on as it is: installing the
        extra would not mend that one.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as err:
        top = module.partition(".")[0]
        if err.name is None or err.name.partition(".")[0] != top:
            raise
        raise MissingDependency(
            f"require: the optional module '{module}' was needed and is not installed. "
            f"Fix: run `pip install -e '.[{extra}]'` in your clone of omicsfm."
        ) from err
