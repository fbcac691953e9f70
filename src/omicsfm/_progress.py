"""Progress bars: shown to a person at a terminal or in a notebook, silent everywhere else."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def progress(iterable: Iterable[T], *, desc: str | None = None, total: int | None = None) -> Iterable[T]:
    """Wrap an iterable in a progress bar on standard error.

    Parameters
    ----------
    iterable
        What is walked through, unchanged.
    desc
        Words before the bar.
    total
        Number of items, where ``len(iterable)`` cannot tell.

    Returns
    -------
    The items in order; the bar is drawn only where standard error is a terminal, or a notebook. TQDM_DISABLE=1 in the
    environment silences it there too.
    """
    if os.environ.get("TQDM_DISABLE") or not (sys.stderr.isatty() or _in_notebook()):
        return iterable
    from tqdm import TqdmWarning

    with warnings.catch_warnings():  # without ipywidgets the bar is of text, which need not be said
        warnings.simplefilter("ignore", TqdmWarning)
        from tqdm.auto import tqdm  # looks for notebooks: not at `import omicsfm`
    return tqdm(iterable, desc=desc, total=total, leave=None)  # of nested bars the outer one stays


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"
