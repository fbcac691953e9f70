"""What every test shares: one thread, no window, and the place of the real data."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# Before numpy, torch or numba are imported anywhere: two test processes share two cores.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

# The same examples in every run and no deadline per example: a busy machine is not a defect.
settings.register_profile("omicsfm", deadline=None, derandomize=True)
settings.load_profile("omicsfm")


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """Hold torch to one thread in the tests that have it loaded, without loading it for the others."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def omicsfm_data() -> Path:
    """Folder of the real test data: `$OMICSFM_DATA`, else ../shared/data beside the repository."""
    place = os.environ.get("OMICSFM_DATA")
    path = Path(place) if place else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"the real test data are not at {path}; set OMICSFM_DATA to their folder")
    return path
