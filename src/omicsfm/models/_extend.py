"""Add a modality to a fitted model: closed form, and nothing that was fitted before is changed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from mudata import MuData

from omicsfm import contract
from omicsfm._errors import InputError
from omicsfm.models._batch import BatchAligner, ridge_offsets, stack
from omicsfm.models._cells import Block, blocks
from omicsfm.models._factor import Pattern, with_view
from omicsfm.models._landmarks import Landmarks
from omicsfm.models._latent import CELLS_PER_LANDMARK, MIN_LANDMARKS, Latent
from omicsfm.pp import Tokenizer, Tokens

MIN_LINKS = 10  # cells with the new modality and a known one


def extend_tokenizer(tokenizer: Tokenizer, mdata: MuData, mod: str) -> Tokenizer:
    """Give a tokenizer that also knows `mod`, fitted on these cells; the old one is not touched."""
    part = contract.select(mdata, {mod: contract.modality_mask(mdata)[mod].to_numpy()})
    new = Tokenizer(tokenizer.n_components, seed=tokenizer.seed).fit(part)
    out = copy.copy(tokenizer)
    for name in ("var_names_", "recipes_", "features_", "svd_"):
        setattr(out, name, {**getattr(tokenizer, name), mod: getattr(new, name)[mod]})
    return out


def extend_latent(latent: Latent, tokens: Tokens, mod: str, *, n_landmarks: int, ridge: float, seed: int) -> Latent:
    """Give the latent model with a view more; cells with `mod` and a known modality teach it.

    Raises
    ------
    InputError
        With too few such cells.
    """
    known = set(latent.lift)
    linked = [b for b in blocks(tokens) if mod in b.pattern and known & set(b.pattern)]
    n_linked = sum(len(b.obs) for b in linked)
    if n_linked < MIN_LINKS:
        raise InputError(
            f"add_modality: {n_linked} cells have '{mod}' and a modality of the model; at least {MIN_LINKS} are "
            "needed. Fix: add cells measured in both."
        )
    old = [(block, tuple(m for m in block.pattern if m in known)) for block in linked]
    aligner = _extend_aligner(latent.aligner, tokens, mod, old, ridge=ridge)
    aligned = np.vstack([aligner(tokens, block)[mod] for block in blocks(tokens) if mod in block.pattern])
    n = min(n_landmarks, len(aligned) // CELLS_PER_LANDMARK)
    lift = {**latent.lift, mod: Landmarks.fit(aligned, n if n >= MIN_LANDMARKS else 0, seed=seed)}

    def parts() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for block, pattern in old:
            x = lift[mod](aligner(tokens, block)[mod])
            yield x, *latent.posterior(tokens, block.only(pattern), pattern=pattern)

    return Latent(aligner, lift, with_view(latent.factors, mod, parts(), ridge=ridge))


def _extend_aligner(
    aligner: BatchAligner, tokens: Tokens, mod: str, old: list[tuple[Block, Pattern]], *, ridge: float
) -> BatchAligner:
    """Batch offsets of the new modality within the states that the known ones give."""
    if not aligner.batches or aligner.factors is None:
        return aligner
    count = np.zeros(aligner.centre_bck.shape[:2])
    total = np.zeros((*count.shape, tokens.values[mod].shape[1]))
    factors = aligner.factors
    code_of = {name: i for i, name in enumerate(aligner.batches)}

    def parts() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for block, pattern in old:
            gain, offset, covariance = factors.posterior(pattern)
            yield stack(tokens, block.only((mod,))), stack(tokens, block.only(pattern)) @ gain + offset, covariance

    for block, pattern in old:
        weight = aligner.states(tokens, block.only(pattern))
        for name in np.unique(tokens.batch[block.obs]):
            if name in code_of:
                here = tokens.batch[block.obs] == name
                count[code_of[name]] += weight[here].sum(axis=0)
                total[code_of[name]] += weight[here].T @ tokens.values[mod][block.rows[mod][here]]
    return replace(
        aligner,
        factors=with_view(factors, mod, parts(), ridge=ridge),
        offset={**aligner.offset, mod: ridge_offsets(count, total)},
    )
