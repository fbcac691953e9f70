"""What the adapters of MIDAS, GLUE, SnapATAC2 and muon share."""

from __future__ import annotations

import contextlib
import io
import logging
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from omicsfm import _compat
from omicsfm._errors import InputError
from omicsfm._optional import MissingDependency, require
from omicsfm.models._cells import blocks
from omicsfm.pp import Tokenizer, Tokens, vstack

COUNTS = ("rna", "atac", "protein", "guide")


@contextlib.contextmanager
def tamed(seed: int | None = None) -> Iterator[None]:
    """Silence a peer, give it one torch thread and a seed, and put everything global back.

    Put back are the generators of Python, NumPy and (where it is loaded at the end) torch, the number of torch threads,
    the warning filters and what logging is switched off.
    """
    states = random.getstate(), np.random.get_state()
    torch = sys.modules.get("torch")
    before = None if torch is None else (torch.get_rng_state(), torch.get_num_threads())
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    sink = io.StringIO()
    try:
        with _compat.quiet(), np.errstate(all="ignore"):
            with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
                if torch is not None:
                    torch.set_num_threads(1)
                if seed is not None:
                    random.seed(seed)
                    np.random.seed(seed)
                    if torch is not None:
                        torch.manual_seed(seed)
                yield
    finally:
        logging.disable(disabled)
        random.setstate(states[0])
        np.random.set_state(states[1])
        if torch is not None and before is not None:
            torch.set_rng_state(before[0])
            torch.set_num_threads(before[1])


def bring(module: str, *, command: str | None = None) -> Any:
    """Import a peer: quietly, without the handler that it may give the root logger.

    Parameters
    ----------
    module
        Import name.
    command
        What installs it, where the extra ``peers`` does not.

    Raises
    ------
    MissingDependency
        If it is not installed.
    """
    handlers, level = list(logging.root.handlers), logging.root.level
    try:
        with tamed():
            return require(module, extra="peers")
    except MissingDependency as err:
        if command is None:
            raise
        raise MissingDependency(
            f"require: the optional module '{module}' was needed and is not installed. Fix: run `{command}`."
        ) from err
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)


@dataclass(frozen=True)
class Raw:
    """Raw values of one modality over some training features.

    Attributes
    ----------
    x : (n, n_features) CSR, zero where not measured.
    measured : bool (n, n_features), or None where everything was.
    """

    x: sparse.csr_matrix
    measured: np.ndarray | None


def raw(tokenizer: Tokenizer, mdata: MuData, mod: str, features: np.ndarray) -> Raw:
    """Read the raw values of a modality, columns by name as in training, rows as in the modality."""
    parts: list[Any] = [sparse.csr_matrix((0, len(features)))]
    seen: list[np.ndarray] = []
    complete = True
    for _, block, measured in tokenizer.aligned(mdata, mod):
        part = block[:, features]
        here = np.ones(part.shape, dtype=bool) if measured is None else measured[:, features]
        complete &= bool(here.all())
        if not here.all():
            part = np.where(here, part.toarray() if sparse.issparse(part) else part, 0)
        parts.append(sparse.csr_matrix(part, dtype=np.float64))
        seen.append(here)
    x = sparse.csr_matrix(vstack(parts))
    x.eliminate_zeros()
    return Raw(x, None if complete else np.vstack(seen))


def only_counts(name: str, tokenizer: Tokenizer) -> dict[str, str]:
    """Give the recipe of each modality, all of which must hold counts."""
    kinds = tokenizer.recipe_names()
    other = [f"'{m}' ({k})" for m, k in kinds.items() if k not in COUNTS]
    if other:
        raise InputError(
            f"{name}.fit: modalities of counts are needed ({', '.join(COUNTS)}), found {', '.join(other)}. "
            "Fix: leave them out, or use LinearMosaic or MOFA."
        )
    return kinds


def complete_cells(name: str, tokens: Tokens, *, at_least: int) -> np.ndarray:
    """Positions of the cells with every modality, in order.

    Raises
    ------
    InputError
        If there are fewer than `at_least`.
    """
    mods = tuple(sorted(tokens.values))
    found = np.concatenate([[], *(b.obs for b in blocks(tokens) if b.pattern == mods)]).astype(np.int64)
    if len(found) < at_least:
        raise InputError(
            f"{name}.fit: at least {at_least} cells with all of {', '.join(mods)} are needed, found {len(found)}. "
            "Fix: leave out a modality, or use LinearMosaic, CCA or MIDAS, which bear cells that lack one."
        )
    return np.sort(found)


def names_of(n: int) -> pd.Index:
    """Cell names of our own, of one width, so that they sort as numbers do."""
    return pd.Index([f"{i:09d}" for i in range(n)])
