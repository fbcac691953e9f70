"""What the adapters of GEARS, biolord and scGen share: they learn from cells, and answer with effects."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from omicsfm import contract
from omicsfm._errors import InputError
from omicsfm._optional import require
from omicsfm.models._responder import Responder
from omicsfm.models.external._scvi_tame import import_scvi, tamed
from omicsfm.pp import ResponseData, response_data
from omicsfm.pp._response_data import DESIGN, log_normalised

Layers = list[dict[str, np.ndarray]]  # of a network: those with "weight" are linear, those with "scale" normalise


@dataclass(frozen=True, kw_only=True)
class CellData(ResponseData):
    """Effects, and the cells that they are of.

    Attributes
    ----------
    x : float32 (n_cells, n_genes), log1p of counts per 10,000; what is no count as it is.
    cells : DataFrame (n_cells): perturbation ("control" too), context, dose. Contexts without controls are left out.
    """

    x: np.ndarray
    cells: pd.DataFrame

    @property
    def is_control(self) -> np.ndarray:
        """Which cells were not perturbed, bool (n_cells,)."""
        return (self.cells["perturbation"] == contract.CONTROL).to_numpy()

    @classmethod
    def of(cls, mdata: MuData, modality: str) -> CellData:
        """Read the cells that have a perturbation, and a context with controls."""
        data = response_data(mdata, modality=modality)
        assert data.controls is not None
        told = contract.perturbations(mdata).iloc[contract.rows(mdata, modality)]
        used = (told["perturbation"].notna() & told["context"].isin(data.controls.index)).to_numpy()
        used = used & told["replicate"].notna().to_numpy()  # pandas 3 gives arrays that cannot be written to
        x = log_normalised(mdata, modality)[used]
        x = np.asarray(x.toarray() if sparse.issparse(x) else x, dtype=np.float32)
        return cls(**vars(data), x=x, cells=told.loc[used, DESIGN].reset_index(drop=True))


class CellResponder(Responder):
    """Base of the peers: as :class:`Responder`, with cells in ``_learn(data)``."""

    def fit(self, mdata: MuData | ResponseData, *, modality: str = "rna") -> Any:
        """Learn from cells.

        Parameters
        ----------
        mdata
            Cells: set up with ``perturbation_key``, ``control`` and, where there are several, ``context_key``.
        modality
            Whose features respond; counts are used as log1p of counts per 10,000.

        Raises
        ------
        MissingDependency
            If the peer is not installed.
        InputError
            If given effects, there are no controls, nothing was perturbed, or the peer cannot learn from such data.
        """
        if isinstance(mdata, ResponseData):
            return self._fit(mdata)
        self._fit(CellData.of(mdata, modality))
        self.control_ = contract.control_of(mdata) or contract.CONTROL
        return self

    def _fit(self, data: ResponseData) -> Any:
        if not isinstance(data, CellData):
            name = type(self).__name__
            raise InputError(
                f"{name}.fit: {name} learns from cells, found effects alone. "
                "Fix: fit(mdata), or ResponseModel, which learns from effects."
            )
        return super()._fit(data)

    def _answer(self, design: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        self._refuse(set(design["context"]) - set(self.contexts_), f"contexts with controls are {self.contexts_}")
        return super()._answer(design)

    def _refuse(self, names: set[str], why: str) -> None:
        """Say which perturbations cannot be predicted, if there are any."""
        if names:
            raise InputError(
                f"{type(self).__name__}.respond: {', '.join(sorted(names)[:5])} cannot be predicted: {why}. "
                "Fix: leave them out of the design, or use ResponseModel."
            )


def without_doses(name: str, data: CellData) -> CellData:
    """Give the data with no dose, if that loses nothing.

    Raises
    ------
    InputError
        If a perturbation was given in several doses.
    """
    if data.design.groupby("perturbation")["dose"].nunique().max() > 1:
        raise InputError(
            f"{name}.fit: {name} knows no doses, and a perturbation has several. "
            "Fix: keep one dose of each, or use Biolord or ResponseModel."
        )
    return replace(data, design=data.design.assign(dose=np.nan), cells=data.cells.assign(dose=np.nan))


@contextlib.contextmanager
def tamed_scvi(seed: int) -> Iterator[None]:
    """Seed and silence what is built on scvi-tools, and put back what its global seed leaves: settings, environment.

    biolord sets that seed itself; networks in JAX are drawn from it and from no generator.
    """
    settings = import_scvi().settings
    before, environment = settings.seed, {name: os.environ.get(name) for name in ("XLA_FLAGS", "PL_GLOBAL_SEED")}
    with tamed(seed, 1) as torch:
        deterministic = torch.backends.cudnn.deterministic
        settings._seed = seed  # its setter also writes to the environment
        try:
            yield
        finally:
            settings._seed = before
            torch.backends.cudnn.deterministic = deterministic
            for name, value in environment.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def layers_of(network: Any) -> Layers:
    """Take the layers of a torch network in inference as arrays: linear, batch normalisation, rectifier."""
    torch = require("torch", extra="peers")
    out: Layers = []
    for module in network.modules():
        if isinstance(module, torch.nn.Linear):
            bias = np.zeros(module.out_features) if module.bias is None else array(module.bias)
            out.append({"weight": array(module.weight), "bias": bias})
        elif isinstance(module, torch.nn.BatchNorm1d):
            scale = array(module.weight) / np.sqrt(array(module.running_var) + module.eps)
            out.append({"scale": scale, "shift": array(module.bias) - array(module.running_mean) * scale})
        elif isinstance(module, torch.nn.ReLU):
            out.append({})
    return out


def run(layers: Layers, x_nd: np.ndarray) -> np.ndarray:
    """Run a network of :func:`layers_of`; a layer without arrays is a rectifier."""
    for layer in layers:
        if "weight" in layer:
            x_nd = x_nd @ layer["weight"].T + layer["bias"]
        elif "scale" in layer:
            x_nd = x_nd * layer["scale"] + layer["shift"]
        else:
            x_nd = np.maximum(x_nd, 0)
    return x_nd


def array(values: Any) -> np.ndarray:
    """Give a torch tensor as float64."""
    return values.detach().cpu().numpy().astype(np.float64)
