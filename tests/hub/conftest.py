from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    """The module toy.py beside this file: ToyModel, fitted(), store()."""
    spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["toy"] = module  # dataclasses looks there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def saved(toy: ModuleType, tmp_path: Path) -> Path:
    """A toy model saved to a folder."""
    return toy.store(toy.fitted(), tmp_path / "model")
