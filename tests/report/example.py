"""Made-up results in the shape of a real run: the values are plausible, and test-only."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from omicsfm.bench.stats import holm, paired_bootstrap
from omicsfm.bench.verdict import verdict
from omicsfm.metrics import METRICS

METHOD = "LinearMosaic"
# task -> (unit, how many units, CPU seconds by method, metric -> mean by method)
_TASKS: dict[str, Any] = {
    "integration": (
        "cell",
        120,
        {METHOD: 1.4, "CCA": 0.31, "ModalityPCA": 0.12, "ScaledConcat": 0.2, "WNN": 0.9},
        {
            "foscttm": (0.064, 0.073, 0.31, 0.2, 0.22),
            "label_transfer_accuracy": (0.941, 0.934, 0.52, 0.71, 0.8),
            "knn_accuracy_cross_donor": (0.921, 0.915, 0.923, 0.902, 0.921),
            "ilisi": (0.70, 0.66, 0.52, 0.55, 0.79),
            "clisi": (0.985, 0.982, 0.99, 0.98, 0.986),
            "graph_connectivity": (0.95, 0.94, 0.93, 0.90, 0.951),
            "nmi": (0.72, 0.70, 0.71, 0.66, 0.70),
        },
    ),
    "imputation": (
        "feature",
        60,
        {METHOD: 1.9, "Mean": 0.01, "kNN": 0.4, "Ridge": 0.25, "Mean of kNN and ridge": 0.66, "KernelRidge": 3.4},
        {
            "pearson_per_feature": (0.391, 0.0, 0.371, 0.381, 0.388, 0.386),
            "rmse_per_feature": (0.52, 0.61, 0.53, 0.525, 0.521, 0.523),
            "coverage_error": (0.02, 0.03, 0.06, 0.05, 0.045, 0.05),
            "interval_coverage": (0.905, 0.93, 0.84, 0.86, 0.87, 0.85),
        },
    ),
    "annotation": (
        "cell",
        150,
        {METHOD: 1.5, "Majority": 0.01, "LogisticRegression": 0.8, "kNN": 0.3},
        {
            "accuracy": (0.93, 0.32, 0.945, 0.92),
            "macro_f1": (0.81, 0.06, 0.84, 0.77),
            "expected_calibration_error": (0.03, 0.1, 0.05, 0.06),
        },
    ),
}
_NOISE = {"cell": 0.12, "feature": 0.06}


def results(*, hostile: bool = False) -> SimpleNamespace:
    """Give an object with the fields of omicsfm.bench.Results; `hostile` puts HTML into every kind of name."""
    rng = np.random.default_rng(0)
    bad = "<script>alert('x')</script>&\"" if hostile else ""
    rows, verdicts = [], []
    for task, (unit, n_units, costs, metrics) in _TASKS.items():
        names = [f"{name}{bad}" for name in costs]
        for metric, levels in metrics.items():
            shared = rng.normal(0, _NOISE[unit], (2, n_units))
            values = {
                n: level + shared + rng.normal(0, 0.02, shared.shape) for n, level in zip(names, levels, strict=True)
            }
            for name, cpu in zip(names, costs.values(), strict=True):
                for seed in range(2):
                    for split, donor in enumerate(("p3_0", "p4_0")):
                        rows.append(
                            {
                                "task": task,
                                "dataset": f"pbmc_mosaic{bad}",
                                "method": name,
                                "seed": seed,
                                "split": f"held out {donor}{bad}",
                                "unit": f"{unit} {donor}{bad}",
                                "metric": metric,
                                "value": float(values[name][split].mean()) + 1e-3 * seed,
                                "n": n_units,
                                "wall_s": cpu * 1.1,
                                "cpu_s": cpu * (1 + 0.1 * seed),
                                "peak_rss_mb": 512.0,
                                "peak_gpu_mb": float("nan"),
                                "flops": float("nan"),
                                "kwh": float("nan"),
                            }
                        )
            fact = METRICS[metric]
            if fact.higher_is_better is None:
                continue
            sign = 1 if fact.higher_is_better else -1
            best = max(names[1:], key=lambda n: sign * values[n].mean())
            comparison = paired_bootstrap(
                values[names[0]].ravel(),
                values[best].ravel(),
                units=np.repeat(["p3_0", "p4_0"], n_units),
                unit_name="donors",
                member_name=f"{unit}s",
            )
            verdicts.append(
                (task, metric, names[0], best, comparison, costs[METHOD] / list(costs.values())[names.index(best)])
            )
    adjusted = holm([v[4].p for v in verdicts])
    table = []
    for (task, metric, method, best, comparison, ratio), p in zip(verdicts, adjusted, strict=True):
        told = verdict(
            comparison,
            method=method,
            baseline=best,
            higher_is_better=bool(METRICS[metric].higher_is_better),
            metric=metric,
            cost_ratio=ratio,
            p_adjusted=float(p),
        )
        favours = {"beats": "method", "loses": "baseline"}.get(told.outcome, "neither")
        table.append(
            {
                "task": task,
                "dataset": f"pbmc_mosaic{bad}",
                "metric": metric,
                "method": method,
                "baseline": best,
                "difference": comparison.difference,
                "lower": comparison.low,
                "upper": comparison.high,
                "p": comparison.p,
                "p_holm": float(p),
                "n_units": comparison.n_units,
                "covers": comparison.covers,
                "cost_ratio": ratio,
                "favours": favours,
                "words": told.text,
            }
        )
    return SimpleNamespace(
        table=pd.DataFrame(rows),
        verdicts=pd.DataFrame(table),
        audit=_audit(bad),
        meta=_meta(bad),
        pictures=_pictures(rng, bad),
    )


def _audit(bad: str) -> pd.DataFrame:
    checks = [
        ("integration", "held out p3_0", "pairing hidden", "no training cell shares a name with a test cell", True),
        ("imputation", "held out p3_0", "target hidden", "protein of p3_0 was absent in training", True),
        ("annotation", "held out p4_0", "duplicated cells", f"2 cells have identical counts{bad}", False),
    ]
    columns = ["task", "split", "check", "found", "ok"]
    return pd.DataFrame(checks, columns=columns).assign(dataset=f"pbmc_mosaic{bad}")


def _meta(bad: str) -> dict[str, Any]:
    return {
        "suite": "quick",
        "seeds": [0, 1],
        "versions": {"omicsfm": "0.1.0.dev0", "anndata": "0.12.19", "mudata": "0.3.10", "numpy": "2.4.6"},
        "python": "3.11.7",
        "machine": "Linux x86_64, 2 cores",
        "data": {f"pbmc_mosaic{bad}": "ba7e65819b77dca7cae0473043893a471920e25a07ee08bc91b3eb9fcc2e1cdd"},
        "started": "2026-11-22T18:25:26+00:00",
        "wall_s": 61.3,
        "command": f'omicsfm.bench.run(suite="quick", out="results.parquet"){bad}',
        "limits": [
            f"Two held-out donors: nothing here speaks about new donors.{bad}",
            "Labels come from the published annotation, which was made with both modalities.",
        ],
    }


def _pictures(rng: np.random.Generator, bad: str) -> dict[str, Any]:
    types = ["CD4 T", "Mono", "CD8 T", "NK", "B", "other T", "DC", f"other{bad}"]
    share = np.array([506, 438, 264, 154, 108, 78, 29, 23])
    label = np.repeat(types, share)
    centre = rng.normal(0, 6, (8, 2))
    points = centre[np.repeat(np.arange(8), share)] + rng.normal(0, 1, (1600, 2))
    donors = rng.choice(["p1_0", "p2_0", "p3_0", f"p4_0{bad}"], 1600)
    subset = np.select([donors == "p1_0", donors == "p2_0"], ["rna", "protein"], "rna + protein")
    observed = np.abs(rng.normal(1, 0.8, 4000))
    by_label = [
        {"label": name, "n": int(n), "coverage": c}
        for name, n, c in zip(types, share, (0.91, 0.9, 0.89, 0.905, 0.92, 0.88, 0.84, 0.79), strict=True)
    ]
    return {
        "mask": {
            "dataset": f"pbmc_mosaic{bad}",
            "modalities": ["rna", f"protein{bad}"],
            "groups": [
                {"batch": "p1_0", "n": 400, "measured": ["rna"]},
                {"batch": "p2_0", "n": 400, "measured": [f"protein{bad}"]},
                {"batch": "p3_0", "n": 400, "measured": ["rna", f"protein{bad}"]},
                {"batch": f"p4_0{bad}", "n": 400, "measured": ["rna", f"protein{bad}"]},
            ],
        },
        "umap": {
            "x": points[:, 0].tolist(),
            "y": points[:, 1].tolist(),
            "batch": donors.tolist(),
            "label": [None if i % 200 == 0 else str(name) for i, name in enumerate(label)],
            "subset": subset.tolist(),
        },
        "imputation": {
            "modality": f"protein{bad}",
            "scale": "CLR",
            "observed": observed.tolist(),
            "predicted": (0.4 + 0.6 * observed + rng.normal(0, 0.4, 4000)).tolist(),
            "level": 0.9,
            "coverage": 0.902,
            "by_label": by_label,
            "by_feature": [
                {"feature": f"protein:CD{i}{bad}", "pearson": 0.9 - 0.03 * i, "coverage": 0.9} for i in range(30)
            ],
        },
    }
