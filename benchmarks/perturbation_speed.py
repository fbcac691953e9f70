"""Speed of the work on a perturbation screen: `python benchmarks/perturbation_speed.py` (2 minutes, 1 GB).

Synthetic: 20,000 cells x 2,000 genes, 33 % of entries not zero, 100 perturbations of 180 cells and 2,000 controls;
distances in 50 dimensions. One thread. Each job runs in a process of its own, what compiles once before it is timed.
Peers that cannot be imported are left out; ``--peers`` names a Python that has them (pertpy adds 3 minutes, 7 GB).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

DE, DISTANCE, METRICS = "differential expression", "all-pairs E-distance", "metric set"
OURS = "omicsfm"


def labels() -> np.ndarray:
    return np.array(["control"] * 2000 + [f"p{i:03d}" for i in range(100) for _ in range(180)])


def expression() -> sparse.csr_matrix:
    """Log-normalised counts; each perturbation doubles 40 genes."""
    rng = np.random.default_rng(0)
    mean = rng.gamma(0.5, 1.0, 2000)
    mean = np.minimum(0.26 * mean / np.median(mean), 5)
    effect = np.ones((101, 2000))
    for i in range(1, 101):
        effect[i, rng.choice(2000, 40, replace=False)] = 2
    group = np.r_[np.zeros(2000, dtype=int), np.repeat(np.arange(1, 101), 180)]
    depth = rng.lognormal(0, 0.3, 20_000)
    blocks = [
        sparse.csr_matrix(rng.poisson(mean * effect[group[rows]] * depth[rows, None]).astype(np.float32))
        for rows in np.array_split(np.arange(20_000), 20)
    ]
    x = sparse.vstack(blocks).tocsr()
    x.data *= np.repeat(1e4 / np.asarray(x.sum(axis=1)).ravel(), np.diff(x.indptr)).astype(np.float32)
    return x.log1p()


def components() -> np.ndarray:
    rng = np.random.default_rng(0)
    shift = np.r_[np.zeros((1, 50)), rng.normal(0, 0.2, (100, 50))]
    group = np.r_[np.zeros(2000, dtype=int), np.repeat(np.arange(1, 101), 180)]
    return rng.normal(size=(20_000, 50)) + shift[group]


def screen() -> Any:
    """Give an AnnData of the expression with the labels in `obs["condition"]`."""
    import anndata as ad
    import pandas as pd

    obs = pd.DataFrame({"condition": pd.Categorical(labels())}, index=np.arange(20_000).astype(str))
    adata = ad.AnnData(expression(), obs=obs)
    adata.uns["log1p"] = {"base": None}
    return adata


def de_omicsfm() -> Callable[[], Any]:
    from omicsfm.metrics._rank_sum import rank_sum

    x, groups = expression(), labels()
    return lambda: rank_sum(x, groups, reference="control")


def de_illico() -> Callable[[], Any]:
    from illico import asymptotic_wilcoxon

    adata = screen()
    return lambda: asymptotic_wilcoxon(adata, group_keys="condition", reference="control", is_log1p=True, n_threads=1)


def de_scanpy() -> Callable[[], Any]:
    import scanpy as sc

    adata = screen()
    return lambda: sc.tl.rank_genes_groups(adata, "condition", method="wilcoxon", reference="control", tie_correct=True)


def distance_omicsfm() -> Callable[[], Any]:
    import torch

    from omicsfm.metrics._e_distance import e_distance

    torch.set_num_threads(1)
    x, groups = components(), labels()
    return lambda: e_distance(x, groups)


def distance_pertpy() -> Callable[[], Any]:
    import anndata as ad
    import pandas as pd
    import pertpy as pt

    obs = pd.DataFrame({"condition": pd.Categorical(labels())}, index=np.arange(20_000).astype(str))
    adata = ad.AnnData(np.zeros((20_000, 1), dtype=np.float32), obs=obs, obsm={"X_pca": components()})
    return lambda: pt.tl.Distance("edistance", obsm_key="X_pca").pairwise(adata, groupby="condition")


def metric_set() -> Callable[[], Any]:
    """Test genes and measure distances to the controls, in observed cells and in as many predicted ones."""
    import torch

    from omicsfm.metrics._e_distance import e_distance
    from omicsfm.metrics._mmd import mmd
    from omicsfm.metrics._rank_sum import rank_sum

    torch.set_num_threads(1)
    x, points, groups = expression(), components(), labels()

    def work() -> None:
        for _ in ("observed", "predicted"):
            rank_sum(x, groups, reference="control")
            e_distance(points, groups, reference="control")
            mmd(points, groups, reference="control")

    return work


# Job, who does it, what prepares it.
JOBS: list[tuple[str, str, Callable[[], Callable[[], Any]]]] = [
    (DE, OURS, de_omicsfm),
    (DE, "illico", de_illico),
    (DE, "scanpy", de_scanpy),
    (DISTANCE, OURS, distance_omicsfm),
    (DISTANCE, "pertpy", distance_pertpy),
    (METRICS, OURS, metric_set),
]


def run(i: int) -> None:
    """Time one job in this process and print the numbers."""
    warnings.simplefilter("ignore")
    _, who, prepare = JOBS[i]
    try:
        work = prepare()
    except ImportError:
        return print("null")
    if who in (OURS, "illico"):
        work()
    start = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
    print(json.dumps([wall, cpu, peak]))


def main() -> None:
    """Run all jobs and print the tables."""
    from _common import GOAL, table  # sets the threads, also of the jobs

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", default=sys.executable, help="Python that has illico, scanpy and pertpy")
    peers = parser.parse_args().peers
    rows: list[list[object]] = []
    cpu = {}  # with one thread the wall time of a machine that does nothing else
    for i, (job, who, _) in enumerate(JOBS):
        done = subprocess.run(
            [sys.executable if who == OURS else peers, __file__, "--job", str(i)],
            env=os.environ | {"NUMBA_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        rows.append([job, who, *(found or ["cannot be imported", "", ""])])
        if found:
            cpu[job, who] = found[1]
    table("20,000 cells x 2,000 genes, 101 groups", ["job", "by", "wall s", "CPU s", "peak GB"], rows)
    limits = {DE: 2 * cpu.get((DE, "illico"), 1.6), DISTANCE: 3.0, METRICS: 15.0}
    goals = [
        [f"{job} <= {limit:.1f} s", cpu[job, OURS], GOAL[cpu[job, OURS] <= limit]] for job, limit in limits.items()
    ]
    table("Goals", ["", "CPU s", ""], goals)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        run(int(sys.argv[2]))
    else:
        main()
