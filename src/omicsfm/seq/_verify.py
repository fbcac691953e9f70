"""Whether the embeddings in a file are still what their provenance says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from omicsfm._errors import InputError
from omicsfm.seq._embedders import embed_sequences, embedder
from omicsfm.seq._provenance import code_sha256, manifests
from omicsfm.seq.genome import Genome

_TOLERANCE = 1e-4  # of the largest value of a column: what other processors and libraries may change
_FLOOR = 1e-3  # of the largest value of all, for columns that are next to nothing


def verify_embeddings(
    adata: ad.AnnData, genome: str | os.PathLike[str] | Genome, *, key: str | None = None
) -> pd.DataFrame:
    """Check recorded embeddings: the stored values against their probe, and against embedding some features anew.

    Parameters
    ----------
    adata
        One modality, as it was read from a file; features may have been left out or reordered.
    genome
        The FASTA that the embeddings were made from, or a :class:`Genome`.
    key
        Key of ``varm``; default every one that is recorded.

    Returns
    -------
    DataFrame, one row per key: `model`, `n_probed` features compared with the probe, `n_recomputed` features embedded
    anew (0 for a permuted control, which has no DNA of its own), `deviation` (the largest absolute one), `same_code`
    (whether the source of the model is unchanged; where it is not, equal values are enough).

    Raises
    ------
    InputError
        If there is none, the genome is another, or values differ; it names every key that fails.
    """
    known = manifests(adata)
    if not known or (key is not None and key not in known):
        raise InputError(
            f"seq.verify_embeddings: no embedding {'' if key is None else repr(key) + ' '}is recorded, found "
            f"{list(known) or 'none'}. Fix: make it by seq.embed."
        )
    opened = genome if isinstance(genome, Genome) else Genome(genome)
    rows, faults = {}, []
    for name in sorted(known) if key is None else [key]:
        rows[name], fault = _verify(adata, name, known[name], opened)
        faults += [f"varm[{name!r}]: {fault}"] if fault else []
    if faults:
        raise InputError(
            f"seq.verify_embeddings: {len(faults)} of {len(rows)} embeddings are not what was recorded: "
            f"{'; '.join(faults)}. Fix: make them anew by seq.embed(..., overwrite=True)."
        )
    return pd.DataFrame.from_dict(rows, orient="index")


def _verify(
    adata: ad.AnnData, key: str, manifest: Mapping[str, Any], genome: Genome
) -> tuple[dict[str, Any], str | None]:
    """Give the row of the report, and in words what is wrong."""
    made = embedder(str(manifest["model"]))
    report: dict[str, Any] = {
        "model": made.name,
        "n_probed": 0,
        "n_recomputed": 0,
        "deviation": 0.0,
        "same_code": code_sha256(made) == manifest["code_sha256"],
    }
    if key not in adata.varm:
        return report, "it is gone"
    for fact, recorded in manifest["facts"].items():
        if fact.endswith("_sha256") and made.facts.get(fact) != recorded:
            return report, f"its {fact} is {made.facts.get(fact)}, and {recorded} was recorded"
    if genome.sha256 != manifest["genome"]["fasta_sha256"]:
        return report, f"it was made from another genome, {manifest['genome']['name']}, than '{genome.name}'"
    probe = manifest["probe"]
    at = adata.var_names.get_indexer(pd.Index(np.asarray(probe["names"], dtype=object)))
    kept = at >= 0
    faults = []
    compared = [("the stored probe holds", at[kept], _dense(probe["values"])[kept])]
    if "control" not in manifest:
        rows = np.unique([*at[kept], *np.linspace(0, adata.n_vars - 1, len(at)).astype(int)])[: adata.n_vars]
        window = manifest["window"]
        width = int(window["width"]) if "width" in window else None
        sequences = genome.fetch(adata.var.iloc[rows], width=width, pad=bool(window["pad"]))
        compared.append(("its model computes now", rows, _dense(embed_sequences(sequences, made))))
        report["n_recomputed"] = len(rows)
    report["n_probed"] = int(kept.sum())
    for what, rows, wanted in compared:
        found = _dense(adata.varm[key][rows])
        if found.shape != wanted.shape:
            return report, f"it has {found.shape[1]} columns; {what} {wanted.shape[1]}"
        apart, size = np.abs(found - wanted), np.abs(wanted)
        scale = np.maximum(size.max(axis=0, initial=0.0), _FLOOR * size.max(initial=0.0))
        report["deviation"] = max(report["deviation"], float(apart.max(initial=0.0)))
        if not (apart <= _TOLERANCE * scale).all():
            faults.append(f"by {apart.max():.3g} from what {what}")
    return report, f"it differs {', and '.join(faults)}" if faults else None


def _dense(values: Any) -> np.ndarray:
    return np.asarray(values.toarray() if sparse.issparse(values) else values, dtype=np.float64)
