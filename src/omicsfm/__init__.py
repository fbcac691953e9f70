"""omicsfm: any mixture of omics as one MuData in; cell states, missing modalities and labels with uncertainty out.

Nothing heavy is imported here: submodules and functions load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from omicsfm._errors import InputError, OmicsfmWarning

if TYPE_CHECKING:  # the same names for type checkers and editors, which do not run __getattr__
    from omicsfm import bench, contract, datasets, explain, hub, io, metrics, models, pl, pp, report, seq, tasks, tl
    from omicsfm.contract import check, concat, modality_mask, setup
    from omicsfm.models import load

__version__ = "0.1.0.dev0"

_SUBMODULES = (
    "bench",
    "contract",
    "datasets",
    "explain",
    "hub",
    "io",
    "metrics",
    "models",
    "pl",
    "pp",
    "report",
    "seq",
    "tasks",
    "tl",
)
# Public function -> the submodule that owns it.
_FUNCTIONS = {
    "check": "contract",
    "concat": "contract",
    "load": "models",
    "modality_mask": "contract",
    "setup": "contract",
}

__all__ = [
    "InputError",
    "OmicsfmWarning",
    "__version__",
    "bench",
    "check",
    "concat",
    "contract",
    "datasets",
    "explain",
    "hub",
    "io",
    "load",
    "metrics",
    "modality_mask",
    "models",
    "pl",
    "pp",
    "report",
    "seq",
    "setup",
    "tasks",
    "tl",
]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"omicsfm.{name}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(f"omicsfm.{_FUNCTIONS[name]}"), name)
    raise AttributeError(f"module 'omicsfm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
