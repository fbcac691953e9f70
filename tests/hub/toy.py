"""A small estimator with everything a model has; also imported by the processes that the tests kill."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from omicsfm import hub


@hub.state
@dataclass(frozen=True)
class ToyRun:
    loss: tuple[float, ...]
    converged: bool
    path: np.ndarray


@hub.saveable
class ToyTokens(BaseEstimator):
    def __init__(self, n_components: int = 2):
        self.n_components = n_components

    def fit(self, x_nv: np.ndarray) -> ToyTokens:
        self.mean_ = x_nv.mean(axis=0)
        self.loadings_ = np.linalg.svd(x_nv - self.mean_, full_matrices=False)[2][: self.n_components].T
        return self


@hub.saveable
class ToyModel(BaseEstimator):
    def __init__(self, seed: int = 0, tokens: ToyTokens | None = None, weight: float = 0.1):
        self.seed = seed
        self.tokens = tokens
        self.weight = weight

    def fit(self, x_nv: np.ndarray) -> ToyModel:
        self.names_ = pd.Index([f"gene{i}" for i in range(x_nv.shape[1])])
        self.tokens_ = {"rna": (self.tokens or ToyTokens()).fit(x_nv)}
        self.labels_ = np.array(["T", "B", None], dtype=object)
        self.run_ = ToyRun(loss=(0.1, float("inf")), converged=True, path=np.arange(3, dtype=np.float32))
        self.shift_ = np.random.default_rng(self.seed).normal(size=())
        return self

    def embed(self, x_nv: np.ndarray) -> np.ndarray:
        part = self.tokens_["rna"]
        return (x_nv - part.mean_) @ part.loadings_ * self.weight + self.shift_

    def _probe_output(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        return self.embed(inputs["x"])


def fitted(seed: int = 0) -> ToyModel:
    return ToyModel(seed=seed, tokens=ToyTokens(3)).fit(np.random.default_rng(seed).normal(size=(20, 6)))


def store(model: ToyModel, path, *, overwrite: bool = False):
    x = np.random.default_rng(9).normal(size=(4, 6))
    extra = {
        "training_data": "ab" * 32,
        "features": {"rna": model.names_},
        "metrics": {"loss": 0.5, "worst": float("nan"), "n": np.int64(20)},
        "seed": model.seed,
    }
    return hub.save(model, path, overwrite=overwrite, extra=extra, probe=({"x": x}, model.embed(x), 1e-4))
