"""Everything that keeps scvi-tools and Lightning from reaching beyond their task."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import random
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from omicsfm import _compat
from omicsfm._errors import InputError
from omicsfm._optional import require

# What torch says of a network that has become NaN, by distribution and by loss.
NAN_SIGNS = ("Expected parameter", "Expected value argument", "should be between 0 and 1")


def import_scvi() -> Any:
    """Import scvi-tools without its warnings, or say which extra brings it."""
    with _compat.silent():
        scvi = require("scvi", extra="peers")
        require("scvi.model", extra="peers")
        require("scvi.module", extra="peers")
    return scvi


@contextlib.contextmanager
def tamed(seed: int, n_threads: int) -> Iterator[Any]:
    """Seed everything, and silence everything; all of it is as before afterwards. Gives torch.

    Put back are the generators of NumPy, Python and torch (with its GPUs), torch's number of threads and cuDNN's
    benchmark flag (Lightning switches it on), logging, warnings, standard output and error.
    """
    numpy_state, python_state = np.random.get_state(), random.getstate()
    disabled = logging.root.manager.disable
    sink = io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.callback(np.random.set_state, numpy_state)
        stack.callback(random.setstate, python_state)
        stack.callback(logging.disable, disabled)
        logging.disable(logging.CRITICAL)
        stack.enter_context(contextlib.redirect_stdout(sink))
        stack.enter_context(contextlib.redirect_stderr(sink))
        stack.enter_context(_compat.quiet())
        stack.enter_context(np.errstate(all="ignore"))
        import_scvi()
        torch = require("torch", extra="peers")
        stack.enter_context(torch.random.fork_rng())
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        stack.callback(setattr, torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
        torch.set_num_threads(n_threads)
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        yield torch


def guarded(name: str, train: Callable[[float], Any], lr: float) -> Any:
    """Train, and once more at a tenth of the learning rate if the network became NaN.

    Raises
    ------
    InputError
        If it becomes NaN again.
    """
    for rate in (lr, lr / 10):
        try:
            model = train(rate)
        except (ValueError, RuntimeError) as err:
            if isinstance(err, InputError) or not any(sign in str(err) for sign in NAN_SIGNS):
                raise
            continue
        if all(bool(w.isfinite().all()) for w in model.module.state_dict().values()):
            return model
    raise InputError(
        f"{name}.fit: the network became NaN in training, at lr={lr:g} and at lr={lr / 10:g}. Fix: lower lr, drop "
        "cells with very few counts, or set fewer max_features."
    )


def run_training(train: Callable[..., Any], split: list[np.ndarray], **kwargs: Any) -> None:
    """Call the ``train`` method of a model of scvi-tools, with cells held out, and nothing shown or written.

    Parameters
    ----------
    train
        The bound method.
    split
        Positions trained on, and positions held out.
    **kwargs
        Its further arguments.
    """
    cells = {"external_indexing": [*split, np.array([], dtype=np.int64)]}
    direct = "external_indexing" in inspect.signature(train).parameters  # of totalVI's method alone
    with tempfile.TemporaryDirectory() as folder:  # where Lightning may write what it likes
        train(
            **(cells if direct else {"datasplitter_kwargs": cells}),
            enable_progress_bar=False,
            default_root_dir=folder,
            **kwargs,
        )


def epochs(n_obs: int, wanted: int | None) -> int:
    """Give the largest number of epochs: what was asked for, else scvi-tools' own rule (400 up to 20,000 cells)."""
    return wanted or max(20, min(400, round(400 * 20_000 / n_obs)))


def no_lone_cell(wanted: int, sizes: list[int]) -> int:
    """Largest batch size up to `wanted` with no last batch of one cell, on which batch normalisation fails."""
    return next((b for b in range(wanted, 1, -1) if all(n % b != 1 for n in sizes)), wanted)


def table(x_ng: Any, kind: str, obs: pd.DataFrame) -> ad.AnnData:
    """Make an AnnData with names that clash with no other modality's."""
    return ad.AnnData(x_ng, obs=obs.copy(), var=pd.DataFrame(index=[f"{kind}{i}" for i in range(x_ng.shape[1])]))


def obs_table(codes: np.ndarray) -> pd.DataFrame:
    """Make obs with the column "batch"; codes as text of one width sort as numbers do."""
    return pd.DataFrame(
        {"batch": pd.Categorical([f"{c:06d}" for c in codes])}, index=[f"cell{i}" for i in range(len(codes))]
    )
