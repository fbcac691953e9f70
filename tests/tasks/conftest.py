"""Screens of counts with known effects, and answers to them, for the tests of perturbation response."""

from __future__ import annotations

from collections.abc import Callable

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from scipy import sparse

import omicsfm as ofm
from omicsfm import _compat
from omicsfm.models._responder import Response
from omicsfm.tasks import Split

N_GENES = 40


@pytest.fixture(scope="session")
def screen() -> Callable[..., MuData]:
    """Give :func:`make_screen`."""
    return make_screen


@pytest.fixture(scope="session")
def answer() -> Callable[..., Response]:
    """Give :func:`make_answer`."""
    return make_answer


def make_screen(
    names: tuple[str, ...],
    *,
    contexts: tuple[str, ...] = ("K", "R", "H"),
    doses: tuple[float, ...] = (),
    n_cells: int = 24,
    seed: int = 0,
) -> MuData:
    """Give cells of every perturbation (at every dose) in every context, 5 times as many controls, two replicates."""
    rng = np.random.default_rng(seed)
    effect = {t: rng.normal(0, 0.8, N_GENES) for t in sorted({t for name in names for t in name.split("+")})}
    counts, rows = [], []
    for context in contexts:
        base = rng.normal(2, 0.5, N_GENES)
        for name in ("ctrl", *names):
            total = np.zeros(N_GENES) if name == "ctrl" else sum(effect[t] for t in name.split("+"))
            for dose in doses if doses and name != "ctrl" else (np.nan,):
                n = n_cells * (5 if name == "ctrl" else 1)
                scale = 1.0 if np.isnan(dose) else dose / max(doses)
                counts.append(rng.poisson(np.exp(base + scale * total), (n, N_GENES)))
                rows += [(name, context, f"r{i % 2}", dose) for i in range(n)]
    obs = pd.DataFrame(rows, columns=["done", "line", "rep", "dose"])
    obs.index = [f"cell{i}" for i in range(len(obs))]
    x = sparse.csr_matrix(np.vstack(counts).astype(np.float32))
    var = pd.DataFrame(index=[f"G{i}" for i in range(N_GENES)])
    rna = ad.AnnData(x, obs=pd.DataFrame(index=obs.index), var=var)
    mdata = _compat.make_mudata({"rna": rna}, obs)
    more = {"dose_key": "dose"} if doses else {}
    ofm.setup(mdata, perturbation_key="done", control="ctrl", context_key="line", replicate_key="rep", **more)
    return mdata


def make_answer(
    split: Split, mean: np.ndarray, *, half: float = 0.1, reliability: np.ndarray | None = None
) -> Response:
    """Make a response of effects over the genes of the score."""
    frame = pd.DataFrame(mean, columns=split.truth["genes"])
    given = np.zeros(len(frame)) if reliability is None else reliability
    return Response(split.query, frame, frame * 0 + half, frame - half, frame + half, pd.Series(given), 0.9)
