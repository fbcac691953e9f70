"""One training run: Lightning does the loop; the best state on held-out cells is kept, and a killed run goes on."""

from __future__ import annotations

import contextlib
import logging
import pickle
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from omicsfm._errors import InputError, OmicsfmWarning
from omicsfm._progress import progress
from omicsfm.models._correction._options import Options
from omicsfm.models._correction._training import Training

PATIENCE = 10


@dataclass(frozen=True)
class Trained:
    """Weights at the best epoch on held-out cells, and which that was (0: as they started)."""

    weights: dict[str, np.ndarray]
    best_epoch: int


class _KeepBest(Callback):
    """Keeps the weights with the lowest held-out loss, beginning with those before the first step."""

    def __init__(self) -> None:
        self.best, self.epoch = float("inf"), 0
        self.weights: dict[str, torch.Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self.weights:
            self.weights = _copy(pl_module)
        # A run that was killed after its last epoch is at its end, though Lightning does not remember.
        stop = cast(EarlyStopping, trainer.early_stopping_callback)
        trainer.should_stop = trainer.should_stop or stop.wait_count >= stop.patience

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        value = float(trainer.callback_metrics["held_out"])
        epoch = 0 if trainer.sanity_checking else trainer.current_epoch + 1
        if np.isfinite(value) and value < self.best:
            self.best, self.epoch, self.weights = value, epoch, _copy(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl_module.load_state_dict(self.weights)
        cast(Training, pl_module).best_epoch.fill_(self.epoch)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "epoch": self.epoch, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.epoch, self.weights = state_dict["best"], state_dict["epoch"], state_dict["weights"]


class _Bar(Callback):
    """Our own progress bar: one step an epoch, silent where nobody watches."""

    def __init__(self, n_epochs: int, words: str) -> None:
        self.steps = iter(progress(range(n_epochs), desc=words))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        next(self.steps, None)


def train(module: Training, options: Options, *, words: str, checkpoint: Path | None = None) -> Trained:
    """Train until the held-out loss stops falling, or for ``options.max_epochs``.

    Parameters
    ----------
    words
        What the progress bar and warnings call this run.
    checkpoint
        File that is written after every epoch, and gone on from where it is there.

    Warns
    -----
    OmicsfmWarning
        If a loss or gradient was not finite: which, and that the last good state is kept.
    """
    callbacks: list[Callback] = []
    if module.stop_rows is not None:
        callbacks += [_KeepBest(), EarlyStopping("held_out", patience=PATIENCE, check_finite=False)]
    if checkpoint is not None:
        callbacks.append(
            ModelCheckpoint(
                checkpoint.parent, checkpoint.stem, enable_version_counter=False, save_on_train_epoch_end=True
            )
        )
    loop(module, options, words=words, callbacks=callbacks, checkpoint=checkpoint)
    return Trained({k: v.cpu().numpy() for k, v in module.net.state_dict().items()}, int(module.best_epoch))


def loop(
    module: Any, options: Options, *, words: str, callbacks: list[Callback], checkpoint: Path | None = None
) -> None:
    """Run Lightning's loop on a module that may name a `culprit`; the module is left trained."""
    callbacks = [_Bar(options.max_epochs, words), *callbacks]
    with _quiet(), tempfile.TemporaryDirectory() as root:
        try:
            trainer = pl.Trainer(
                accelerator=options.accelerator,
                devices=options.devices,
                strategy=options.strategy,
                precision=cast(Any, options.precision),
                max_epochs=options.max_epochs,
                callbacks=callbacks,
                gradient_clip_val=1.0,
                num_sanity_val_steps=1,
                limit_val_batches=1 if getattr(module, "stop_rows", None) is not None else 0,
                reload_dataloaders_every_n_epochs=1,
                use_distributed_sampler=False,
                enable_checkpointing=checkpoint is not None,
                enable_progress_bar=False,
                enable_model_summary=False,
                logger=False,
                default_root_dir=root,
            )
        except (ValueError, TypeError, MisconfigurationException) as err:
            raise InputError(
                f"Mosaic.fit: Lightning refuses accelerator={options.accelerator!r}, devices={options.devices!r}, "
                f"strategy={options.strategy!r}, precision={options.precision!r}: {err}. "
                "Fix: choose what this machine has."
            ) from err
        resume = checkpoint if checkpoint is not None and checkpoint.exists() else None
        try:
            trainer.fit(module, ckpt_path=resume, weights_only=True)
        except SystemExit as err:  # Lightning ends the process on Ctrl-C, notebook and all
            if isinstance(err.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise
        except (EOFError, KeyError, OSError, RuntimeError, ValueError, pickle.UnpicklingError) as err:
            if resume is None or trainer.global_step:
                raise
            raise Unreadable(str(err).partition("\n")[0]) from err
    if module.culprit:
        warnings.warn(
            f"Mosaic.fit: training of {words} stopped: {module.culprit}. The last good state is kept. "
            "Fix: check the named cells for extreme values, or lower lr.",
            OmicsfmWarning,
            stacklevel=2,
        )


class Unreadable(Exception):
    """A checkpoint that cannot be read: cut while it was written, or no checkpoint."""


def _copy(module: pl.LightningModule) -> dict[str, torch.Tensor]:
    return {k: v.detach().cpu().clone() for k, v in module.state_dict().items()}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's notices from the user, torch's global generator as it was, and small matrices on one thread."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    threads = torch.get_num_threads()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        torch.set_num_threads(1)
        with warnings.catch_warnings(), torch.random.fork_rng():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads(threads)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
