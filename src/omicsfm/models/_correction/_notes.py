"""What a training notes down on disk, so that it can be killed and go on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from omicsfm import io
from omicsfm._errors import InputError

IDENTITY = "run.json"
EPOCH = "best_epoch"


@dataclass(frozen=True)
class Notes:
    """A folder that belongs to one run: its identity, a checkpoint per part, and the weights of parts that are done."""

    folder: Path
    parts: set[str]

    @classmethod
    def open(cls, folder: Path, identity: dict[str, Any]) -> Notes:
        """Make the folder, or take it up again.

        Raises
        ------
        InputError
            If it holds the notes of another run, or other files.
        """
        text = json.dumps(identity, sort_keys=True, indent=1, default=lambda value: value.item())
        file = folder / IDENTITY
        if file.exists():
            if file.read_text() != text:
                raise InputError(
                    f"fit: '{folder}' holds a training of other data or with other parameters. "
                    "Fix: give another checkpoint folder, or delete this one."
                )
        elif folder.exists() and any(folder.iterdir()):
            raise InputError(f"fit: checkpoint folder '{folder}' holds other files. Fix: give a new or empty folder.")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            with io.atomic(file) as new:
                new.write_text(text)
        return cls(folder, set())

    def checkpoint(self, part: str) -> Path:
        """Name the file that is written after every epoch of a part."""
        return self.folder / f"{part}.ckpt"

    def done(self, part: str) -> tuple[dict[str, np.ndarray], int] | None:
        """Read the weights and best epoch of a part that was finished; None if it was not."""
        from safetensors.numpy import load_file

        self.parts.add(part)
        file = self._file(part)
        if not file.exists():
            return None
        arrays = load_file(file)
        return {k: v for k, v in arrays.items() if k != EPOCH}, int(arrays[EPOCH])

    def finish(self, part: str, weights: dict[str, np.ndarray], best_epoch: int) -> None:
        """Keep a finished part, and drop its checkpoint."""
        from safetensors.numpy import save_file

        with io.atomic(self._file(part)) as new:
            save_file({**weights, EPOCH: np.array(best_epoch)}, new)
        self.checkpoint(part).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove what was noted; the folder too, where nothing else is in it."""
        for part in self.parts:
            self.checkpoint(part).unlink(missing_ok=True)
            self._file(part).unlink(missing_ok=True)
        (self.folder / IDENTITY).unlink(missing_ok=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _file(self, part: str) -> Path:
        return self.folder / f"{part}.safetensors"
