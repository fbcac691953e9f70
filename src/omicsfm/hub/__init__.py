"""Save a fitted estimator as numbers and text, and load it again; no pickle, and no class named by a file is imported.

A saved model is a folder of two files: ``weights.safetensors`` and ``manifest.json``. Any estimator marked `saveable`
can be stored: its parameters and its attributes that end in an underscore, which may hold what `flatten` knows.
"""

from __future__ import annotations

from omicsfm.hub._folder import manifest
from omicsfm.hub._load import load
from omicsfm.hub._manifest import SCHEMA_VERSION
from omicsfm.hub._registry import saveable, state
from omicsfm.hub._save import save
from omicsfm.hub._tree import flatten, unflatten

__all__ = ["SCHEMA_VERSION", "flatten", "load", "manifest", "save", "saveable", "state", "unflatten"]
