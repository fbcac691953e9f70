"""AdditiveRegression: effects of members from single perturbations and combinations together."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from omicsfm import contract, hub
from omicsfm.models.responses._shared import MeasuredEffects
from omicsfm.models.responses.additive import MemberBaseline
from omicsfm.pp import ResponseData


@hub.saveable
class AdditiveRegression(MemberBaseline):
    """Sum of the members' effects, which are estimated by ridge regression on single perturbations and combinations.

    In each context the effect of a row is the sum over its members of a mean effect, not penalised, and the member's
    departure from it, penalised: a combination tells of its members too, even of ones never perturbed alone. A member
    that was not in the context has the mean of its estimates in other contexts; one in none, the mean of the members.
    Doses are ignored: those of one perturbation count as repeats.

    Parameters
    ----------
    ridge
        Penalty, in rows: a member seen in one row is drawn by ``ridge / (1 + ridge)`` toward the mean.
    seed
        Not used.

    Attributes
    ----------
    effects_, mean_ : estimated effects of members, and their mean.
    """

    def __init__(self, *, ridge: float = 0.1, seed: int = 0) -> None:
        self.ridge = ridge
        self.seed = seed

    def _learn(self, data: ResponseData) -> None:
        given = MeasuredEffects.of(data)
        names, contexts, values = [], [], []
        for context in sorted(set(given.contexts.tolist())):
            rows = np.flatnonzero(given.contexts == context)
            parts = [contract.members(name) for name in given.names[rows]]
            targets, effects = member_effects(parts, given.values[rows], ridge=self.ridge)
            names += targets
            contexts += [context] * len(targets)
            values.append(effects)
        no_dose = np.full(len(names), np.nan)
        self._keep(MeasuredEffects(np.array(names), np.array(contexts), no_dose, np.vstack(values)))

    def _row(self, name: str, context: str, dose: float) -> np.ndarray:
        return self._parts(name, context, dose).sum(axis=0)


def member_effects(parts: list[tuple[str, ...]], values: np.ndarray, *, ridge: float) -> tuple[list[str], np.ndarray]:
    """Estimate the effect of each member from rows (n, n_genes) that are sums over members.

    Returns
    -------
    Members, sorted, and their effects (n_members, n_genes): the shared mean plus a penalised departure.
    """
    targets = sorted({member for row in parts for member in row})
    position = {target: i for i, target in enumerate(targets)}
    column = np.array([position[member] for row in parts for member in row])
    size = np.array([len(row) for row in parts])
    z = sparse.csr_matrix(
        (np.ones(len(column)), column, np.concatenate([[0], np.cumsum(size)])), shape=(len(parts), len(targets))
    )
    # Two blocks of the normal equations, the mean and the departures; the second is sparse however many members.
    penalised = splu((z.T @ z + ridge * sparse.identity(len(targets))).tocsc())
    of_mean, of_values = penalised.solve(z.T @ size.astype(np.float64)), penalised.solve(z.T @ values)
    crossed = size @ z
    mean = (size @ values - crossed @ of_values) / (size @ size - crossed @ of_mean)
    return targets, mean + of_values - np.outer(of_mean, mean)
