"""Figures of the gallery, drawn by the code that its page shows, from real data."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import _blocks

import omicsfm


def draw(page: Path, target: Path) -> None:
    """Run a page, and keep the figures that it saves.

    Parameters
    ----------
    page
        The page; its blocks save figures by names without a folder.
    target
        Folder of the figures; nothing is done where it holds figures newer than the page and the package's figures.
    """
    drawn = sorted(target.glob("*.png"))
    sources = [page, *Path(omicsfm.__file__).parent.joinpath("pl").glob("*.py")]
    if drawn and min(p.stat().st_mtime for p in drawn) > max(p.stat().st_mtime for p in sources):
        return
    os.environ["MPLBACKEND"] = "Agg"
    data = page.parents[2] / "shared" / "data"
    if data.is_dir():
        os.environ.setdefault("OMICSFM_DATA", str(data))
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            _blocks.run_page(page)
        finally:
            os.chdir(before)
        target.mkdir(parents=True, exist_ok=True)
        for figure in sorted(Path(folder).glob("*.png")):
            shutil.copy(figure, target)
