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

# What takes long and is not a matter of the Python stack (pyproject.toml, marker `once`), under tests/.
ONCE = (
    "bench/test_response_picture.py",
    "bench/test_run.py",
    "cli/test_demo.py",  # CI runs the demo itself on both
    "docs/test_code_blocks.py",
    "explain/",
    "metrics/test_mixing.py",
    "metrics/test_rank_sum.py",
    "models/external/",
    "models/mosaic/",
    "models/response/",
    "models/responses/",
    "models/test_protocol.py",
    "nn/",
    "pp/test_priors.py",
    "seq/test_pretrained.py",
    "test_notebooks.py",
    "test_sequence_study.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that CI runs on its first stack alone."""
    for item in items:
        if item.path.relative_to(Path(__file__).parent).as_posix().startswith(ONCE):
            item.add_marker(pytest.mark.once)


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
