"""A small network on what the closed form leaves over; it counts only as far as rows left out say it should."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from omicsfm import hub
from omicsfm.metrics._bootstrap import paired_bootstrap
from omicsfm.models._response._kernels import Prior
from omicsfm.models._response._rows import Rows

MIN_ROWS = 60  # fewer cannot show that a network helps
_COMPONENTS, _PRIOR_AXES, _HIDDEN = 20, 16, 64
_EPOCHS, _FOLDS = 200, 5
_CONFIDENCE = 0.01  # two-sided p of the gain: a network tried in vain should be let in rarely


@hub.state
@dataclass(frozen=True)
class ResponseCorrection:
    """A trained network and how much it counts.

    Attributes
    ----------
    gate : 0 (nothing earned) to 1.
    gain : share of the closed form's squared error on rows left out that the network takes away, before the gate is
        closed; its interval is what opens the gate.
    axes : prior -> (n_features, n_axes) directions of the features that enter.
    contexts : those that were trained on, an input each.
    centre, spread : (n_inputs,) of the inputs.
    parameters : of the layers: weight and bias each.
    scale : size of the errors it was trained on.
    """

    gate: float
    gain: float
    axes: dict[str, np.ndarray]
    contexts: tuple[str, ...]
    centre: np.ndarray
    spread: np.ndarray
    parameters: tuple[np.ndarray, ...]
    scale: float

    def __call__(self, priors: Mapping[str, Prior], rows: Rows, elsewhere: np.ndarray, n_components: int) -> np.ndarray:
        """Give what is added to the scores (n, n_components) of the closed form."""
        out = np.zeros((len(rows), n_components))
        if self.gate == 0:
            return out
        x = (_inputs(priors, self.axes, self.contexts, rows, elsewhere) - self.centre) / self.spread
        found = _apply(self.parameters, x) * self.scale
        out[:, : found.shape[1]] = self.gate * found
        return out


def fit_correction(
    priors: Mapping[str, Prior], rows: Rows, error: np.ndarray, *, elsewhere: np.ndarray, seed: int
) -> tuple[ResponseCorrection, np.ndarray] | None:
    """Train on the errors of the closed form on rows left out, and judge it on targets left out of the training.

    Its inputs are what was known of a row before it was measured: priors, dose, context, what the same perturbation
    does elsewhere. Never a prediction made without the row: the mean of all other rows tells the row itself.

    Parameters
    ----------
    rows
        (n) rows that were left out.
    error
        (n, n_components) measured less predicted without the row.
    elsewhere
        (n, n_inputs) of the same perturbation in other contexts; without columns where that is not known.

    Returns
    -------
    The correction, its gate 0 unless the gain's interval (99 %, over perturbations) lies above 0, and what it adds to
    each row when that row's perturbation was not trained on, (n, n_components); None for fewer than 60 rows, or
    where nothing is known beforehand.
    """
    if len(rows) < MIN_ROWS or not (priors or elsewhere.shape[1] or rows.dose.any()):
        return None
    axes = {name: _axes(prior, rows) for name, prior in priors.items()}
    contexts = tuple(str(c) for c in np.unique(rows.contexts))
    x = _inputs(priors, axes, contexts, rows, elsewhere)
    centre, spread = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    x = (x - centre) / spread
    whole, k = error.shape[1], min(_COMPONENTS, error.shape[1])
    error = error[:, :k]
    scale = float(np.sqrt(np.mean(error**2))) or 1.0
    _, group = np.unique(rows.names, return_inverse=True)
    order = np.random.default_rng(seed).permutation(group.max() + 1)
    fold = order[group] % _FOLDS
    found = np.zeros_like(error)
    for i in range(_FOLDS):
        parameters = _train(x[fold != i], error[fold != i] / scale, seed + i)
        found[fold == i] = _apply(parameters, x[fold == i]) * scale
    gate = float(np.clip((found * error).sum() / max((found**2).sum(), 1e-300), 0, 1))
    before, after = (error**2).sum(axis=1), ((error - gate * found) ** 2).sum(axis=1)
    test = paired_bootstrap(after, before, units=rows.names, n_boot=2000, seed=seed)
    gain = float(1 - after.sum() / max(before.sum(), 1e-300))
    if not (test.p < _CONFIDENCE and test.difference < 0):
        gate = 0.0
    parameters = _train(x, error / scale, seed) if gate else ()
    added = np.zeros((len(rows), whole))
    added[:, :k] = gate * found
    return ResponseCorrection(gate, gain, axes, contexts, centre, spread, parameters, scale), added


def _axes(prior: Prior, rows: Rows) -> np.ndarray:
    known = prior.rows(rows.targets)
    _, _, vt = np.linalg.svd(known - known.mean(axis=0), full_matrices=False)
    return vt[:_PRIOR_AXES].T


def _inputs(
    priors: Mapping[str, Prior],
    axes: Mapping[str, np.ndarray],
    contexts: tuple[str, ...],
    rows: Rows,
    elsewhere: np.ndarray,
) -> np.ndarray:
    member = rows.membership(rows.targets)
    known = [member @ prior.rows(rows.targets) @ axes[name] for name, prior in priors.items()]
    here = (rows.contexts[:, None] == np.array(contexts)[None]).astype(np.float64)
    return np.hstack([elsewhere[:, :_COMPONENTS], rows.dose[:, None], here, *known])


def _train(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[np.ndarray, ...]:
    import torch  # heavy: loaded when something is trained
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        last = nn.Linear(_HIDDEN, y.shape[1])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        net = nn.Sequential(nn.Linear(x.shape[1], _HIDDEN), nn.ReLU(), nn.Dropout(0.3), last).double()
        optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.1)
        inputs, wanted = torch.tensor(x), torch.tensor(y)
        for _ in range(_EPOCHS):
            optimiser.zero_grad()
            nn.functional.mse_loss(net(inputs), wanted).backward()
            optimiser.step()
    return tuple(p.detach().numpy().copy() for p in net.parameters())


def _apply(parameters: tuple[np.ndarray, ...], x: np.ndarray) -> np.ndarray:
    w1, b1, w2, b2 = parameters
    return np.maximum(x @ w1.T + b1, 0) @ w2.T + b2
