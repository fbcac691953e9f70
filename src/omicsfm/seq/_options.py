"""What stands behind the name of a pretrained model: ``PLACE:layer=6:pooling=mean+max:random``."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any

from omicsfm._errors import InputError

POOLINGS = ("mean", "max", "cls")
_DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Options:
    """How a pretrained model is used; what is at its default is not written.

    Attributes
    ----------
    layer
        0 is what enters the first layer, n what leaves the last of n; negative ones count from the end.
    pooling
        Of the positions of a sequence: "mean", "max", "cls" (the vector of the first special token), or several of
        them joined by "+", whose vectors stand side by side.
    dtype
        Of weights and activations; pooling is in float32, and so is the result.
    tokens
        Longest window, in tokens; None is what the model can take. Longer sequences are cut into equal windows.
    words
        Letters of a word, for tokenizers that want overlapping words with spaces between them (DNABERT).
    flank
        Unknown bases put at each side; None is what the model was trained with.
    random
        Seed of random weights in place of the trained ones; None are the trained ones.
    remote
        Whether the code that comes with the weights may run.
    """

    layer: int = -1
    pooling: str = "mean"
    dtype: str = "float32"
    tokens: int | None = None
    words: int | None = None
    flank: int | None = None
    random: int | None = None
    remote: bool = False

    @property
    def poolings(self) -> list[str]:
        """Each pooling by itself."""
        return self.pooling.split("+")

    def text(self) -> str:
        """Write what is not at its default, such as ``":layer=6:random"``."""
        out = ""
        for item in fields(self):
            value = getattr(self, item.name)
            if value == item.default:
                continue
            out += f":{item.name}" + ("" if value is True or (item.name, value) == ("random", 0) else f"={value}")
        return out


_PATTERNS = {
    "layer": r"-?\d+",
    "pooling": rf"({'|'.join(POOLINGS)})(\+({'|'.join(POOLINGS)}))*",
    "dtype": "|".join(_DTYPES),
    "tokens": r"[1-9]\d*",
    "words": r"[1-8]",
    "flank": r"\d+",
    "random": r"\d+",
}


def read_options(name: str, rest: str, allowed: tuple[str, ...]) -> tuple[str, Options]:
    """Take apart what stands behind the name of a pretrained model.

    Parameters
    ----------
    name
        Of the embedder, for the error.
    rest
        The place of the weights, which may hold colons itself, and options behind it.
    allowed
        Options that this model has.

    Returns
    -------
    Place and options.

    Raises
    ------
    InputError
        If an option has a value that it cannot have, is given twice, or is none of `allowed`.
    """
    *parts, last = rest.split(":")
    found: dict[str, str] = {}
    while True:
        key, _, value = last.partition("=")
        if key not in _PATTERNS and key != "remote":
            break
        if key not in allowed or key in found or not _fits(key, value, last):
            usage = ", ".join(f"{option}={_PATTERNS.get(option, '')}".rstrip("=") for option in allowed)
            raise InputError(
                f"seq.embedder: '{name}' cannot take ':{last}' there (of '{name}:{rest}'). Fix: write each option "
                f"once, as {usage}."
            )
        found[key] = value
        if not parts:
            last = ""
            break
        last = parts.pop()
    place = ":".join([*parts, last])
    given: dict[str, Any] = {
        key: value if key in ("pooling", "dtype") else True if key == "remote" else int(value or 0)
        for key, value in found.items()
    }
    options = Options(**given)
    if len(set(options.poolings)) < len(options.poolings):
        raise InputError(f"seq.embedder: a pooling stands twice in '{options.pooling}'. Fix: write each once.")
    return place, options


def _fits(key: str, value: str, text: str) -> bool:
    if text in ("random", "remote"):
        return True
    return key in _PATTERNS and re.fullmatch(_PATTERNS[key], value) is not None
