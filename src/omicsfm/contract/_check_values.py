"""Violations of X: each recipe's numbers, with the most likely cause named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from anndata import AnnData

from omicsfm.contract._recipes import COUNTS, RECIPES
from omicsfm.contract._types import Violation
from omicsfm.contract._values import Scan, scan


def _declare(mod: str, recipe: str) -> str:
    return f'ofm.setup(mdata, modalities={{"{mod}": "{recipe}"}})'


def _is_counts(X: object) -> bool:
    found = scan(X)
    return found.counts and found.high > 1  # zeros and ones are a flag, not counts


def _where_counts_are(mod: str, adata: AnnData) -> str | None:
    """Find raw counts kept elsewhere in the modality; give the line that puts them into X."""
    layers: Mapping[str | None, Any] = adata.layers
    for name, layer in layers.items():
        # anndata 0.13 lists X itself as the layer None
        if name is not None and layer.dtype.kind in "biuf" and _is_counts(layer):
            return f'mdata.mod["{mod}"].X = mdata.mod["{mod}"].layers["{name}"].copy()'
    if adata.raw is not None and adata.raw.shape == adata.shape and _is_counts(adata.raw.X):
        return f'mdata.mod["{mod}"].X = mdata.mod["{mod}"].raw.X.copy()'
    return None


def _fractional(mod: str, adata: AnnData, found: Scan) -> Violation:
    text = f"counts are needed, found fractions in {found.n_fractional} entries, such as {found.fractional:.6g}"
    if found.log_like:
        text += " (it looks log1p-normalised)"
    elif found.n_negative:
        text += " (with the negative ones it looks scaled)"
    counts = _where_counts_are(mod, adata)
    if counts is not None:
        fix = f"the raw counts are kept beside it: {counts}"
    elif found.log_like or found.n_negative:
        fix = f'put the raw counts into X (look for layers["counts"] or .raw), or {_declare(mod, "continuous")}'
    else:
        fix = f"round estimated counts with numpy.rint, or {_declare(mod, 'continuous')}"
    return Violation(mod, "X", text, fix)


def _count_violations(mod: str, adata: AnnData, found: Scan) -> Iterator[Violation]:
    if found.n_nan or found.n_inf:
        yield Violation(
            mod,
            "X",
            f"counts are needed, found {found.n_nan} NaN and {found.n_inf} infinite entries",
            "leave out of the modality the cells it was not measured in; features not measured in a batch hold 0 and "
            'are declared in varm["measured"] (ofm.concat does this)',
        )
    if found.n_fractional:
        yield _fractional(mod, adata, found)
    elif found.n_negative:
        yield Violation(
            mod,
            "X",
            f"counts are needed, found {found.n_negative} negative entries, such as {found.negative:.6g}",
            f"put the raw counts into X, or {_declare(mod, 'continuous')}",
        )


def _fraction_violations(mod: str, found: Scan) -> Iterator[Violation]:
    if not (found.n_inf or found.low < 0 or found.high > 1):
        return
    if found.n_inf or found.low < 0:
        fix = f"M-values: beta = 2**m / (2**m + 1), or {_declare(mod, 'continuous')}"
    elif found.high <= 100:
        fix = "percent: divide X by 100"
    else:
        fix = "counts: divide the methylated reads by all reads, NaN where there are none"
    text = f"methylation needs fractions between 0 and 1 (or NaN), found {found.low:.6g} to {found.high:.6g}"
    yield Violation(mod, "X", text, fix)


def check_values(mod: str, adata: AnnData, recipe: str | None) -> tuple[list[Violation], list[str]]:
    """Check X of one modality; `recipe` None (unknown) is reported elsewhere and only the kind of matrix is looked at.

    Returns
    -------
    Violations and notes.
    """
    X: Any = adata.X
    if X is None:
        return [Violation(mod, "X", "there is no X", "put the raw values into X")], []
    dtype = np.dtype(X.dtype)
    if dtype.kind not in "biuf":
        return [Violation(mod, "X", f"needed numbers, found dtype {dtype}", "X = X.astype('float32')")], []
    if recipe not in RECIPES or 0 in adata.shape:
        return [], []
    found = scan(X)
    notes = []
    if found.empty_rows:
        kind = "zeros" if recipe in COUNTS else "zeros or NaN"
        notes.append(f"{mod}: {found.empty_rows} measured cells hold nothing but {kind}; they count as measured")
    if recipe in COUNTS:
        return list(_count_violations(mod, adata, found)), notes
    if recipe == "methylation":
        return list(_fraction_violations(mod, found)), notes
    if found.n_inf:
        fix = "set them to NaN (not measured) or to the largest finite value"
        return [Violation(mod, "X", f"found {found.n_inf} infinite entries", fix)], notes
    return [], notes
