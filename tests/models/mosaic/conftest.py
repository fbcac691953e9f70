"""Cells whose protein says what RNA says, but not linearly; small models fitted on them, shared by the files here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData

from omicsfm import _compat, contract
from omicsfm.models import LinearMosaic, Mosaic

LINEAR: dict[str, Any] = {"n_latent": 8, "n_tokens": 8, "n_landmarks": 0, "seed": 0}
NET: dict[str, Any] = {"d_model": 16, "n_layers": 1, "lr": 5e-3, "batch_size": 64}


def make_cells(
    counts: Mapping[str, np.ndarray],
    *,
    has: Mapping[str, np.ndarray] | None = None,
    batch: np.ndarray | None = None,
    label: np.ndarray | None = None,
) -> MuData:
    """MuData of dense counts (n, g) per modality; the first modality is RNA, the others protein."""
    n = len(next(iter(counts.values())))
    names = np.array([f"c{i}" for i in range(n)], dtype=object)
    mods = {}
    with _compat.silent():
        for mod, x in counts.items():
            rows = np.flatnonzero((has or {}).get(mod, np.ones(n, dtype=bool)))
            var = pd.DataFrame(index=[f"{mod}:{g}" for g in range(x.shape[1])])
            mods[mod] = AnnData(sp.csr_matrix(x[rows].astype(np.float32)), obs=pd.DataFrame(index=names[rows]), var=var)
    obs = pd.DataFrame({"batch": np.full(n, "a") if batch is None else batch}, index=names)
    obs["kind"] = np.full(n, "t") if label is None else label
    mdata = _compat.make_mudata(mods, obs)
    kinds = {mod: "protein" if i else "rna" for i, mod in enumerate(counts)}
    contract.setup(mdata, batch_key="batch", label_key="kind", modalities=kinds)
    return mdata


def crossed(
    n: int,
    *,
    seed: int = 1,
    earns: bool = True,
    shift: np.ndarray | None = None,
    depth: float = 1.0,
    names: tuple[str, str] = ("rna", "protein"),
    **more: Any,
) -> MuData:
    """RNA shows two switches; protein the first, and whether they differ, which is no linear function of RNA.

    Parameters
    ----------
    earns
        Whether there is this second part; without it protein shows the first switch alone.
    shift
        bool (n,): cells of a batch with a factor of its own on every RNA feature, by the state of the first switch.
    depth
        Factor on the protein counts, of which there are some twenty otherwise.
    """
    world = np.random.default_rng(99)
    low, high = world.gamma(2.0, 2.0, (2, 60)), world.gamma(2.0, 2.0, (2, 60))
    one, two = world.gamma(2.0, 10.0, (2, 24)), world.gamma(2.0, 10.0, (2, 24))
    rng = np.random.default_rng(seed)
    i, j = rng.integers(0, 2, (2, n))
    rate = low[i] + high[j]
    if shift is not None:
        rate = rate * np.where((shift & (i == 1))[:, None], world.lognormal(0, 0.7, 60), 1.0)
    protein = one[i ^ j if earns else i] + two[i]
    counts = {names[0]: rng.poisson(rate), names[1]: rng.poisson(depth * protein)}
    return make_cells(counts, label=np.array(["p", "q", "r", "s"])[2 * i + j], **more)


def alone(mdata: MuData, *mods: str) -> MuData:
    """The same cells as if only some modalities had been measured; batches stay."""
    with _compat.silent():
        out = _compat.make_mudata({m: mdata.mod[m].copy() for m in mods}, mdata.obs.copy())
    kinds = {m: contract.recipe_of(mdata, m) for m in mods}
    contract.setup(out, batch_key="batch", label_key="kind", modalities=kinds)
    return out


def answers(model: Any, mdata: MuData) -> dict[str, np.ndarray]:
    """Everything a model says of cells."""
    mean, sd = model.embed(mdata, return_sd=True)
    out = {"mean": mean, "sd": sd}
    for mod in mdata.mod:
        found = model.impute(mdata, mod)
        out |= {f"{mod} {part}": getattr(found, part).to_numpy() for part in ("mean", "sd", "lower", "upper")}
    if model.labels_ is not None:
        out["confidence"] = model.annotate(mdata)["confidence"].to_numpy()
    return out


@pytest.fixture(autouse=True)
def _few_mixing_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mixing is trained for a moment only, but where a test asks for more."""
    from omicsfm.models._correction import _mixing_net

    monkeypatch.setattr(_mixing_net, "N_STEPS", 10)


@pytest.fixture(scope="session")
def tools() -> SimpleNamespace:
    return SimpleNamespace(
        crossed=crossed, make_cells=make_cells, alone=alone, answers=answers, linear=LINEAR, net={**LINEAR, **NET}
    )


@pytest.fixture(scope="session")
def world() -> SimpleNamespace:
    """1,000 cells to learn from, 500 that no step sees, and both models."""
    train, new = crossed(1000), crossed(500, seed=2)
    mosaic = Mosaic(**LINEAR, **NET, max_epochs=7).fit(train)
    return SimpleNamespace(train=train, new=new, linear=LinearMosaic(**LINEAR).fit(train), mosaic=mosaic)


@pytest.fixture
def copy_of(tmp_path: Any) -> Iterator[Callable[[Mosaic], Mosaic]]:
    """Copy a fitted model by saving and loading it, so that a test may change it."""
    from omicsfm import hub

    def copied(model: Mosaic) -> Mosaic:
        return hub.load(model.save(tmp_path / "copied", overwrite=True))

    yield copied
