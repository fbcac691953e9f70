"""What every possible change of one base does to the score."""

from __future__ import annotations

from typing import Any

import numpy as np

from omicsfm._progress import progress
from omicsfm.explain._scorer import of_one_length, scorer
from omicsfm.seq._one_hot import one_hot
from omicsfm.seq._sequences import BASES


def mutagenesis(model: Any, sequences: Any, *, target: Any = None) -> np.ndarray:
    """Score every sequence with every single base changed (in-silico saturation mutagenesis).

    Parameters
    ----------
    model
        A torch module over (n, 4, length) one-hot; an estimator with `predict_proba` over sequences, such as
        :class:`omicsfm.models.SequenceModel`; or a function from a list of strings to (n,) or (n, n_targets) scores.
    sequences
        (n_seq,) strings of one length L.
    target
        Output to explain: a column, or a label of the model's `classes_`. Not needed for one output; of two it is the
        second.

    Returns
    -------
    (n_seq, L, 4) float32, columns A, C, G, T: the score with that base minus the score of the sequence as it is; 0
    where it is that base already. It runs the model 3 L + 1 times per sequence.

    Raises
    ------
    InputError
        If sequences differ in length, or the model or the target fits nothing.
    """
    found = of_one_length("explain.mutagenesis", sequences)
    score = scorer("explain.mutagenesis", model, target)
    start = score(found)
    out = np.zeros((len(found), len(found[0]), len(BASES)), dtype=np.float32)
    for row, sequence in enumerate(progress(found, desc="mutate")):
        changes = [(i, b) for i, letter in enumerate(sequence) for b, base in enumerate(BASES) if base != letter]
        mutants = [sequence[:i] + BASES[b] + sequence[i + 1 :] for i, b in changes]
        at, bases = np.array(changes).T
        out[row, at, bases] = score(mutants) - start[row]
    return out


def importance(effects: np.ndarray, sequences: Any) -> np.ndarray:
    """Say how much each base as it is contributes, by what it costs to lose it.

    Parameters
    ----------
    effects
        (n_seq, L, 4) from :func:`mutagenesis`.
    sequences
        (n_seq,) the same strings.

    Returns
    -------
    (n_seq, L) minus the mean effect of the three other bases; 0 where the base is not known.
    """
    present = one_hot(of_one_length("explain.importance", sequences)).astype(bool)
    lost = -np.where(present, 0, effects).sum(axis=2) / (len(BASES) - 1)
    return np.where(present.any(axis=2), lost, 0).astype(np.float32)
