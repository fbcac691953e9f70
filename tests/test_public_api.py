"""What users may rely on: names and signatures as written in public_api.txt.

A change there is a change for users: it goes with a line in CHANGELOG.md and, where something goes away, with a
deprecation first (docs/deprecation.md). ``python tests/test_public_api.py`` writes the file anew.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import omicsfm

SNAPSHOT = Path(__file__).with_name("public_api.txt")
# The verbs that take a container as scanpy's do: the data first, every choice by name.
VERBS = ("pp", "tl", "pl", "seq")


def public_modules() -> Iterator[Any]:
    """Give every module without a leading underscore that says what it exports."""
    yield omicsfm
    for info in pkgutil.walk_packages(omicsfm.__path__, "omicsfm."):
        if any(part.startswith("_") for part in info.name.split(".")):
            continue
        module = importlib.import_module(info.name)
        if hasattr(module, "__all__"):
            yield module


def signature(thing: Any) -> str:
    """Give names, kinds and defaults of the parameters; types are the type checker's affair."""
    empty = inspect.Parameter.empty
    given = inspect.signature(thing)
    plain = [
        p.replace(annotation=empty, default=p.default if p.default is empty or _told(p.default) else "...")
        for p in given.parameters.values()
    ]
    return str(given.replace(parameters=plain, return_annotation=inspect.Signature.empty))


def _told(default: Any) -> bool:
    return isinstance(default, (type(None), bool, int, float, str, tuple, type))


def members(cls: type) -> Iterator[tuple[str, str]]:
    """Give the public methods and properties that our own classes define, inherited ones included."""
    for name in sorted(set(dir(cls))):
        owner = next((c for c in cls.__mro__ if name in vars(c)), None)
        if name.startswith("_") or owner is None or not owner.__module__.startswith("omicsfm"):
            continue
        thing = inspect.getattr_static(cls, name)
        if isinstance(thing, (classmethod, staticmethod)):
            yield name, signature(thing.__func__)
        elif inspect.isfunction(thing):
            yield name, signature(thing)
        elif isinstance(thing, property) or hasattr(thing, "func"):
            yield name, " (property)"


def public_api() -> list[str]:
    """Give one line for each public name; a class or function that several packages export stands once."""
    lines: list[str] = []
    seen: set[int] = set()
    for module in public_modules():
        for name in sorted(module.__all__):
            thing = getattr(module, name)
            where = f"{module.__name__}.{name}"
            if not (inspect.isclass(thing) or inspect.isroutine(thing)):
                lines.append(f"{where}: {type(thing).__name__}")
            elif id(thing) not in seen:
                seen.add(id(thing))
                lines += _lines(where, thing)
    return lines


def _lines(where: str, thing: Any) -> list[str]:
    if inspect.isroutine(thing):
        return [f"{where}{signature(thing)}"]
    called = not (getattr(thing, "_is_protocol", False) or issubclass(thing, BaseException))
    return [
        f"{where}{signature(thing) if called else ''} (class)",
        *(f"{where}.{name}{text}" for name, text in members(thing)),
    ]


def test_names_and_signatures_are_those_promised():
    promised = SNAPSHOT.read_text(encoding="utf-8").splitlines()
    found = public_api()
    changed = [line for line in difflib.unified_diff(promised, found, lineterm="", n=0) if line[:2] not in ("--", "++")]
    assert not changed, (
        "the public interface differs from tests/public_api.txt:\n"
        + "\n".join(changed)
        + "\nIf that is meant: a line in CHANGELOG.md, and `python tests/test_public_api.py`."
    )


def test_every_exported_name_exists_and_is_documented():
    for module in public_modules():
        assert len(set(module.__all__)) == len(module.__all__), module.__name__
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isroutine(thing) or inspect.ismodule(thing):
                assert inspect.getdoc(thing), f"{module.__name__}.{name} has no docstring"


@pytest.mark.parametrize("package", VERBS)
def test_verbs_take_choices_by_name(package: str):
    module = importlib.import_module(f"omicsfm.{package}")
    for name in module.__all__:
        verb = getattr(module, name)
        if not inspect.isfunction(verb):
            continue
        for parameter in inspect.signature(verb).parameters.values():
            if isinstance(parameter.default, bool):
                assert parameter.kind is parameter.KEYWORD_ONLY, f"{package}.{name}: {parameter.name} by position"


if __name__ == "__main__":
    SNAPSHOT.write_text("\n".join(public_api()) + "\n", encoding="utf-8")
