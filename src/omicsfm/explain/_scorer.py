"""One way to ask any model for one number per sequence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from omicsfm._errors import InputError
from omicsfm.seq._one_hot import one_hot
from omicsfm.seq._sequences import as_list, code_blocks

Scorer = Callable[[list[str]], np.ndarray]

_BATCH = 1 << 20  # bases that a torch module sees at once


def scorer(function: str, model: Any, target: Any) -> Scorer:
    """Turn a model into a function from sequences to (n_seq,) float64.

    Parameters
    ----------
    function
        Who asks, for the errors.
    model
        A torch module over (n, 4, length) one-hot; an estimator with `predict_proba` over sequences; or any callable
        from a list of strings to an array. Each gives (n,) or (n, n_targets).
    target
        Column, or a label of the estimator's `classes_`; None where there is one column, or of two the second.

    Raises
    ------
    InputError
        If the model is none of these, or what it gives does not fit.
    """
    run = _torch_scores(model) if is_module(model) else getattr(model, "predict_proba", model)
    if not callable(run):
        raise InputError(
            f"{function}: the model must be a torch module, an estimator with predict_proba, or a function from a list "
            f"of sequences to scores; found {type(model).__name__}. Fix: wrap it in a function."
        )
    classes = getattr(model, "classes_", None)

    def score(sequences: list[str]) -> np.ndarray:
        values = np.asarray(run(sequences), dtype=np.float64)
        if values.ndim not in (1, 2) or len(values) != len(sequences):
            raise InputError(
                f"{function}: the model must give ({len(sequences)},) or ({len(sequences)}, n_targets), found shape "
                f"{values.shape}. Fix: wrap it in a function that does."
            )
        if values.ndim == 1:
            values = values[:, None]
        return values[:, column(function, target, values.shape[1], classes)]

    return score


def is_module(model: Any) -> bool:
    """Whether a model is a torch module, without an import of torch where nobody has used it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def column(function: str, target: Any, n: int, classes: Any = None) -> int:
    """Find the column that a target means."""
    if target is None and n <= 2:
        return n - 1
    labels = [] if classes is None else np.asarray(classes).tolist()
    if target in labels:
        return labels.index(target)
    if not labels and isinstance(target, int) and not isinstance(target, bool) and 0 <= target < n:
        return target
    raise InputError(
        f"{function}: target must be one of {labels or f'0 to {n - 1}'}, found {target!r}. Fix: choose the output to "
        "explain."
    )


def of_one_length(function: str, sequences: Any) -> list[str]:
    """Check sequences, which must be of one length; in upper case."""
    found = as_list(function, sequences)
    for _ in code_blocks(function, found):
        pass  # the check of the letters
    lengths = sorted(set(map(len, found)))
    if len(lengths) != 1:
        raise InputError(
            f"{function}: sequences of one length were needed, found lengths {lengths[:4]}. Fix: explain one length at "
            "a time."
        )
    return [sequence.upper() for sequence in found]


@contextmanager
def predicting(module: Any) -> Iterator[None]:
    """Hold a torch module in its mode for predictions, and give it back as it was."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def device_of(module: Any) -> Any:
    """Give the device of a module; of one without parameters, the CPU."""
    import torch

    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))


def _torch_scores(module: Any) -> Scorer:
    import torch

    def run(sequences: list[str]) -> np.ndarray:
        device = device_of(module)
        step = max(1, _BATCH // max(map(len, sequences), default=1))
        with predicting(module), torch.inference_mode():
            parts = [
                module(torch.from_numpy(one_hot(sequences[i : i + step])).transpose(1, 2).float().to(device))
                for i in range(0, len(sequences), step)
            ]
        return torch.cat(parts).cpu().numpy()

    return run
