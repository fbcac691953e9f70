"""Fit time and memory against the number of cells: `python benchmarks/scaling.py` (about a minute, 3 GB).

Synthetic tokens: 50 per modality, two modalities, two batches, a quarter of the cells lacking each modality. Time is
that of LinearMosaic.fit on given tokens, decoders and calibration included.
"""

from __future__ import annotations

import threading
import time

import anndata as ad
import numpy as np
import pandas as pd
import psutil
from _common import GOAL, table  # first: it sets the threads
from mudata import MuData

import omicsfm as ofm
from omicsfm import contract
from omicsfm.pp import Tokenizer, Tokens

SIZES = (10_000, 100_000, 1_000_000)


class Peak:
    """Largest resident memory while the block ran, above what it was before, in MB."""

    def __enter__(self) -> Peak:
        """Start sampling."""
        self._process = psutil.Process()
        self._start = self._most = self._process.memory_info().rss
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self._most = max(self._most, self._process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        """Stop sampling."""
        self._done.set()
        self._thread.join()
        self.added = (self._most - self._start) / 1e6


def simulate(n: int) -> tuple[MuData, Tokens, Tokenizer]:
    """Give a MuData whose measurements are its tokens, those tokens, and a tokenizer that knows their scale."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((n, 15), dtype=np.float32)
    names = np.char.add("cell", np.arange(n).astype(str))
    values, mods = {}, {}
    for i, mod in enumerate(("rna", "protein")):
        rows = np.flatnonzero(np.arange(n) % 4 != i)
        loading = rng.standard_normal((15, 50), dtype=np.float32)
        values[mod] = z[rows] @ loading + rng.standard_normal((len(rows), 50), dtype=np.float32)
        mods[mod] = ad.AnnData(
            values[mod], obs=pd.DataFrame(index=names[rows]), var=pd.DataFrame(index=[f"{mod}{j}" for j in range(50)])
        )
    del z
    mdata = MuData(mods)
    mdata.obs["batch"] = np.where(np.arange(mdata.n_obs) % 2, "a", "b")
    ofm.setup(mdata, batch_key="batch", modalities={"rna": "continuous", "protein": "continuous"})
    tokenizer = Tokenizer(50).fit(contract.subset(mdata, np.arange(mdata.n_obs) < 5000))
    rows_of = {mod: contract.rows(mdata, mod) for mod in values}
    return mdata, Tokens(values, rows_of, mdata.obs_names, mdata.obs["batch"].to_numpy(dtype=str)), tokenizer


def main() -> None:
    """Fit at three sizes and print the table."""
    rows, seconds = [], {}
    for n in SIZES:
        mdata, tokens, tokenizer = simulate(n)
        size = sum(x.nbytes for x in tokens.values.values()) / 1e6
        start = time.perf_counter(), time.process_time()
        with Peak() as peak:
            model = ofm.models.LinearMosaic().fit(mdata, tokenizer=tokenizer, tokens=tokens)
        seconds[n] = time.perf_counter() - start[0]
        cpu = time.process_time() - start[1]
        rows.append([f"{n:,}", seconds[n], cpu, 1e6 * seconds[n] / n, size, peak.added, (size + peak.added) / size])
        del model, mdata, tokens
    table(
        "LinearMosaic.fit on given tokens",
        ["cells", "wall s", "CPU s", "us per cell", "tokens MB", "added MB", "(tokens + added) / tokens"],
        rows,
    )
    growth = seconds[1_000_000] / seconds[100_000]
    table(
        "Goals",
        ["", "found", ""],
        [
            ["1,000,000 cells <= 60 s", seconds[1_000_000], GOAL[seconds[1_000_000] <= 60]],
            ["linear: 10x the cells cost <= 12x", growth, GOAL[growth <= 12]],
            ["memory <= 3x the tokens, at 1,000,000", rows[-1][-1], GOAL[rows[-1][-1] <= 3]],
        ],
    )


if __name__ == "__main__":
    main()
