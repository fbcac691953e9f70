"""Disk to MuData and back, and row blocks of any matrix an AnnData can hold."""

from __future__ import annotations

from omicsfm.io._atomic import atomic
from omicsfm.io._blocks import blocks, canonical, raw_blocks
from omicsfm.io._read import read
from omicsfm.io._slashes import slash_keys
from omicsfm.io._write import write

__all__ = ["atomic", "blocks", "canonical", "raw_blocks", "read", "slash_keys", "write"]
