"""The DNA of features as vectors in ``varm``, with what must be known to trust them."""

from __future__ import annotations

import os
import re
import time
from typing import Any, Literal

import anndata as ad
import numpy as np
from scipy import sparse

from omicsfm._errors import InputError
from omicsfm.seq import _provenance
from omicsfm.seq._embedders import Embedder, embed_sequences, embedder
from omicsfm.seq.genome import Genome


def embed(
    adata: ad.AnnData,
    genome: str | os.PathLike[str] | Genome,
    model: str | Embedder = "kmer:4",
    *,
    key_added: str | None = None,
    width: int | None = None,
    pad: bool = False,
    control: Literal["permuted"] | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Embed the DNA of every feature, into ``varm`` and with its provenance.

    Parameters
    ----------
    adata
        One modality, such as ``mdata["atac"]``; only its ``varm`` and ``uns`` are changed. Its `var` holds intervals
        or the names of records, as in :meth:`Genome.fetch`.
    genome
        FASTA of the chromosomes or of the regions themselves, or a :class:`Genome`.
    model
        Such as ``"kmer:4"``; all in :func:`embedder`.
    key_added
        Key of ``varm``; default the model, ``"kmer_4"``.
    width, pad
        Of the windows, as in :meth:`Genome.fetch`.
    control
        "permuted": also write ``varm["<key>_permuted"]``, in which every feature has the vector of another. It looks as
        informative and has nothing to say; what it scores is to be shown beside what the embedding scores.
    seed
        Of the permutation.
    overwrite
        Replace what is under the key.

    Raises
    ------
    InputError
        If the key is taken, the genome does not fit, or the model is not known.

    Notes
    -----
    ``varm[key]`` is (n_vars, d), a CSR matrix where the model gives one (k-mers), of the dtype that the model gives.
    ``uns["omicsfm"]["embeddings"][key]`` records model, parameters, facts of weights, licence, SHA-256 of code and of
    genome, window, dtype, shape, seconds, versions and time, and the values of eight features, by which
    :func:`verify_embeddings` finds out whether the embedding is still the one that was computed.
    """
    made = embedder(model) if isinstance(model, str) else model
    key = key_added or key_of(made.name)
    keys = [key, f"{key}_permuted"][: 1 if control is None else 2]
    _check(adata, keys, control=control, overwrite=overwrite)
    opened = genome if isinstance(genome, Genome) else Genome(genome)
    wall, cpu = time.perf_counter(), time.process_time()
    blocks = opened.blocks(adata.var, width=width, pad=pad)
    values = _stack([embed_sequences(sequences, made) for _, sequences in blocks], made)
    cost = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    manifest: dict[str, Any] = {
        **_provenance.describe(made),
        "genome": {"name": opened.name, "fasta_sha256": opened.sha256},
        "window": {"pad": pad} | ({} if width is None else {"width": width}),
        "cost": cost,
    }
    adata.varm[key] = values
    _provenance.record(adata, key, manifest)
    if control is not None:
        adata.varm[keys[1]] = values[_derangement(adata.n_vars, seed)]
        _provenance.record(adata, keys[1], {**manifest, "control": control, "control_of": key, "seed": seed})


def key_of(model: str) -> str:
    """Give the key under which a model's embedding is stored if none is told."""
    return re.sub(r"[^\w.-]+", "_", model)


def _check(adata: Any, keys: list[str], *, control: str | None, overwrite: bool) -> None:
    if not isinstance(adata, ad.AnnData):
        raise InputError(
            f"seq.embed: one modality was needed, found {type(adata).__name__}. "
            'Fix: pass mdata["atac"], or another modality by its name.'
        )
    if not adata.var_names.is_unique:
        twice = adata.var_names[adata.var_names.duplicated()][0]
        raise InputError(f"seq.embed: names of features must be unique, found '{twice}' twice. Fix: rename one.")
    if adata.is_view:
        raise InputError("seq.embed: a view cannot be written to. Fix: pass a copy, adata[...].copy().")
    if control not in (None, "permuted"):
        raise InputError(f"seq.embed: control must be 'permuted' or None, found {control!r}. Fix: choose one.")
    if control is not None and adata.n_vars < 2:
        raise InputError("seq.embed: to permute, 2 features were needed. Fix: leave control out.")
    for key in keys:
        if "/" in key:
            raise InputError(f"seq.embed: keys must not hold '/', found {key!r}. Fix: write '_'.")
        if key in adata.varm and not overwrite:
            raise InputError(f"seq.embed: varm[{key!r}] is there already. Fix: overwrite=True, or another key_added.")


def _stack(parts: list[Any], made: Embedder) -> Any:
    if not parts:
        return embed_sequences([], made)
    if all(map(sparse.issparse, parts)):
        return sparse.vstack(parts, format="csr")
    return np.concatenate(parts)


def _derangement(n: int, seed: int) -> np.ndarray:
    """Give every row another one, all of them along one cycle."""
    cycle = np.random.default_rng(seed).permutation(n)
    source = np.empty_like(cycle)
    source[cycle] = np.roll(cycle, 1)
    return source
