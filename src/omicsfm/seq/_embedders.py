"""What turns sequences into vectors, by a short text such as ``"kmer:4"``.

A text is a name and, behind a colon, what that name's factory makes of the rest. To add one of your own, write a
factory, and announce it under a name::

    def factory(rest: str) -> ofm.seq.Embedder:  # of "mine:random" it gets "random", of "mine" it gets ""
        net = ...
        return ofm.seq.Embedder(name=f"mine:{rest}", embed=net.embed, facts={"weights_sha256": ...}, licence=...)


    ofm.seq.register_embedder("mine", factory)  # for this session, or
    # in the pyproject.toml of your package, [project.entry-points."omicsfm.embedders"], mine = "module:factory"

From then on ``ofm.seq.embed(adata, genome=..., model="mine:random")`` works, with provenance and its verification.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from omicsfm._errors import InputError
from omicsfm.seq._sequences import as_list

GROUP = "omicsfm.embedders"  # of entry points


@dataclass(frozen=True)
class Embedder:
    """What turns sequences into vectors, and what must be known of it to do so again.

    Attributes
    ----------
    name
        The text by which :func:`embedder` makes it again, such as ``"kmer:4"``.
    embed
        From a list of n strings to an (n, d) array or CSR matrix; a row depends on its own string only. The source of
        the module that it comes from is hashed as its code.
    params
        How it was made: what JSON can hold.
    names
        Gives the names of the d columns; None where they have none.
    facts
        Further provenance by name, such as weights_sha256, tokenizer_sha256, layer, pooling.
    licence
        SPDX expression, of the weights where there are any.
    packages
        Distributions whose versions decide the values, beside numpy and scipy.
    modules
        Further modules whose source is hashed as its code.
    """

    name: str
    embed: Callable[[list[str]], Any]
    params: Mapping[str, Any] = field(default_factory=dict)
    names: Callable[[], list[str]] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    licence: str = "BSD-3-Clause"
    packages: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()


Factory = Callable[[str], Embedder]

# As entry points, so that no module is imported before its embedder is asked for.
_OURS = {
    "composition": "omicsfm.seq._composition:composition_embedder",
    "gapped": "omicsfm.seq._kmer:gapped_embedder",
    "hf": "omicsfm.seq._pretrained:hf_embedder",
    "kmer": "omicsfm.seq._kmer:kmer_embedder",
    "motifs": "omicsfm.seq._motifs:motif_embedder",
    "mtsplice": "omicsfm.seq._pretrained:mtsplice_embedder",
    "onehot": "omicsfm.seq._one_hot:one_hot_embedder",
    "spliceai": "omicsfm.seq._pretrained:spliceai_embedder",
}
_REGISTERED: dict[str, Factory] = {}


def embedders() -> list[str]:
    """Give the names of all embedders: ours, those registered in this session, those of installed packages."""
    return sorted({*_OURS, *_REGISTERED, *_theirs()})


def register_embedder(name: str, factory: Factory) -> None:
    """Announce an embedder for this session.

    Parameters
    ----------
    name
        Lower-case letters, digits, dash and underscore; what stands before the first colon.
    factory
        From what stands behind the colon to an :class:`Embedder`.

    Raises
    ------
    InputError
        If the name is none, or is one of ours.
    """
    if not re.fullmatch(r"[a-z0-9_-]+", name) or name in _OURS:
        raise InputError(
            f"seq.register_embedder: {name!r} is taken or is no name. Fix: choose another, such as 'mine'."
        )
    _REGISTERED[name] = factory


def embedder(model: str) -> Embedder:
    """Make an embedder from its text.

    Parameters
    ----------
    model
        ``"composition"``, ``"kmer:4"``, ``"kmer:6:canonical"``, ``"gapped:6:4"`` (also with ``:canonical``),
        ``"motifs:JASPAR2026"``, ``"motifs:JASPAR2026:insects"``, ``"onehot:500"``, ``"hf:FOLDER"``, ``"spliceai"``,
        ``"mtsplice"`` (these three with options, as in :func:`pretrained`), or a registered one.

    Returns
    -------
    Embedder

    Raises
    ------
    InputError
        If there is none of that name, or its factory can make nothing of the rest.
    """
    name, _, rest = model.partition(":")
    if name in _REGISTERED:
        return _REGISTERED[name](rest)
    points = _theirs() | {key: EntryPoint(key, value, GROUP) for key, value in _OURS.items()}
    if name not in points:
        raise InputError(
            f"seq.embedder: there is no embedder '{name}' (of '{model}'). Fix: choose one of {', '.join(embedders())}."
        )
    return points[name].load()(rest)


def embed_sequences(sequences: Any, model: str | Embedder = "kmer:4") -> Any:
    """Turn sequences into vectors.

    Parameters
    ----------
    sequences
        (n_seq,) list, array or Series of strings over A, C, G, T, N and IUPAC codes.
    model
        As in :func:`embedder`, or what it gave.

    Returns
    -------
    (n_seq, d) array or CSR matrix.

    Raises
    ------
    InputError
        If the model is not known or cannot take these sequences.
    """
    made = embedder(model) if isinstance(model, str) else model
    found = as_list("seq.embed_sequences", sequences)
    values = made.embed(found)
    if values.ndim != 2 or values.shape[0] != len(found):
        raise InputError(
            f"seq.embed_sequences: '{made.name}' must give ({len(found)}, d), found shape {values.shape}. "
            "Fix: mend its embed()."
        )
    return values


def read_rest(usage: str, pattern: str, rest: str) -> tuple[str | None, ...]:
    """Take apart what stands behind the name of an embedder, or say how it is written."""
    found = re.fullmatch(pattern, rest)
    if found is None:
        raise InputError(f"seq.embedder: the model must be written as {usage}, found '...:{rest}'. Fix: mend it.")
    return found.groups()


def _theirs() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in _OURS}
