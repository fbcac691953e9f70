"""A decoder of scvi-tools on the recipe's scale, with intervals from cells that training held out."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from mudata import MuData
from scipy import sparse
from sklearn.utils.validation import check_is_fitted

from omicsfm import contract, hub
from omicsfm._errors import InputError, OmicsfmWarning
from omicsfm.models._cells import row_of
from omicsfm.models._protocols import Imputation
from omicsfm.models.baselines._conformal import MAX_NUMBERS, spread_and_half_width
from omicsfm.models.external._scvi import ScviModel
from omicsfm.models.external._scvi_counts import Counts, Training, spans
from omicsfm.models.external._scvi_tame import tamed
from omicsfm.pp import dense_nan, vstack

MAX_CELLS = 1000  # to fit lines on, and again to measure errors on
FEW_HELD_OUT = 10
MAX_BATCHES = 5  # over which a prediction is averaged


@hub.state
@dataclass(frozen=True)
class Outlet:
    """From what a network decodes to a prediction on the recipe's scale, feature by feature.

    Attributes
    ----------
    slope, intercept : (n_vars,) least-squares line from the decoded to the observed value.
    sd, half : (n_vars,) spread of held-out residuals, and half the width of the interval.
    mean, mean_sd, mean_half : (n_vars,) the same for a cell of which nothing else is known.
    batches : (b,) codes of the batches that are decoded for.
    panel : (b, n_features) which of the network's features each of them measured.
    """

    slope: np.ndarray
    intercept: np.ndarray
    sd: np.ndarray
    half: np.ndarray
    mean: np.ndarray
    mean_sd: np.ndarray
    mean_half: np.ndarray
    batches: np.ndarray
    panel: np.ndarray


class ScviImputer(ScviModel):
    """A model of scvi-tools that decodes modalities a cell lacks."""

    level: float
    _decoded: tuple[str, ...]

    def impute(self, mdata: MuData, modality: str) -> Imputation:
        """Predict a modality of every cell from its other modalities; its own values of it are hidden first.

        What the network expects, averaged over (at most five) training batches that measured the feature, is put on
        the recipe's scale, and each feature on the least-squares line to the observed values of training cells: an
        expectation put through a logarithm is not the expectation of the logarithm. Features that the network does not
        model, and cells that it cannot place without the target, get the mean with its full spread; a warning says how
        many cells. Intervals are split-conformal, from the paired cells that training held out for early stopping
        (where these are fewer than 10, training cells are added): they hold for the batches trained on, not for the
        shift of a new one.

        Returns
        -------
        Imputation
            Mean, sd and interval on the recipe's scale (``model.tokenizer_.recipes_[modality]``).
        """
        check_is_fitted(self, "training_data_")
        kind = next((k for k, mod in self.modalities_.items() if mod == modality and k in self.outlets_), None)
        if kind is None:
            able = ", ".join(self.modalities_[k] for k in self.outlets_)
            raise InputError(f"{type(self).__name__}.impute: cannot predict '{modality}'. Fix: choose one of {able}.")
        state, placed = self._states(self._query(mdata), hidden=kind)
        outlet = self.outlets_[kind]
        mean, sd, half = (np.tile(x, (mdata.n_obs, 1)) for x in (outlet.mean, outlet.mean_sd, outlet.mean_half))
        mean[placed] = outlet.intercept + outlet.slope * self._expected(
            kind, state[placed], outlet.batches, outlet.panel
        )
        sd[placed], half[placed] = outlet.sd, outlet.half
        if not placed.all():
            warnings.warn(
                f"{int((~placed).sum())} cells have nothing that '{modality}' could be predicted from: they get its "
                "mean",
                OmicsfmWarning,
                stacklevel=2,
            )
        return Imputation.around(self.tokenizer_, mdata, modality, (mean, sd, half), level=self.level)

    def _decode(self, network: Any, z: Any, code: int) -> dict[str, Any]:
        """Give kind -> expected counts (n, n_features), up to a factor per cell, in a batch."""
        raise NotImplementedError

    def _batch_codes(self, counts: Counts) -> np.ndarray:
        """Give the code under which the network knows each training cell's batch."""
        raise NotImplementedError

    def _after(self, mdata: MuData, counts: Counts, run: Training) -> None:
        self.outlets_: dict[str, Outlet] = {}
        for kind in self._decoded:
            if kind in self.modalities_:
                self.outlets_[kind] = self._outlet(mdata, counts, run, kind)

    def _outlet(self, mdata: MuData, counts: Counts, run: Training, kind: str) -> Outlet:
        mod = self.modalities_[kind]
        row = row_of(contract.rows(mdata, mod), mdata.n_obs)
        batches, panel = self._panels(mdata, counts, run, kind)
        rng = np.random.default_rng(self.seed)
        n_most = max(50, min(MAX_CELLS, MAX_NUMBERS // mdata.mod[mod].n_vars))
        # A cell that was measured and holds nothing but zeros is a truth like any other: it asks for its row alone.
        usable = self._can_place(counts, hidden=kind) & (row >= 0)
        part = {}
        for name, places in (("train", run.train), ("held", run.held)):
            cells = run.cells[places]
            cells = cells[usable[cells]]
            part[name] = np.sort(rng.permutation(cells)[:n_most])
        if len(part["held"]) < FEW_HELD_OUT:
            part["held"] = np.concatenate([part["held"], part["train"]])
        scaled = vstack([x for _, x in self.tokenizer_.scaled(mdata, mod)])

        def observed(cells: np.ndarray) -> np.ndarray:
            return dense_nan(scaled[row[cells]], None).astype(np.float64)

        def expected(cells: np.ndarray) -> np.ndarray:
            return self._expected(kind, self._states(counts.take(cells), hidden=kind)[0], batches, panel)

        every = observed(np.sort(rng.permutation(np.flatnonzero(row >= 0))[:n_most]))
        mean = np.nan_to_num(_mean(every))
        slope, intercept = _line(expected(part["train"]), observed(part["train"]), mean)
        residual = observed(part["held"]) - (intercept + slope * expected(part["held"]))
        sd, half = spread_and_half_width(residual, self.level)
        mean_sd, mean_half = spread_and_half_width(every - mean, self.level)
        return Outlet(slope, intercept, sd, half, mean, mean_sd, mean_half, batches, panel)

    def _panels(self, mdata: MuData, counts: Counts, run: Training, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Codes of the batches to decode for, those with most cells that have the target, and what they measured."""
        mod, chosen = self.modalities_[kind], self.features_[kind]
        code = np.full(mdata.n_obs, -1)
        code[run.cells] = self._batch_codes(run.counts)
        with_target = np.intersect1d(run.cells, np.flatnonzero(counts.seen[kind]))
        found, n = np.unique(code[with_target], return_counts=True)
        batches = np.sort(found[np.argsort(-n, kind="stable")[:MAX_BATCHES]])
        panel = np.ones((len(batches), len(chosen)), dtype=bool)
        measured = contract.measured(mdata, mod)
        if measured is not None:
            at = code[contract.rows(mdata, mod)]
            panel = np.array([measured[at == b][:, chosen].any(axis=0) for b in batches])
            panel[:, ~panel.any(axis=0)] = True
        return batches, panel

    def _expected(self, kind: str, state: np.ndarray, batches: np.ndarray, panel: np.ndarray) -> np.ndarray:
        """Put what the network expects of cells in these states on the recipe's scale (n, n_vars)."""
        mod, chosen = self.modalities_[kind], self.features_[kind]
        recipe, n_vars = self.tokenizer_.recipes_[mod], len(self.tokenizer_.var_names_[mod])
        out = np.zeros((len(state), n_vars))
        with tamed(self.seed, self.n_threads) as torch, torch.inference_mode():
            network = self._network(torch)
            for rows in spans(np.arange(len(state))):
                z = torch.from_numpy(state[rows].astype(np.float32))
                total = np.zeros((len(rows), len(chosen)))
                for b, code in enumerate(batches):
                    total += self._decode(network, z, int(code))[kind].numpy() * panel[b]
                full = np.zeros((len(rows), n_vars))
                full[:, chosen] = total / panel.sum(axis=0)
                out[rows] = dense_nan(recipe.scale(sparse.csr_matrix(full) if kind != "protein" else full), None)
        return out


def _mean(y_ng: np.ndarray) -> np.ndarray:
    n_g = (~np.isnan(y_ng)).sum(axis=0)
    return np.nansum(y_ng, axis=0) / np.where(n_g > 0, n_g, np.nan)


def _line(x_ng: np.ndarray, y_ng: np.ndarray, mean_g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares line per feature, never falling; flat at `mean_g` where there is nothing to fit it on."""
    seen = ~np.isnan(y_ng)
    n_g = np.maximum(seen.sum(axis=0), 1)
    x0_g = np.where(seen, x_ng, 0).sum(axis=0) / n_g
    y0_g = np.nansum(y_ng, axis=0) / n_g
    dx_ng = np.where(seen, x_ng - x0_g, 0)
    variance_g = (dx_ng**2).sum(axis=0)
    known = (variance_g > 1e-10 * n_g) & (seen.sum(axis=0) > 2)
    slope_g = np.divide(
        (dx_ng * np.nan_to_num(y_ng - y0_g)).sum(axis=0), variance_g, out=np.zeros_like(x0_g), where=known
    )
    slope_g = np.maximum(slope_g, 0)
    return slope_g, np.where(known, y0_g - slope_g * x0_g, mean_g)
