"""Data sets by name: registry entry -> verified files -> a MuData that meets the contract."""

from __future__ import annotations

from omicsfm.datasets._fetch import FileStatus, fetch, verify
from omicsfm.datasets._load import load
from omicsfm.datasets._registry import info, registry
from omicsfm.datasets._schema import Entry, Registry

__all__ = ["Entry", "FileStatus", "Registry", "fetch", "info", "load", "registry", "verify"]
