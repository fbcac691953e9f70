"""What is recorded of an embedding in ``adata.uns["omicsfm"]["embeddings"][key]``: the only module that knows it."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Any

import anndata as ad
import numpy as np
from scipy import sparse

from omicsfm.hub._manifest import sha256, versions
from omicsfm.seq._embedders import Embedder

_SLOT = "omicsfm"
_PROBES = 8  # rows whose values are stored a second time


def manifests(adata: ad.AnnData) -> dict[str, Mapping[str, Any]]:
    """Give what is recorded, by the key of ``varm``."""
    return dict(adata.uns.get(_SLOT, {}).get("embeddings", {}))


def record(adata: ad.AnnData, key: str, manifest: Mapping[str, Any]) -> None:
    """Write down one embedding, which is in ``varm`` already, with a probe of it."""
    values = adata.varm[key]
    rows = np.unique(np.linspace(0, adata.n_vars - 1, _PROBES).astype(int)) if adata.n_vars else np.zeros(0, dtype=int)
    probe = {"names": adata.var_names.to_numpy(dtype=object)[rows], "values": values[rows]}
    stored = {"format": "csr" if sparse.issparse(values) else "array", "dtype": str(values.dtype)}
    entry = {**manifest, **stored, "shape": np.array(values.shape), "probe": probe}
    adata.uns[_SLOT] = {
        **adata.uns.get(_SLOT, {}),
        "embeddings": {**manifests(adata), key: entry},
    }


def describe(made: Embedder) -> dict[str, Any]:
    """Say by what sequences were embedded; all of it text, so that HDF5 and zarr hold it."""
    return {
        "model": made.name,
        "params": json.dumps(dict(made.params), sort_keys=True),
        "facts": {name: str(value) for name, value in made.facts.items()},
        "licence": made.licence,
        "code_sha256": code_sha256(made),
        "versions": versions() | {package: version(package) for package in made.packages},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def code_sha256(made: Embedder) -> str:
    """Hash the source of the modules that an embedder's function comes from; empty where there is no source."""
    function: Any = made.embed
    while isinstance(function, partial) or hasattr(function, "__wrapped__"):
        function = function.func if isinstance(function, partial) else function.__wrapped__
    names = [getattr(function, "__module__", type(function).__module__), *made.modules]
    try:
        return sha256("".join(inspect.getsource(sys.modules[name]) for name in names).encode())
    except (OSError, TypeError):  # written at a prompt
        return ""
