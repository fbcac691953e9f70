"""Other people's models under the contract of this package."""

from __future__ import annotations

from omicsfm.models.external.biolord import Biolord
from omicsfm.models.external.gears import GEARS
from omicsfm.models.external.glue import GLUE
from omicsfm.models.external.midas import MIDAS
from omicsfm.models.external.mofa import MOFA
from omicsfm.models.external.multi_spectral import MultiSpectral
from omicsfm.models.external.multivi import MultiVI
from omicsfm.models.external.muon_wnn import MuonWNN as WNN
from omicsfm.models.external.peakvi import PeakVI
from omicsfm.models.external.scanvi import ScANVI
from omicsfm.models.external.scgen import ScGen
from omicsfm.models.external.totalvi import TotalVI

__all__ = [
    "GEARS",
    "GLUE",
    "MIDAS",
    "MOFA",
    "WNN",
    "Biolord",
    "MultiSpectral",
    "MultiVI",
    "PeakVI",
    "ScANVI",
    "ScGen",
    "TotalVI",
]
