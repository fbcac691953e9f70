"""Other people's models under the contract of this package."""

from __future__ import annotations

from omicsfm.models.external.mofa import MOFA
from omicsfm.models.external.multivi import MultiVI
from omicsfm.models.external.peakvi import PeakVI
from omicsfm.models.external.scanvi import ScANVI
from omicsfm.models.external.totalvi import TotalVI

__all__ = ["MOFA", "MultiVI", "PeakVI", "ScANVI", "TotalVI"]
