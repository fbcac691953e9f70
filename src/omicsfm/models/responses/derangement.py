"""WrongTarget: the measured effect of another perturbation."""

from __future__ import annotations

import hashlib

import numpy as np

from omicsfm import contract, hub
from omicsfm.models.responses._shared import MeanEffects, MeasuredEffects, ResponseBaseline
from omicsfm.pp import ResponseData


@hub.saveable
class WrongTarget(ResponseBaseline):
    """Effect of another training perturbation that shares no member: a control of what merely looks like a response.

    The other one is drawn once for each perturbation from those with as many members (from all where there are none):
    the first of a random order that was measured in the asked context, else the first, averaged over contexts. What a
    score is worth is its distance from this one's. The mean response where there is no other one. Doses are ignored.

    Parameters
    ----------
    seed
        Of the draws.

    Attributes
    ----------
    effects_, mean_ : measured effects, and their mean.
    """

    def _learn(self, data: ResponseData) -> None:
        self.effects_ = MeasuredEffects.of(data)
        self.mean_ = MeanEffects.of(self.effects_)

    def _row(self, name: str, context: str, dose: float) -> np.ndarray:
        order = self._others(name)
        here = next((other for other in order if context in self.effects_.where[other]), order[0] if order else None)
        effect = None if here is None else self.effects_.effect(here, context)
        return self.mean_(context) if effect is None else effect

    def _others(self, name: str) -> list[str]:
        """Training perturbations that may stand in for this one, in its own random order."""
        members, known = frozenset(contract.members(name)), self.effects_.members
        others = [other for other, theirs in known.items() if members.isdisjoint(theirs)]
        others = [other for other in others if len(known[other]) == len(members)] or others
        # From the name, not from its place in the design: the same answer whatever else is asked.
        digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
        order = np.random.default_rng([self.seed, int.from_bytes(digest)]).permutation(len(others))
        return [others[i] for i in order]
