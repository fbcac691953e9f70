"""A Hi-C map on disk: which bins it has, which of them were measured, and the contacts between them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from omicsfm._errors import InputError
from omicsfm._optional import require


@dataclass(frozen=True)
class Band:
    """Contacts near the diagonal of one chromosome.

    Attributes
    ----------
    low, high : int64 (n,), bins of the two ends, counted from the start of the chromosome, low <= high.
    value : float64 (n,), contacts; a pair that is not there had none.
    valid : bool (n_bins,), bins in which the map could have seen contacts; no entry touches another bin.
    """

    low: np.ndarray
    high: np.ndarray
    value: np.ndarray
    valid: np.ndarray

    def part(self, first: int, last: int) -> Band:
        """Give the bins from `first` to before `last`, counted from the start of the chromosome as before."""
        inside = (self.low >= first) & (self.high < last)
        bins = np.arange(len(self.valid))
        kept = self.valid & (bins >= first) & (bins < last)
        return Band(self.low[inside], self.high[inside], self.value[inside], kept)


class ContactMap:
    """A single-resolution map in a cooler file.

    Parameters
    ----------
    uri
        Path of a .cool file, or of a .mcool with the group of one resolution: ``"map.mcool::/resolutions/10000"``.
    balance
        Column of the weights of bins, or None for raw counts.

    Attributes
    ----------
    name : file name and group.
    assembly : as the file tells it, or empty.
    resolution : bases per bin.
    lengths : number of bases by chromosome.

    Raises
    ------
    InputError
        If there is no such file, group or column, or bins are not of one size.
    """

    def __init__(self, uri: str | os.PathLike[str], *, balance: str | None) -> None:
        path, _, group = os.fspath(uri).partition("::")
        file = Path(path).expanduser()
        found = _open(file, group.strip("/"))
        self.name = f"{file.name}::/{group.strip('/')}" if group.strip("/") else file.name
        self.assembly = _text(found.info.get("genome-assembly"))
        self.lengths = {str(name): int(length) for name, length in found.chromsizes.items()}
        self._cooler, self._balance = found, balance
        self._digest = hashlib.sha256()
        if found.binsize is None or found.storage_mode != "symmetric-upper":
            raise InputError(
                f"seq.add_contacts: a symmetric map with bins of one size was needed, '{self.name}' has others. "
                "Fix: make one by `cooler coarsen` or `cooler cload`."
            )
        self.resolution = int(found.binsize)
        columns = [str(name) for name in found.bins().columns]
        if balance is not None and balance not in columns:
            weights = [name for name in columns if name not in ("chrom", "start", "end")]
            raise InputError(
                f"seq.add_contacts: weights '{balance}' were needed to balance, '{self.name}' has "
                f"{', '.join(weights) or 'none'}. Fix: balance=None for raw counts, or run `cooler balance` on the map."
            )

    @property
    def sha256(self) -> str:
        """SHA-256 of all contacts that were read so far."""
        return self._digest.hexdigest()

    def band(self, chrom: str, width: int) -> Band:
        """Read the contacts of bins of one chromosome that are at most `width` bins apart."""
        selector = self._cooler.matrix(as_pixels=True, balance=self._balance or False, ignore_index=True)
        pixels = selector.fetch(chrom)
        offset = int(self._cooler.offset(chrom))
        low = pixels["bin1_id"].to_numpy(dtype=np.int64) - offset
        high = pixels["bin2_id"].to_numpy(dtype=np.int64) - offset
        value = pixels["count" if self._balance is None else "balanced"].to_numpy(dtype=np.float64)
        n_bins = -(-self.lengths[chrom] // self.resolution)
        if self._balance is None:
            # A bin without any contact cannot be mapped to: that it touches nothing is no measurement.
            seen = np.bincount(low, value, n_bins) + np.bincount(high, value, n_bins)
            valid = seen > 0
        else:
            weight = self._cooler.bins()[self._balance].fetch(chrom).to_numpy(dtype=np.float64)
            valid = np.isfinite(weight)
        near = (high - low <= width) & valid[low] & valid[high] & (value > 0)
        low, high, value = low[near], high[near], value[near]
        for part in (low, high, value):
            self._digest.update(np.ascontiguousarray(part).tobytes())
        return Band(low, high, value, valid)


def _open(file: Path, group: str) -> Any:
    cooler = require("cooler", extra="hic")
    if not file.is_file():
        raise InputError(f"seq.add_contacts: a cooler file was needed, found none at '{file}'. Fix: correct the path.")
    try:
        inside = [str(name) for name in cooler.fileops.list_coolers(str(file))]
    except OSError as err:
        raise InputError(
            f"seq.add_contacts: '{file}' is no cooler (.cool, .mcool): {err}. "
            "Fix: give one; `hic2cool` or `hictk convert` makes it of a .hic file."
        ) from err
    asked = f"/{group}"
    if asked not in inside:
        some = [f"'{file.name}::{name}'" for name in inside[:8]] + ["..."] * (len(inside) > 8)
        known = ", ".join(some) or "no map at all"
        raise InputError(
            f"seq.add_contacts: no map at '{asked}' in '{file.name}', found {known}. "
            "Fix: name one of them; a .mcool holds one for each resolution."
        )
    return cooler.Cooler(f"{file}::{asked}")


def _text(value: Any) -> str:
    told = "" if value is None else str(value)
    return "" if told == "unknown" else told
