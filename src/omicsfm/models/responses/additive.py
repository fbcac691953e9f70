"""Combinations from their members: the sum, a shrunken sum, and the larger of the two gene by gene."""

from __future__ import annotations

import numpy as np

from omicsfm import contract, hub
from omicsfm.models.responses._shared import MeanEffects, MeasuredEffects, ResponseBaseline
from omicsfm.pp import ResponseData

MIN_COMBINATIONS = 3


class MemberBaseline(ResponseBaseline):
    """Base of what is made of the measured effects of members.

    A member's effect is that in the same context, else the mean over contexts, at the nearest dose; a member never
    seen counts as the mean of the single perturbations of the context.
    """

    def _learn(self, data: ResponseData) -> None:
        self._keep(MeasuredEffects.of(data).per_member())

    def _keep(self, effects: MeasuredEffects) -> None:
        self.effects_ = effects
        self.mean_ = MeanEffects.of(effects)

    def _parts(self, name: str, context: str, dose: float) -> np.ndarray:
        """Effects of the members, (n_members, n_genes)."""
        found = [self.effects_.effect(member, context, dose) for member in contract.members(name)]
        return np.stack([self.mean_(context) if part is None else part for part in found])


@hub.saveable
class AdditiveResponse(MemberBaseline):
    """Sum of the measured effects of the members.

    A member's effect is that in the same context, else the mean over contexts, at the nearest dose on the log scale;
    one never seen counts as the mean of the single perturbations. A combination that was itself measured is predicted
    from its members all the same.

    Parameters
    ----------
    seed
        Not used.

    Attributes
    ----------
    effects_, mean_ : effects of single perturbations, and their mean.

    References
    ----------
    Ahlmann-Eltze, Huber & Anders (2025), Nat. Methods, doi:10.1038/s41592-025-02772-6.
    """

    def _row(self, name: str, context: str, dose: float) -> np.ndarray:
        return self._parts(name, context, dose).sum(axis=0)


@hub.saveable
class ShrunkenAdditive(MemberBaseline):
    """Weighted sum of the effects of the members: one weight for the largest of them, one for the rest.

    Combinations mostly do less than the sum of their members. The two weights are least squares, over all genes, on the
    training combinations whose members were all measured alone; 1 where there are fewer than three of these. Members
    are told apart by the Euclidean norm of their effects, for nothing else orders them. Members as in
    :class:`AdditiveResponse`; single perturbations are not shrunk.

    Parameters
    ----------
    seed
        Not used.

    Attributes
    ----------
    weights_ : (2,) of the largest member and of the others.
    effects_, mean_ : effects of single perturbations, and their mean.

    References
    ----------
    Norman et al. (2019), Science 365:786, doi:10.1126/science.aax4438 (two coefficients, there per pair).
    """

    def _learn(self, data: ResponseData) -> None:
        super()._learn(data)
        self.weights_: np.ndarray = np.ones(2)
        whole = MeasuredEffects.of(data)
        gram, moment, n = np.zeros((2, 2)), np.zeros(2), 0
        for name, at in whole.where.items():
            members = contract.members(name)
            if len(members) < 2 or not all(member in self.effects_.where for member in members):
                continue
            n += 1
            for context, rows in at.items():
                for row in rows:
                    x = self._larger_and_rest(name, context, float(np.exp(whole.log_dose[row])))
                    gram += x @ x.T
                    moment += x @ whole.values[row]
        if n >= MIN_COMBINATIONS:
            self.weights_ = np.linalg.lstsq(gram, moment, rcond=None)[0]

    def _larger_and_rest(self, name: str, context: str, dose: float) -> np.ndarray:
        parts = self._parts(name, context, dose)
        largest = int(np.linalg.norm(parts, axis=1).argmax())
        return np.stack([parts[largest], np.delete(parts, largest, axis=0).sum(axis=0)])

    def _row(self, name: str, context: str, dose: float) -> np.ndarray:
        if len(contract.members(name)) == 1:
            return self._parts(name, context, dose)[0]
        return self.weights_ @ self._larger_and_rest(name, context, dose)


@hub.saveable
class MaxAbs(MemberBaseline):
    """Gene by gene the effect of the member in which it is largest in size. Members as in :class:`AdditiveResponse`.

    Parameters
    ----------
    seed
        Not used.

    Attributes
    ----------
    effects_, mean_ : effects of single perturbations, and their mean.
    """

    def _row(self, name: str, context: str, dose: float) -> np.ndarray:
        parts = self._parts(name, context, dose)
        return np.take_along_axis(parts, np.abs(parts).argmax(axis=0)[None], axis=0)[0]
