"""FASTA files whose records are the sequences themselves: promoters, peaks, reads."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from omicsfm import _compat
from omicsfm._errors import InputError
from omicsfm._progress import progress

_INTERVAL = re.compile(r"(?P<chrom>[^\s:=]+):(?P<start>-?\d+)-(?P<end>\d+)(?:\((?P<strand>[+-])\))?")
_STRAND = re.compile(r"strand=([+-])")  # UCSC's table browser
_UPSTREAM = re.compile(r"_up_\d+_\S+_([fr])\s")  # UCSC's upstream files


class Record(NamedTuple):
    """One record of a FASTA file: the first word of its header, the whole header, its letters."""

    name: str
    header: str
    sequence: str


class Place(NamedTuple):
    """Where a record lies, 0-based and half-open, and whether it is written on the minus strand (None = not told)."""

    chrom: str
    start: int
    end: int
    minus: bool | None


def check_file(function: str, path: str | os.PathLike[str]) -> Path:
    """Give the path of a file that is there, or say so."""
    found = Path(path).expanduser()
    if not found.is_file():
        raise InputError(f"{function}: a FASTA file was needed, found none at '{found}'. Fix: correct the path.")
    return found


def open_text(path: Path) -> IO[bytes]:
    """Open a FASTA file, plain or compressed by gzip or bgzip."""
    return gzip.open(path, "rb") if is_packed(path) else path.open("rb")  # type: ignore[return-value]


def is_packed(path: Path) -> bool:
    """Whether a file is compressed by gzip or bgzip, told by its first bytes."""
    with path.open("rb") as handle:
        return handle.read(2) == b"\x1f\x8b"


def records(function: str, path: str | os.PathLike[str]) -> Iterator[Record]:
    """Walk through the records of a FASTA file.

    Raises
    ------
    InputError
        If there is no such file, or it is no FASTA.
    """
    found = check_file(function, path)
    header: str | None = None
    lines: list[str] = []
    try:
        with open_text(found) as handle:
            for line in handle:
                text = line.decode("ascii", errors="replace").rstrip()
                if text.startswith(">"):
                    if header is not None:
                        yield _record(header, lines)
                    header, lines = text[1:].strip(), []
                elif header is not None:
                    lines.append(text)
                elif text and not text.startswith(";"):
                    raise InputError(
                        f"{function}: '{found}' is no FASTA: it starts with {text[:20]!r}, not with '>'. "
                        "Fix: give a FASTA file."
                    )
    except (EOFError, gzip.BadGzipFile) as err:
        raise InputError(f"{function}: '{found}' is damaged ({err}). Fix: fetch it anew.") from err
    if header is None:
        raise InputError(f"{function}: '{found}' has no record. Fix: give a FASTA file.")
    yield _record(header, lines)


def read_fasta(path: str | os.PathLike[str]) -> pd.Series:
    """Read all sequences of a FASTA file.

    Parameters
    ----------
    path
        FASTA, plain or compressed by gzip or bgzip.

    Returns
    -------
    Series of strings as they are written, by the first word of each header.

    Raises
    ------
    InputError
        If there is no such file, it is no FASTA, or two records have one name.
    """
    found = list(progress(records("seq.read_fasta", path), desc="read FASTA"))
    names = pd.Index([record.name for record in found], dtype=object)
    if not names.is_unique:
        twice = names[names.duplicated()][0]
        raise InputError(f"seq.read_fasta: '{path}' has two records '{twice}'. Fix: give every record its own name.")
    return pd.Series([record.sequence for record in found], index=names, dtype=object)


def read_regions(path: str | os.PathLike[str]) -> ad.AnnData:
    """Make features of the records of a FASTA file, without any cell: a place for embeddings of promoters or peaks.

    Parameters
    ----------
    path
        FASTA, plain or compressed by gzip or bgzip. Each header holds ``chrom:start-end``, in the first word or behind
        it, as bedtools and UCSC write it. Whether it counts from 0 (half-open) or from 1 (with its end) is told by the
        number of bases. The strand is that of ``(-)``, of ``strand=-`` or of UCSC's ``_r``.

    Returns
    -------
    AnnData (0, n_records), ``var`` by the first word of each header: `chrom`, `start` and `end` (0-based, half-open)
    and `strand`, where any is told.

    Raises
    ------
    InputError
        If there is no such file, a header holds no interval or one of another length, or two records have one name.
    """
    names, places = [], []
    for record in progress(records("seq.read_regions", path), desc="read FASTA"):
        found = place(record.header, len(record.sequence))
        if found is None:
            raise InputError(
                f"seq.read_regions: headers with chrom:start-end of the record's length were needed, found "
                f"'>{record.header}' of {len(record.sequence)} bases. Fix: write it there, as bedtools getfasta does."
            )
        names.append(record.name)
        places.append(found)
    var = pd.DataFrame(places, index=names, columns=list(Place._fields))
    if not var.index.is_unique:
        twice = var.index[var.index.duplicated()][0]
        raise InputError(f"seq.read_regions: '{path}' has two records '{twice}'. Fix: give every record its own name.")
    minus = var.pop("minus")
    if minus.notna().any():
        var["strand"] = pd.Categorical(minus.map({True: "-", False: "+"}).fillna("."), categories=["+", "-", "."])
    var["chrom"] = var["chrom"].astype("category")
    with _compat.quiet():
        return ad.AnnData(sparse.csr_matrix((0, len(var)), dtype=np.float32), var=var)


def tells_places(path: Path) -> bool:
    """Whether the first header holds an interval: a look at the rest of a genome would take a minute."""
    with open_text(path) as handle:
        return _INTERVAL.search(handle.readline().decode("ascii", errors="replace")) is not None


def place(header: str, n: int) -> Place | None:
    """Read from its header where a record of n bases lies; None if it is not told, or is of another length."""
    found = _INTERVAL.search(header)
    if found is None:
        return None
    start, end = int(found["start"]), int(found["end"])
    # An interval may have begun before its chromosome, in which case there are fewer bases.
    starts = [first for first in (max(start, 0), max(start - 1, 0)) if end - first == n]
    if not starts:
        return None
    strand = found["strand"]
    if strand is None and (other := _STRAND.search(header)):
        strand = other[1]
    if strand is None and (other := _UPSTREAM.search(f"{header} ")):
        strand = "-" if other[1] == "r" else "+"
    return Place(found["chrom"], starts[0], end, None if strand is None else strand == "-")


def _record(header: str, lines: list[str]) -> Record:
    return Record(header.split(maxsplit=1)[0] if header else "", header, "".join(lines))
