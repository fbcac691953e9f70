"""Small screens with known effects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

Screen = tuple[pd.DataFrame, pd.DataFrame, dict[str, pd.DataFrame]]


def design_of(*rows: Any) -> pd.DataFrame:
    """Make a design of "name" or ("name", "context") or ("name", "context", dose)."""
    full = [(row, "x") if isinstance(row, str) else row for row in rows]
    columns = ["perturbation", "context", "dose"][: max(len(row) for row in full)]
    return pd.DataFrame(full, columns=columns)


def screen_of(n_targets: int = 12, n_genes: int = 30, *, contexts: tuple[str, ...] = ("x",), seed: int = 0) -> Screen:
    """Effects linear in priors plus noise; targets are the first genes; two priors that each lack one target."""
    rng = np.random.default_rng(seed)
    targets = [f"g{i}" for i in range(n_targets)]
    a, b = rng.normal(size=(n_targets + 4, 3)), rng.normal(size=(n_targets + 4, 4))
    priors = {
        "a": pd.DataFrame(a, index=[*targets[1:], "new1", "new2", "new3", "new4", "g0"]).drop(index="g3"),
        "b": pd.DataFrame(b, index=[*targets[1:], "new1", "new2", "new3", "new4", "g0"]).drop(index=["g3", "g5"]),
    }
    per_target = pd.DataFrame(a, index=priors["a"].index.union(["g3"], sort=False))
    base = per_target.loc[targets].to_numpy() @ rng.normal(size=(3, n_genes))
    design = design_of(*[(target, context) for context in contexts for target in targets])
    values = np.vstack([base + i + 0.3 * rng.normal(size=base.shape) for i, _ in enumerate(contexts)])
    return pd.DataFrame(values, columns=[f"g{i}" for i in range(n_genes)]), design, priors


@pytest.fixture(scope="session")
def make_design() -> Callable[..., pd.DataFrame]:
    return design_of


@pytest.fixture(scope="session")
def make_screen() -> Callable[..., Screen]:
    return screen_of
