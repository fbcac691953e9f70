"""The main job, end to end, on the default data set."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import omicsfm as ofm
from omicsfm import InputError
from omicsfm._progress import progress
from omicsfm.cli._common import tell
from omicsfm.tl._store import put_embedding, put_imputation, put_labels

if TYPE_CHECKING:
    from mudata import MuData

    from omicsfm.bench import Results

DATASET = "pbmc_mosaic"
_OURS = {"report.html", "mosaic.h5mu", "model", "results.parquet"}
_N_STAGES = 6


@contextmanager
def _stage(number: int, words: str) -> Iterator[None]:
    tell(f"[{number}/{_N_STAGES}] {words}")
    start = time.perf_counter()
    yield
    tell(f"      {time.perf_counter() - start:.1f} s")


def _check_target(out: Path, *, force: bool) -> None:
    """Let only what an earlier demo wrote be replaced.

    Raises
    ------
    InputError
        If something else is there.
    """
    if not out.exists():
        return
    names = {entry.name for entry in out.iterdir()} if out.is_dir() else None
    if names is None or (names and not {"mosaic.h5mu", "model", "results.parquet"} <= names):
        raise InputError(f"demo: '{out}' was not written by a demo and is never replaced. Fix: pass another --out.")
    others = sorted(names - _OURS)
    if others and not force:
        raise InputError(
            f"demo: '{out}' holds other things than a demo's, such as '{others[0]}'. "
            "Fix: pass another --out, or --force to lose them."
        )


def _impute_missing(model: ofm.models.LinearMosaic, mdata: MuData) -> None:
    """Predict each modality for the cells that lack it; the measured ones are left alone."""
    mask = ofm.modality_mask(mdata)
    for modality in progress(list(mask.columns), desc="impute"):
        lacking = ofm.contract.subset(mdata, (~mask[modality]).to_numpy())
        put_imputation(mdata, modality, model.impute(lacking, modality))


def demo(out: Path, *, force: bool = False) -> Results:
    """Run the main job on real data and write it into a folder, whole or not at all.

    Parameters
    ----------
    out
        The folder.
    force
        Replace a demo's folder to which other files were added.

    Returns
    -------
    The benchmark's results.
    """
    _check_target(out, force=force)
    with ofm.io.atomic(out) as folder:
        folder.mkdir()
        with _stage(1, f"fetch and check the data set {DATASET}"):
            mdata = ofm.datasets.load(DATASET)
            ofm.setup(mdata, batch_key="batch", label_key="celltype")
        with _stage(2, f"fit the mosaic model on {mdata.n_obs:,} cells"):
            model = ofm.models.LinearMosaic(seed=0).fit(mdata)
            model.save(folder / "model")
        with _stage(3, "embed and label all cells"):
            mean, sd = model.embed(mdata, return_sd=True)
            put_embedding(mdata, mean, sd)
            put_labels(mdata, model.annotate(mdata))
        with _stage(4, "impute what was not measured, with intervals"):
            _impute_missing(model, mdata)
            ofm.io.write(mdata, folder / "mosaic.h5mu")
        with _stage(5, "score on held-out donors, against baselines"):
            results = ofm.bench.run(suite="quick", out=folder / "results.parquet")
        with _stage(6, "write the report"):
            ofm.report.build(results, folder / "report.html")
    return results
