"""What annotating baselines share: labelled cells, one classifier per set of modalities. A subclass gives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData

from omicsfm import contract, hub
from omicsfm._errors import InputError
from omicsfm.models._cells import blocks
from omicsfm.models._factor import Pattern
from omicsfm.models._token_model import TokenModel
from omicsfm.models.baselines._views import Views, best_set, block_of, training_sets
from omicsfm.pp import Tokens


@hub.state
@dataclass(frozen=True)
class Majority:
    """The most frequent label for every cell; nothing is known of novelty.

    Attributes
    ----------
    label, share : the label (of equals, the first in the alphabet) and its share of the labelled cells.
    """

    label: str
    share: float

    @classmethod
    def fit(cls, label_n: np.ndarray) -> Majority:
        """Count the labels."""
        names, count = np.unique(label_n.astype(str), return_counts=True)
        return cls(str(names[count.argmax()]), float(count.max() / count.sum()))

    def predict(self, x_md: np.ndarray, *, min_confidence: float) -> pd.DataFrame:
        """Give label, confidence, unknown and novelty per row."""
        return pd.DataFrame(
            {
                "label": np.full(len(x_md), self.label, dtype=object),
                "confidence": self.share,
                "unknown": self.share < min_confidence,
                "novelty": 0.0,
            },
            index=range(len(x_md)),
        )


@hub.state
@dataclass(frozen=True)
class Head:
    """A classifier on one set of modalities.

    Attributes
    ----------
    pattern : the input modalities; empty for the most frequent label.
    classifier : has ``predict(x, min_confidence=)``.
    n_train : labelled cells that have all of them.
    """

    pattern: tuple[str, ...]
    classifier: Any
    n_train: int


class Annotator(TokenModel):
    """Labels cells by one classifier per set of modalities.

    The sets are those met in training among labelled cells, and each modality alone; a query cell is labelled from the
    largest fitted set that it has. A cell that has none gets the most frequent label, and is unknown.
    """

    _joint = False
    _needs_two = False

    def _classifier(self, x_nd: np.ndarray, label_n: np.ndarray) -> Any:
        raise NotImplementedError

    def _sets(self, tokens: Tokens, obs: np.ndarray) -> list[tuple[Pattern, np.ndarray]]:
        return training_sets(tokens, obs)

    def _fit(self, mdata: MuData, tokens: Tokens) -> None:
        name = type(self).__name__
        if contract.keys(mdata).label is None:
            raise InputError(f'{name}.fit: there is no label key. Fix: ofm.setup(mdata, label_key="...") before fit.')
        label = contract.labels(mdata).to_numpy()
        known = np.flatnonzero(pd.notna(label))
        if not len(known):
            raise InputError(f"{name}.fit: every label is missing. Fix: label some cells; the others may be NaN.")
        self.views_ = Views.fit(tokens)
        self.heads_ = [Head((), Majority.fit(label[known]), len(known))]
        for pattern, obs in self._sets(tokens, known):
            x_nd = self._inputs(tokens, obs, pattern)
            self.heads_.append(Head(pattern, self._classifier(x_nd, label[obs].astype(str)), len(obs)))

    def annotate(self, mdata: MuData, *, min_confidence: float = 0.5) -> pd.DataFrame:
        """Give labels with confidence.

        Parameters
        ----------
        min_confidence
            A cell below it is "unknown", as is one farther from its neighbours or class than 99 % of training cells.

        Returns
        -------
        DataFrame
            Index ``mdata.obs_names``; label, confidence, unknown (bool), novelty (distance in units of its limit).
        """
        tokens = self._tokens(mdata)
        parts, order = [], []
        for block in blocks(tokens):
            head = best_set(self.heads_, block.pattern)
            x_md = self._inputs(tokens, block.obs, head.pattern)
            found = head.classifier.predict(x_md, min_confidence=min_confidence)
            if not head.pattern and len(self.heads_) > 1:
                found["unknown"] = True
            parts.append(found)
            order.append(block.obs)
        out = pd.concat(parts, ignore_index=True).iloc[np.argsort(np.concatenate(order))]
        return out.set_axis(mdata.obs_names, axis=0)

    def _inputs(self, tokens: Tokens, obs: np.ndarray, pattern: Pattern) -> np.ndarray:
        """Scaled tokens with a mean variance of 1: the penalties of classifiers count on that."""
        x_nd = self.views_(tokens, block_of(tokens, obs, pattern))
        return x_nd * (x_nd.shape[1] / max(len(pattern), 1)) ** 0.5

    def _compute(self, tokens: Tokens) -> np.ndarray:
        out = np.zeros(tokens.n_obs)
        for block in blocks(tokens):
            head = best_set(self.heads_, block.pattern)
            x_md = self._inputs(tokens, block.obs, head.pattern)
            out[block.obs] = head.classifier.predict(x_md, min_confidence=0.5)["confidence"]
        return out
