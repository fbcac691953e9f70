"""Data of the report's pictures, small enough to travel with the results."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from mudata import MuData

from omicsfm import contract, metrics
from omicsfm.models import Imputation

MAX_CELLS = 5000
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
    """Lay out the states of at most 5,000 cells in two dimensions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap-learn warns about its own threads and its missing tensorflow
        from umap import UMAP

        keep = np.sort(np.random.default_rng(seed).permutation(mdata.n_obs)[:MAX_CELLS])
        n_neighbors = min(15, len(keep) - 1)
        # Exact neighbours, the cell itself first: umap-learn's own search would be compiled first, for seconds.
        near = metrics.neighbors(state_nk[keep], n_neighbors - 1)
        itself = np.arange(len(keep))[:, None]
        known = (
            np.hstack([itself, near.indices]),
            np.hstack([np.zeros((len(keep), 1)), near.distances]).astype(np.float32),
            None,
        )
        layout = UMAP(n_neighbors=n_neighbors, min_dist=0.3, random_state=seed, n_jobs=1, precomputed_knn=known)
        xy = layout.fit_transform(state_nk[keep])
    mask = contract.modality_mask(mdata).iloc[keep]
    label = contract.labels(mdata).iloc[keep].fillna("unlabelled") if contract.keys(mdata).label else None
    return {
        "x": [round(float(v), 3) for v in xy[:, 0]],
        "y": [round(float(v), 3) for v in xy[:, 1]],
        "batch": contract.batches(mdata).astype(str).iloc[keep].tolist(),
        "label": ["unlabelled"] * len(keep) if label is None else label.astype(str).tolist(),
        "subset": [" + ".join(m for m in mask.columns if row[m]) for _, row in mask.iterrows()],
    }


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
