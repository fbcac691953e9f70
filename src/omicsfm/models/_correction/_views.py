"""Modality dropout: which of its modalities a training cell shows, as often as the data leave cells with just these."""

from __future__ import annotations

import numpy as np

FEWEST = 0.05  # of a cell's views, at least, show each single modality, whatever the data look like


class Views:
    """Draws, for cells of known sets of modalities, the non-empty part that they show.

    Parameters
    ----------
    code
        Set of modalities of every training cell, numbered by bits.
    """

    def __init__(self, code: np.ndarray) -> None:
        seen, count = np.unique(code, return_counts=True)
        met = dict(zip(seen.tolist(), (count / count.sum()).tolist(), strict=True))
        self.choice: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for whole in met:
            singles = [1 << i for i in range(whole.bit_length()) if whole >> i & 1]
            parts = sorted({*singles, *(q for q in met if q & whole == q and q not in (0, whole))})
            weight = np.array([met.get(q, 0.0) + FEWEST * (q in singles) for q in parts])
            # One modality, or none, has no proper part: it is shown as it is.
            if len(singles) < 2:
                parts, weight = [whole], np.ones(1)
            self.choice[whole] = np.array(parts), weight / weight.sum()

    def draw(self, code: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Give the set that each cell of `code` shows."""
        shown = code.copy()
        for whole in np.unique(code):
            parts, share = self.choice[int(whole)]
            here = code == whole
            shown[here] = rng.choice(parts, size=int(here.sum()), p=share)
        return shown
