"""Results to one HTML page that opens from disk, on a phone as on paper."""

from __future__ import annotations

from omicsfm.report._build import build

__all__ = ["build"]
