"""Pretrained networks as embedders: transformers, SpliceAI, MTSplice, and the random twin of each."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from omicsfm._errors import InputError
from omicsfm.seq._embedders import Embedder
from omicsfm.seq._embedding_cache import cached
from omicsfm.seq._options import POOLINGS, Options, read_options
from omicsfm.seq._sequences import as_list
from omicsfm.seq._states import pool, resolve_layers, weights_sha256

if TYPE_CHECKING:
    from omicsfm.seq._splice_nets import SpliceEncoder
    from omicsfm.seq._transformers import TransformersEncoder

_ALLOWED = {
    "hf": ("layer", "pooling", "dtype", "tokens", "words", "random", "remote"),
    "mtsplice": ("layer", "pooling", "dtype", "flank", "random"),
    "spliceai": ("layer", "pooling", "dtype", "flank", "random"),
}


def pretrained(model: str, *, device: str | None = None, cache: str | os.PathLike[str] | None = None) -> Embedder:
    """Load a pretrained network as an embedder.

    Parameters
    ----------
    model
        ``"hf:FOLDER"`` or ``"hf:owner/name@REVISION"`` with the 40 hexadecimal digits of a commit, for any class of
        transformers that needs no other code (Esm, which is Nucleotide Transformer v1; Bert, ModernBert, BigBird,
        Mamba, Mamba2, ...). ``"spliceai"``, ``"spliceai:2"``, ``"mtsplice"``: from the installed wheels of `spliceai`
        (weights not for commercial use) and `mmsplice`. Behind it, in any order:

        ``:layer=6``
            0 is what enters the first layer; -1, the default, what leaves the last.
        ``:pooling=mean``
            Or "max", "cls", or several joined by "+".
        ``:random``, ``:random=3``
            The same network with random weights, by seed: the control of every claim about the trained ones.
        ``:dtype=bfloat16``
            Of weights and activations.
        ``:tokens=512`` (hf)
            Longest window; by default what the model takes. A longer sequence is cut into equal windows, over all of
            which is pooled.
        ``:words=6`` (hf)
            The tokenizer wants overlapping words between spaces (DNABERT).
        ``:remote`` (hf)
            Run the code that comes with the weights. Only at a pinned revision.
        ``:flank=500`` (SpliceAI, MTSplice)
            Unknown bases at each side; by default as in training, 5,000 for SpliceAI and none for MTSplice.
    device
        Of torch; default a GPU where there is one.
    cache
        Folder in which vectors are kept, as :func:`cached` does.

    Returns
    -------
    Embedder
        Its name holds all that decides the values, in one order. Its facts hold the SHA-256 of weights and tokenizer.

    Raises
    ------
    InputError
        If the model cannot be loaded, lacks weights, or wants code that is not pinned.
    MissingDependency
        If what it comes with is not installed.

    References
    ----------
    Jaganathan et al. 2019, doi:10.1016/j.cell.2018.12.015 (SpliceAI). Cheng et al. 2021,
    doi:10.1186/s13059-021-02273-7 (MTSplice).
    """
    name, place, options = _read(model)
    encoder = _load(name, place, options, device)
    (layer,) = resolve_layers(encoder, [options.layer])
    made = Embedder(
        name=_name(name, place, options),
        embed=partial(_embed, encoder=encoder, layer=layer, poolings=options.poolings),
        params={"layer": layer, "pooling": options.pooling, "dtype": options.dtype},
        facts={"weights_sha256": weights_sha256(encoder.net), **_facts(encoder)},
        licence=getattr(encoder, "licence", "LicenseRef-unknown"),
        packages=("torch", "transformers", "tokenizers") if name == "hf" else ("torch",),
        modules=("omicsfm.seq._states", type(encoder).__module__, *getattr(encoder, "modules", ())),
    )
    return made if cache is None else cached(made, cache)


def layer_embeddings(
    sequences: Any,
    model: str,
    *,
    layers: Iterable[int] | None = None,
    poolings: Iterable[str] = ("mean", "max"),
    device: str | None = None,
) -> dict[str, np.ndarray]:
    """Embed sequences by several layers and poolings of one network, which runs once.

    Parameters
    ----------
    sequences
        (n_seq,) list, array or Series of strings.
    model
        As in :func:`pretrained`, without layer and pooling.
    layers
        Which; default all, from 0 on.
    poolings
        Which, each as in :func:`pretrained`.
    device
        Of torch.

    Returns
    -------
    (n_seq, d) float32 arrays by the text that gives each to :func:`embedder`. Hand the rows that train to
    :func:`choose_embedding`.

    Raises
    ------
    InputError
        As :func:`pretrained` does.
    """
    name, place, options = _read(model)
    asked = list(poolings)
    parts = sorted({part for pooling in asked for part in pooling.split("+")})
    if not asked or not set(parts) <= set(POOLINGS):
        raise InputError(
            f"seq.layer_embeddings: poolings must be of {', '.join(POOLINGS)}, or some joined by '+'; found {asked}. "
            "Fix: choose these."
        )
    encoder = _load(name, place, options, device)
    chosen = resolve_layers(encoder, list(range(encoder.n_layers + 1) if layers is None else layers))
    values = pool(encoder, as_list("seq.layer_embeddings", sequences), chosen, parts)
    out = {}
    for (layer, value), pooling in product(zip(chosen, values, strict=True), asked):
        by_part = dict(zip(parts, np.split(value, len(parts), axis=1), strict=True))
        text = _name(name, place, replace(options, layer=layer, pooling=pooling))
        out[text] = np.concatenate([by_part[part] for part in pooling.split("+")], axis=1)
    return out


def hf_embedder(rest: str) -> Embedder:
    """Make the embedder ``hf:FOLDER`` or ``hf:owner/name@REVISION``."""
    return pretrained(f"hf:{rest}")


def spliceai_embedder(rest: str) -> Embedder:
    """Make the embedder ``spliceai`` or ``spliceai:MEMBER``."""
    return pretrained(f"spliceai:{rest}")


def mtsplice_embedder(rest: str) -> Embedder:
    """Make the embedder ``mtsplice`` or ``mtsplice:MEMBER``."""
    return pretrained(f"mtsplice:{rest}")


def _embed(
    sequences: list[str], encoder: SpliceEncoder | TransformersEncoder, layer: int, poolings: list[str]
) -> np.ndarray:
    if not sequences:  # no network says how wide nothing is
        return np.zeros((0, _embed(["ACGTACGT"], encoder, layer, poolings).shape[1]), dtype=np.float32)
    return pool(encoder, sequences, [layer], poolings)[0]


def _read(model: str) -> tuple[str, str, Options]:
    name, _, rest = model.partition(":")
    if name not in _ALLOWED:
        raise InputError(
            f"seq.pretrained: the model must begin with one of {', '.join(_ALLOWED)}, found '{model}'. Fix: mend it, "
            "or use seq.embedder for what needs no weights."
        )
    return name, *read_options(name, rest, _ALLOWED[name])


def _name(name: str, place: str, options: Options) -> str:
    return name + (f":{place}" if place else "") + options.text()


def _load(name: str, place: str, options: Options, device: str | None) -> SpliceEncoder | TransformersEncoder:
    import torch

    on = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if name == "hf":
        from omicsfm.seq._transformers import TransformersEncoder

        return TransformersEncoder(place, options, on)
    from omicsfm.seq._splice_nets import SpliceEncoder

    return SpliceEncoder(name, place, options, on)


def _facts(encoder: SpliceEncoder | TransformersEncoder) -> dict[str, str]:
    tokenizer = getattr(encoder, "tokenizer_sha256", None)
    return {} if tokenizer is None else {"tokenizer_sha256": tokenizer}
