"""From arrays to a trained network; the only door to torch and Lightning in training."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

from omicsfm._errors import OmicsfmWarning
from omicsfm.models._correction._batch import as_tensors
from omicsfm.models._correction._count_source import CountSource
from omicsfm.models._correction._counts import CountHead
from omicsfm.models._correction._inputs import Frame, Inputs, shown_code
from omicsfm.models._correction._net import CorrectionNet
from omicsfm.models._correction._notes import Notes
from omicsfm.models._correction._options import Options
from omicsfm.models._correction._trainer import Trained, Unreadable, train
from omicsfm.models._correction._training import Training
from omicsfm.models._correction._views import Views


def run(
    frame: Frame,
    inputs: Inputs,
    shared: dict[str, np.ndarray],
    *,
    label: np.ndarray,
    met: np.ndarray,
    counts: dict[str, CountSource],
    train_rows: np.ndarray,
    stop_rows: np.ndarray | None,
    options: Options,
    start: dict[str, np.ndarray] | None,
    notes: Notes | None,
    words: str,
) -> tuple[dict[str, Any], Trained]:
    """Train a network on cells; gives the arguments that rebuild it and its weights."""
    sizes = {
        "width": {m: len(frame.centre[m]) for m in frame.mods},
        "n_latent": next(iter(frame.loading.values())).shape[1],
        "n_batches": len(frame.batches),
        "n_labels": int(label.max()) + 1 if options.label_weight and label.max() >= 0 else 0,
        "d_model": options.d_model,
        "n_layers": options.n_layers,
        "mixer": options.mixer,
        "dropout": options.dropout,
        "seed": options.seed,
    }
    constants: dict[str, Any] = {k: torch.from_numpy(v) for k, v in shared.items()}
    for key in ("mean", "loading"):
        constants[key] = {m: torch.from_numpy(v.astype(np.float32)) for m, v in getattr(frame, key).items()}
    data = as_tensors(inputs)
    data |= {"code": torch.from_numpy(shown_code(inputs.has)), "label": torch.from_numpy(label)}
    data |= {"counts": counts, "obs": inputs.obs, "batch_names": frame.batches}

    def fresh() -> Training:
        net = CorrectionNet(**sizes)
        if start is not None:
            weights = {name: torch.from_numpy(np.array(w)) for name, w in start.items()}
            net.load_state_dict({name: w for name, w in weights.items() if name in net.state_dict()})
        return Training(
            net,
            constants,
            data,
            train_rows=train_rows,
            stop_rows=stop_rows,
            views=Views(met),
            options=options,
            count_heads=[CountHead(source, frame, mod) for mod, source in counts.items()],
        )

    if notes is None:
        return sizes, train(fresh(), options, words=words)
    part = words.replace(" ", "-")
    done = notes.done(part)
    if done is not None:
        return sizes, Trained(*done)
    checkpoint = notes.checkpoint(part)
    try:
        trained = train(fresh(), options, words=words, checkpoint=checkpoint)
    except Unreadable as err:
        warnings.warn(
            f"'{checkpoint}' cannot be read ({err}): this part of the training begins anew",
            OmicsfmWarning,
            stacklevel=2,
        )
        checkpoint.unlink()
        trained = train(fresh(), options, words=words, checkpoint=checkpoint)
    notes.finish(part, trained.weights, trained.best_epoch)
    return sizes, trained
