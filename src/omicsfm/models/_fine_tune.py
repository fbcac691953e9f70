"""Fine-tune a fitted model on new cells: offsets of their batches, the correction, and the width of intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from omicsfm.models._batch import BatchAligner, ridge_offsets
from omicsfm.models._cells import blocks, row_of
from omicsfm.models._crossfit import Features
from omicsfm.models._decoder import Decoder, DecoderStats, calibrate, model_variance, soft_states
from omicsfm.models._latent import Latent
from omicsfm.pp import Tokens, dense_nan

MIN_CALIBRATION = 40  # fewer new cells cannot say how wide an interval must be


def anchors(aligner: BatchAligner, tokens: Tokens) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Measure what aligned tokens are in each state of the reference, for batches that come later.

    Returns
    -------
    Modality -> number of cells (n_states,) and mean tokens (n_states, d); empty where nothing was aligned.
    """
    out: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    if not aligner.batches:
        return out
    for block in blocks(tokens):
        if not block.pattern:
            continue
        weight = aligner.states(tokens, block)
        for m, x in aligner(tokens, block).items():
            count, total = out.get(m, (0.0, 0.0))
            out[m] = count + weight.sum(axis=0), total + weight.T @ x
    return {m: (count, total / np.maximum(count, 1e-8)[:, None]) for m, (count, total) in out.items()}


def align_batches(
    aligner: BatchAligner, tokens: Tokens, reference: dict[str, tuple[np.ndarray, np.ndarray]]
) -> BatchAligner:
    """Give the aligner with the offsets of batches it had not seen, against the reference within each state."""
    new = [str(name) for name in np.unique(tokens.batch) if name not in aligner.batches]
    if not aligner.batches or not new:
        return aligner
    n_states = aligner.centre_bck.shape[1]
    count = {m: np.zeros((len(new), n_states)) for m in reference}
    total = {m: np.zeros((len(new), *mean.shape)) for m, (_, mean) in reference.items()}
    for block in blocks(tokens, obs=np.flatnonzero(np.isin(tokens.batch, new))):
        weight = aligner.states(tokens, block) if block.pattern else np.zeros((len(block.obs), n_states))
        for i, name in enumerate(new):
            here = tokens.batch[block.obs] == name
            for m in set(block.pattern) & set(reference):
                count[m][i] += weight[here].sum(axis=0)
                total[m][i] += weight[here].T @ tokens.values[m][block.rows[m][here]]
    offset = {}
    for m, (n_ref, mean_ref) in reference.items():
        both = np.concatenate([n_ref[None], count[m]]), np.concatenate([(n_ref[:, None] * mean_ref)[None], total[m]])
        # The reference stays where it is: offsets are told against its own.
        found = ridge_offsets(*both)
        offset[m] = np.concatenate([aligner.offset[m], found[1:] - found[:1]])
    for m, known in aligner.offset.items():
        if m not in reference:  # a modality that was added later: nothing says where its reference lies
            offset[m] = np.concatenate([known, np.zeros((len(new), *known.shape[1:]))])
    middle = np.repeat(aligner.centre_bck.mean(axis=0)[None], len(new), axis=0)
    return replace(
        aligner,
        batches=[*aligner.batches, *new],
        offset={**aligner.offset, **offset},
        centre_bck=np.concatenate([aligner.centre_bck, middle]),
    )


def with_empty(tokens: Tokens, width: dict[str, int]) -> Tokens:
    """Give the same cells with every modality named, those that no cell has without rows."""
    values = {m: tokens.values.get(m, np.zeros((0, d), dtype=np.float32)) for m, d in width.items()}
    rows = {m: tokens.rows.get(m, np.zeros(0, dtype=np.int64)) for m in width}
    return replace(tokens, values=values, rows=rows)


def token_loadings(latent: Latent, tokens: Tokens, mod: str, features: Features) -> np.ndarray:
    """Give the loadings (n_vars, n_tokens) of a modality's features on its own aligned tokens."""
    d = tokens.values[mod].shape[1]
    stats: DecoderStats | None = None
    for block in blocks(tokens, obs=np.sort(tokens.rows[mod]), n_rows=2048):
        x_ng = features(block.obs)
        stats = stats or DecoderStats(x_ng.shape[1], d)
        stats.update(x_ng, latent.aligner(tokens, block)[mod], np.zeros((d, d)))
    if stats is None:
        raise ValueError(f"no cells with '{mod}'")
    return stats.finish()[1]


def recalibrate(
    decoder: Decoder,
    latent: Latent,
    tokens: Tokens,
    mod: str,
    features: Features,
    step: tuple[np.ndarray, np.ndarray] | None,
    *,
    level: float,
) -> Decoder:
    """Give the decoder with spread and interval as cells that it was not fitted on say.

    Parameters
    ----------
    step
        Cells (n,) and what the correction adds to their features (n, g), of networks that did not see them.
    """
    ratio, weight = [], []
    row = row_of(np.zeros(0, dtype=np.int64) if step is None else step[0], tokens.n_obs)
    for block in blocks(tokens, obs=np.sort(tokens.rows[mod]), n_rows=2048):
        pattern = block.without(mod)
        if not pattern:
            continue
        z, covariance = latent.posterior(tokens, block, pattern=pattern)
        predicted = z @ decoder.loading.T + decoder.mean
        if step is not None:
            known = row[block.obs] >= 0
            predicted[known] += step[1][row[block.obs[known]]]
        sd_g = np.sqrt(model_variance(decoder.loading, decoder.noise, covariance))
        ratio.append((dense_nan(features(block.obs), None) - predicted) / sd_g)
        weight.append(soft_states(z, decoder.centre_ck, decoder.width))
    if sum(map(len, ratio)) < MIN_CALIBRATION:
        return decoder
    spread, quantile = calibrate(np.vstack(ratio), np.vstack(weight), level)
    return replace(decoder, spread_cg=spread, quantile_g=quantile, n_calibration=sum(map(len, ratio)))
