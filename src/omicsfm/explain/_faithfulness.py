"""Whether the bases that an explanation names are those on which the score rests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from omicsfm._errors import InputError
from omicsfm._progress import progress
from omicsfm.explain._scorer import of_one_length, scorer
from omicsfm.metrics._bootstrap import Comparison, paired_bootstrap
from omicsfm.seq._sequences import BASES


@dataclass(frozen=True)
class Faithfulness:
    """Deletion and insertion curves of an explanation, beside those of random ones.

    Attributes
    ----------
    curves
        DataFrame: `curve` ("deletion", "insertion"), `order` ("attribution", "random"), `fraction` of the bases, and
        the mean `score` over sequences.
    deletion, insertion
        By how much the explanation beats random ones: the mean height of the curve above (insertion) or below
        (deletion) theirs, in units of the score, with its interval over sequences. Above 0 it is faithful.
    """

    curves: pd.DataFrame
    deletion: Comparison
    insertion: Comparison


def faithfulness(
    model: Any,
    sequences: Any,
    attributions: np.ndarray,
    *,
    target: Any = None,
    steps: int = 10,
    n_random: int = 5,
    seed: int = 0,
) -> Faithfulness:
    """Take away, and put in, the bases that an explanation calls important, and watch the score.

    Parameters
    ----------
    model, target
        As for :func:`omicsfm.explain.mutagenesis`.
    sequences
        (n_seq,) strings of one length L.
    attributions
        (n_seq, L): higher is what raises the score more, such as :func:`importance`, :func:`deeplift` or
        :func:`gradient` give.
    steps
        Points of a curve behind its first.
    n_random
        Random orders to compare with, and draws of the bases that stand for what was taken away.
    seed
        Of orders and draws.

    Returns
    -------
    Faithfulness

    Raises
    ------
    InputError
        If shapes do not fit.

    Notes
    -----
    A base that is taken away becomes another one, drawn at random: an unknown base would be unlike anything the model
    was trained on. Deletion begins with the sequence, insertion with one in which all bases were taken away. In each of
    the `n_random` rounds the explanation and the random order meet the same drawn bases.

    References
    ----------
    Petsiuk, Das and Saenko 2018, arXiv:1806.07421 (the curves).
    """
    found = of_one_length("explain.faithfulness", sequences)
    score = scorer("explain.faithfulness", model, target)
    values = np.asarray(attributions, dtype=np.float64)
    n, length = len(found), len(found[0])
    if values.shape != (n, length) or not np.isfinite(values).all() or not 1 <= steps <= length or n_random < 1:
        raise InputError(
            f"explain.faithfulness: finite attributions of shape {(n, length)}, 1 to {length} steps and 1 or more "
            f"random orders were needed; found shape {values.shape}, {steps} and {n_random}. Fix: one number per base."
        )
    letters = np.array([list(sequence) for sequence in found])
    rng = np.random.default_rng(seed)
    cuts = np.unique(np.round(np.linspace(0, length, steps + 1)).astype(int))
    # curve, order -> (n, n_cuts), summed over rounds
    total = {(c, o): np.zeros((n, len(cuts))) for c in ("deletion", "insertion") for o in ("attribution", "random")}
    for _ in progress(range(n_random), desc="faithfulness"):
        other = _other_bases(letters, rng)
        # Ties in a random order of their own, else their place would decide.
        ties = rng.random((n, length))
        orders = {"attribution": np.lexsort((ties, -values), axis=1), "random": rng.random((n, length)).argsort(axis=1)}
        for name, order in orders.items():
            rank = order.argsort(axis=1)
            for i, cut in enumerate(cuts):
                chosen = rank < cut
                total["deletion", name][:, i] += score(_join(np.where(chosen, other, letters)))
                total["insertion", name][:, i] += score(_join(np.where(chosen, letters, other)))
    mean = {key: value / n_random for key, value in total.items()}
    curves = [
        {"curve": curve, "order": order, "fraction": cut / length, "score": float(mean[curve, order][:, i].mean())}
        for curve, order in mean
        for i, cut in enumerate(cuts)
    ]
    area = {key: np.trapezoid(value, cuts / length, axis=1) for key, value in mean.items()}
    told: dict[str, Any] = {"seed": seed, "unit_name": "sequences"}
    return Faithfulness(
        curves=pd.DataFrame(curves),
        deletion=paired_bootstrap(area["deletion", "random"], area["deletion", "attribution"], **told),
        insertion=paired_bootstrap(area["insertion", "attribution"], area["insertion", "random"], **told),
    )


def _other_bases(letters: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw, for every base, one of the three others; for one that is not known, any of the four."""
    code = np.full(letters.shape, -1)
    for i, base in enumerate(BASES):
        code[letters == base] = i
    shift = rng.integers(1, len(BASES), size=letters.shape)
    free = rng.integers(0, len(BASES), size=letters.shape)
    return np.array(list(BASES))[np.where(code < 0, free, (code + shift) % len(BASES))]


def _join(letters: np.ndarray) -> list[str]:
    return ["".join(row) for row in letters]
