"""Results that look like those of a run, without running one."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture(scope="session")
def example() -> Callable[..., Any]:
    """The function results() of tests/report/example.py."""
    spec = importlib.util.spec_from_file_location("example", Path(__file__).parents[1] / "report" / "example.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.results
