"""The network of scmidas, built from its weights, and what puts its predictions on our scale."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from omicsfm import _compat
from omicsfm.models._cells import row_of
from omicsfm.models.baselines._conformal import MAX_NUMBERS, spread_and_half_width
from omicsfm.models.external._peers import Raw, names_of, raw, tamed
from omicsfm.pp import Tokenizer, Tokens, dense_nan, vstack

MAX_LOG_RATE = 15.0
Predicted = Iterator[tuple[np.ndarray, np.ndarray]]


def by_chromosome(mdata: MuData, mod: str, features: np.ndarray, kind: str) -> tuple[np.ndarray, list[int]]:
    """Order regions by chromosome, as the encoder of scmidas wants them; gives them and the number in each."""
    var = mdata.mod[mod].var
    if kind != "atac" or "chrom" not in var.columns:
        return features, [len(features)]
    chrom = var["chrom"].astype(str).to_numpy()[features]
    order = np.argsort(chrom, kind="stable")
    return features[order], np.unique(chrom, return_counts=True)[1].tolist()


def prepare(tokens: Tokens, inputs: dict[str, Raw], code: np.ndarray) -> MuData:
    """Give training cells as scmidas wants them: modalities m0, m1, ..., rows sorted, batches of one pattern.

    Parameters
    ----------
    tokens
        Of all cells.
    inputs
        Modality -> raw values.
    code
        (n_obs,) number of the batch; -1 for a cell to leave out.
    """
    names = names_of(tokens.n_obs)
    mods = {}
    for i, (mod, part) in enumerate(inputs.items()):
        row = row_of(tokens.rows[mod], tokens.n_obs)
        obs = np.flatnonzero((row >= 0) & (code >= 0))
        table = pd.DataFrame({"group": [f"{c:06d}" for c in code[obs]]}, index=names[obs])
        adata = ad.AnnData(part.x[row[obs]].astype(np.float32), obs=table)
        adata.var_names = [f"m{i}:{j}" for j in range(adata.n_vars)]
        if part.measured is not None:
            for c in np.unique(code[obs]):
                seen = part.measured[row[obs[code[obs] == c]]].all(axis=0)
                adata.uns[f"mask_{c:06d}"] = seen.astype(np.float32)
        mods[f"m{i}"] = adata
    with tamed():  # mudata draws names from Python's global generator
        return _compat.make_mudata(mods)


def configs(scmidas: Any, kinds: list[str], **ours: Any) -> dict[str, Any]:
    """Give the defaults of scmidas for modalities m0, m1, ... of these recipes, with nothing loaded by workers."""
    out = copy.deepcopy(scmidas.load_config())  # it hands out its own dictionary
    for i, kind in enumerate(kinds):
        out[f"lam_recon_m{i}"] = 1
        if kind == "atac":
            out[f"distribution_dec_m{i}"] = "BERNOULLI"
            out[f"dims_before_enc_m{i}"] = out["dims_before_enc_atac"]
            out[f"dims_after_dec_m{i}"] = out["dims_after_dec_atac"]
        else:
            out[f"distribution_dec_m{i}"] = "POISSON"
            out[f"trsf_before_enc_m{i}"] = "log1p"
    return out | {"num_workers": 0, "pin_memory": False, "persistent_workers": False} | ours


def build(
    scmidas: Any, chunks: list[list[int]], n_groups: int, config: dict[str, Any], weights: dict[str, np.ndarray]
) -> Any:
    """Build the autoencoder of scmidas from its weights."""
    import torch

    with tamed():
        network = scmidas.VAE({f"m{i}": list(c) for i, c in enumerate(chunks)}, {"joint": n_groups}, **config)
        network.load_state_dict({name: torch.as_tensor(w) for name, w in weights.items()})
    return network.eval()


def encode(network: Any, x: dict[str, np.ndarray], seen: dict[str, np.ndarray], code: np.ndarray) -> np.ndarray:
    """Give the posterior mean of the latent variables of cells that have the same modalities.

    Parameters
    ----------
    x, seen
        Modality -> counts (n, n_features), and which of them were measured (where not all were).
    code
        (n,) number of the batch; -1 for an unknown one, which then says nothing.
    """
    import torch

    with torch.no_grad():
        data = {m: torch.as_tensor(v, dtype=torch.float32) for m, v in x.items()}
        mask = {m: torch.as_tensor(v, dtype=torch.float32) for m, v in seen.items()}
        mean, log_variance = network.encoder(data, mask)
        batch = torch.as_tensor(np.maximum(code, 0), dtype=torch.int64)[:, None]
        (batch_mean,), (batch_log_variance,) = network.encode_batch({"joint": batch})
        batch_log_variance[torch.as_tensor(code < 0)] = torch.inf  # an expert of precision 0
        z, _ = network.poe([*mean.values(), batch_mean], [*log_variance.values(), batch_log_variance])
    return z.numpy().astype(np.float64)


def decode(network: Any, z: np.ndarray, key: str) -> np.ndarray:
    """Give expected counts (probabilities for ATAC) of one modality from latent variables."""
    import torch

    with torch.no_grad():
        out = network.decoder(torch.as_tensor(z, dtype=torch.float32))[key]
        out = network.gen_real_data({key: out.clamp(max=MAX_LOG_RATE)}, sampling=False)[key]
    return out.numpy().astype(np.float64)


def means(tokenizer: Tokenizer, mdata: MuData, mod: str) -> tuple[np.ndarray, np.ndarray]:
    """Give the mean of every feature over the cells that have it: in counts, and on the recipe's scale."""
    found = raw(tokenizer, mdata, mod, np.arange(len(tokenizer.var_names_[mod])))
    n_g = found.x.shape[0] if found.measured is None else np.maximum(found.measured.sum(axis=0), 1)
    scaled = vstack([block for _, block in tokenizer.scaled(mdata, mod)])
    if sparse.issparse(scaled):
        return np.asarray(found.x.sum(axis=0)).ravel() / n_g, np.asarray(scaled.mean(axis=0)).ravel()
    return np.asarray(found.x.sum(axis=0)).ravel() / n_g, np.nansum(scaled, axis=0) / n_g


def outlet(
    tokenizer: Tokenizer,
    mdata: MuData,
    tokens: Tokens,
    mod: str,
    *,
    mean: np.ndarray,
    held: np.ndarray,
    predict: Callable[[np.ndarray], Predicted],
    level: float,
    seed: int,
) -> dict[str, np.ndarray]:
    """Measure how far predictions of a modality are from what was observed.

    Parameters
    ----------
    mean
        (n_vars,) on the recipe's scale.
    held
        bool (n_obs,), cells that training left out.
    predict
        Gives some cells, block by block, with the modality expected of them from their others.

    Returns
    -------
    shift of predictions, sd and half width of intervals, and these two for cells that get the mean; all (n_vars,).
    """
    scaled = vstack([block for _, block in tokenizer.scaled(mdata, mod)])
    row = row_of(tokens.rows[mod], tokens.n_obs)
    most = max(200, MAX_NUMBERS // len(mean))
    rng = np.random.default_rng(seed)

    def some(cells: np.ndarray) -> np.ndarray:
        return np.sort(rng.permutation(np.flatnonzero(cells & (row >= 0)))[:most])

    def error(cells: np.ndarray) -> np.ndarray:
        parts = [dense_nan(scaled[row[obs]], None) - found for obs, found in predict(cells)]
        return np.vstack([np.zeros((0, len(mean))), *parts])

    trained = error(some(~held))
    n_g = np.maximum((~np.isnan(trained)).sum(axis=0), 1)
    shift = np.nansum(trained, axis=0) / n_g
    left_out = error(some(held))
    sd, half = spread_and_half_width((left_out if len(left_out) else trained) - shift, level)
    mean_sd, mean_half = spread_and_half_width(dense_nan(scaled[row[some(row >= 0)]], None) - mean, level)
    return {"shift": shift, "sd": sd, "half": half, "mean": mean, "mean_sd": mean_sd, "mean_half": mean_half}
