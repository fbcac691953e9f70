"""Other people's models under the contract of this package."""

from __future__ import annotations

from omicsfm.models.external.mofa import MOFA

__all__ = ["MOFA"]
