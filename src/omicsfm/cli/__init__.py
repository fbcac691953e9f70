"""The command line: one command = one public function. `omicsfm --help` tells all of them."""

from __future__ import annotations

from omicsfm.cli._app import main

__all__ = ["main"]
