"""The classes that may be rebuilt from a file: those that said so in code, found by name and never by import."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TypeVar

from omicsfm._errors import InputError

T = TypeVar("T", bound=type)

STATES: dict[str, type] = {}
SAVEABLES: dict[str, type] = {}


def _register(cls: T, registry: dict[str, type], decorator: str) -> T:
    known = registry.get(cls.__name__, cls)
    # The same class defined again (a reloaded module, a notebook cell run twice) takes its own place.
    if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        owner = f"{known.__module__}.{known.__qualname__}"
        raise TypeError(f"hub.{decorator}: the name {cls.__name__!r} is taken by {owner}")
    registry[cls.__name__] = cls
    return cls


def state(cls: T) -> T:
    """Class decorator: let a frozen dataclass be part of what an estimator learnt.

    Parameters
    ----------
    cls
        A frozen dataclass all of whose fields are arguments of its constructor.

    Returns
    -------
    The class, unchanged.

    Raises
    ------
    TypeError
        If it is something else, or another class of that name is registered.
    """
    frozen = is_dataclass(cls) and cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    if not frozen or not all(field.init for field in fields(cls)):
        raise TypeError(f"hub.state: {cls.__name__} must be a frozen dataclass with no field of init=False")
    return _register(cls, STATES, "state")


def saveable(cls: T) -> T:
    """Class decorator: let an estimator be saved and loaded, by itself or inside another one.

    Parameters
    ----------
    cls
        A scikit-learn estimator: ``__init__`` stores its parameters and nothing else, learnt attributes end in an
        underscore. For `load` to check that a loaded model still computes what it did, define
        ``_probe_output(self, inputs: dict[str, np.ndarray]) -> np.ndarray``.

    Returns
    -------
    The class, unchanged.

    Raises
    ------
    TypeError
        If it has no ``get_params``, or another class of that name is registered.
    """
    if not callable(getattr(cls, "get_params", None)):
        raise TypeError(f"hub.saveable: {cls.__name__} must be a scikit-learn estimator (it has no get_params)")
    return _register(cls, SAVEABLES, "saveable")


def find(name: str, registry: dict[str, type]) -> type:
    """Give the registered class of that name."""
    if name not in registry:
        known = ", ".join(sorted(registry)) or "none"
        raise InputError(
            f"unflatten: the class '{name}' is not registered; registered are: {known}. Fix: import the module that "
            "defines it first (omicsfm's own: omicsfm.models), or update omicsfm."
        )
    return registry[name]


def is_registered(cls: type, registry: dict[str, type]) -> bool:
    """Tell whether this very class, not only its name or its parent, is registered."""
    return registry.get(cls.__name__) is cls
