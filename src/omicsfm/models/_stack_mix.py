"""Many answers to one: members made by name, their predictions averaged, their labels pooled."""

from __future__ import annotations

import inspect
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from omicsfm.models._protocols import Imputation
from omicsfm.pp import Tokenizer, Tokens


def accepts(function: Callable[..., Any], parameter: str) -> bool:
    """Tell whether a function has a parameter of that name."""
    return parameter in inspect.signature(function).parameters


@contextmanager
def said_once() -> Iterator[None]:
    """Pass on each warning of the members once, however many of them give it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for text, kind in {(str(w.message), w.category) for w in caught}:
        warnings.warn(text, kind, stacklevel=4)


def make_members(members: Sequence[Any], **wanted: Any) -> dict[str, Any]:
    """Make or copy the members, each under a name of its own.

    Parameters
    ----------
    members
        Registered names, or estimators.
    **wanted
        Parameters given to those made by name, where they have them.
    """
    from omicsfm.models._registry import MODELS, create

    made: dict[str, Any] = {}
    count: Counter[str] = Counter()
    for member in members:
        if isinstance(member, str):
            known = member in MODELS  # else create() says which there are
            model = create(member, **{k: v for k, v in wanted.items() if known and accepts(MODELS[member], k)})
        else:
            model = clone(member)
        name = member if isinstance(member, str) else type(member).__name__
        count[name] += 1
        made[name if count[name] == 1 else f"{name} {count[name]}"] = model
    return made


def shared_tokens(member: Any, tokenizer: Tokenizer, tokens: Tokens) -> dict[str, Any]:
    """Give arguments of `fit` that save a member its own tokens; none where it would make others."""
    given = {"tokenizer": tokenizer, "tokens": tokens}
    same = getattr(member, "n_tokens", None) == tokenizer.n_components
    return given if same and all(accepts(member.fit, key) for key in given) else {}


def mixed_imputation(
    found: Mapping[str, Imputation], weights: Mapping[str, float], width_g: np.ndarray, level: float
) -> Imputation:
    """Give the weighted mean of predictions; sd and interval are the weighted means times `width_g`."""
    first = next(iter(found.values()))

    def mixed(values: Callable[[Imputation], pd.DataFrame], factor: np.ndarray | float = 1.0) -> pd.DataFrame:
        total = sum(weights[name] * values(f).to_numpy(dtype=np.float64) for name, f in found.items())
        return pd.DataFrame(total * factor, index=first.mean.index, columns=first.mean.columns)

    mean, sd = mixed(lambda f: f.mean), mixed(lambda f: f.sd, width_g)
    half = mixed(lambda f: (f.upper - f.lower) / 2, width_g)
    return Imputation(mean, sd, mean - half, mean + half, level=level, transform=first.transform)


def pooled_labels(
    found: Mapping[str, pd.DataFrame], weights: Mapping[str, float], classes: Sequence[str], *, min_confidence: float
) -> pd.DataFrame:
    """Give the label that the weighted mean of probabilities favours."""
    p_cn = np.array(
        [sum(weights[m] * class_probability(t, c, len(classes)) for m, t in found.items()) for c in classes]
    )
    strange = sum(weights[m] * t["unknown"].to_numpy(dtype=np.float64) for m, t in found.items())
    out = pd.DataFrame(
        {
            "label": np.array(classes, dtype=object)[p_cn.argmax(axis=0)],
            "confidence": np.minimum(p_cn.max(axis=0), 1.0),
            "unknown": (p_cn.max(axis=0) < min_confidence) | (strange > 0.5),
        },
        index=next(iter(found.values())).index,
    )
    if all("novelty" in t for t in found.values()):
        out["novelty"] = sum(weights[m] * t["novelty"].to_numpy(dtype=np.float64) for m, t in found.items())
    return out


def class_probability(table: pd.DataFrame, label: Any, n_classes: int) -> np.ndarray:
    """Probability of a label per row: the confidence, or an equal share of what it leaves."""
    confidence = table["confidence"].to_numpy(dtype=np.float64)
    rest = (1 - confidence) / max(n_classes - 1, 1)
    return np.where(table["label"].to_numpy() == label, confidence, rest)
