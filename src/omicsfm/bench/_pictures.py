"""Data of the report's pictures, small enough to travel with the results."""

from __future__ import annotations

from typing import Any

import numpy as np
from mudata import MuData

from omicsfm import contract, metrics
from omicsfm.models import Imputation
from omicsfm.tl._layout import umap_layout

MAX_POINTS = 3000


def mask_picture(name: str, mdata: MuData) -> dict[str, Any]:
    """Say how many cells of each batch were measured in which modalities."""
    mask = contract.modality_mask(mdata)
    batch = contract.batches(mdata).astype(str)
    count = mask.groupby([batch.to_numpy(), *(mask[m].to_numpy() for m in mask.columns)]).size()
    groups = [
        {"batch": key[0], "n": int(n), "measured": [m for m, has in zip(mask.columns, key[1:], strict=True) if has]}
        for key, n in count.items()
    ]
    return {"dataset": name, "modalities": list(mask.columns), "groups": groups}


def umap_picture(mdata: MuData, state_nk: np.ndarray, *, seed: int) -> dict[str, Any]:
    """Lay out the states in two dimensions, and tell donor, type and modalities of each cell."""
    keep, xy = umap_layout(state_nk, seed=seed)
    label = contract.labels(mdata).iloc[keep].fillna("unlabelled") if contract.keys(mdata).label else None
    return {
        "x": [round(float(v), 3) for v in xy[:, 0]],
        "y": [round(float(v), 3) for v in xy[:, 1]],
        "batch": contract.batches(mdata).astype(str).iloc[keep].tolist(),
        "label": ["unlabelled"] * len(keep) if label is None else label.astype(str).tolist(),
        "subset": measured_sets(mdata)[keep].tolist(),
    }


def measured_sets(mdata: MuData) -> np.ndarray:
    """Name the modalities that each cell was measured in, (n_obs,)."""
    mask = contract.modality_mask(mdata)
    names = mask.columns.to_numpy(dtype=object)
    return np.array([" + ".join(names[row]) for row in mask.to_numpy()], dtype=object)


def imputation_picture(
    target: str, scale: str, answers: list[tuple[Imputation, np.ndarray, Any]], *, seed: int
) -> dict[str, Any]:
    """Show observed against predicted values of held-out donors, and how often intervals held the truth.

    Parameters
    ----------
    answers
        Per held-out donor: the imputation, the observed values (NaN where not measured), and labels or None.
    """
    mean = np.vstack([a.mean.to_numpy() for a, _, _ in answers])
    lower = np.vstack([a.lower.to_numpy() for a, _, _ in answers])
    upper = np.vstack([a.upper.to_numpy() for a, _, _ in answers])
    truth = np.vstack([t for _, t, _ in answers])
    seen = ~np.isnan(truth)
    inside = (truth >= lower) & (truth <= upper)
    points = np.flatnonzero(seen.ravel())
    points = np.random.default_rng(seed).permutation(points)[:MAX_POINTS]
    by_label = []
    if all(label is not None for _, _, label in answers):
        label = np.concatenate([np.asarray(found, dtype=str) for _, _, found in answers])
        for name in np.unique(label):
            rows = label == name
            by_label.append(
                {"label": str(name), "n": int(rows.sum()), "coverage": float(inside[rows][seen[rows]].mean())}
            )
    # Correlation within each donor, then averaged, as in the table: a shift between donors is no skill.
    pearson = np.nanmean(
        [metrics.pearson_per_feature(t, a.mean.to_numpy(), constant_prediction=0.0) for a, t, _ in answers], axis=0
    )
    return {
        "modality": target,
        "scale": scale,
        "observed": [round(float(v), 3) for v in truth.ravel()[points]],
        "predicted": [round(float(v), 3) for v in mean.ravel()[points]],
        "level": answers[0][0].level,
        "coverage": float(inside[seen].mean()),
        "by_label": by_label,
        "by_feature": [
            {"feature": str(f), "pearson": float(r), "coverage": float(inside[seen[:, j], j].mean())}
            for j, (f, r) in enumerate(zip(answers[0][0].mean.columns, pearson, strict=True))
            if seen[:, j].any() and not np.isnan(r)
        ],
    }
