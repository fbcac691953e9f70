"""Count matrices of motifs: from a release of JASPAR, or from a MEME file."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

from omicsfm._errors import InputError
from omicsfm._optional import require

_RELEASES = tuple(f"JASPAR{year}" for year in range(2014, 2027, 2))
_SITES = 20.0  # what the MEME format says where a file does not


def read_motifs(
    db: str | Mapping[str, np.ndarray] = "JASPAR2026", *, taxon: str | None = "vertebrates"
) -> dict[str, np.ndarray]:
    """Read the count matrices of motifs.

    Parameters
    ----------
    db
        A release of JASPAR ("JASPAR2014" to "JASPAR2026", by way of the `seq` extra), of which the CORE collection is
        taken in its latest versions; or the path of a MEME file; or matrices of your own by name, (4, width) counts.
    taxon
        Of JASPAR's motifs: "vertebrates", "insects", "plants", "fungi", "nematodes", "urochordates"; None for all.

    Returns
    -------
    Name -> (4, width) float64 counts, rows A, C, G, T. Names of JASPAR are such as ``"MA0004.1 Arnt"``. The
    probabilities of a MEME file are multiplied by its `nsites` (20 where it has none).

    Raises
    ------
    InputError
        If there is no such release, taxon or file, or a matrix is none of counts.
    """
    if isinstance(db, Mapping):
        found = {str(name): np.asarray(matrix, dtype=np.float64) for name, matrix in db.items()}
    elif db in _RELEASES:
        found = dict(_jaspar(db, taxon))
    else:
        found = _meme(db)
    for name, matrix in found.items():
        counts = matrix.ndim == 2 and matrix.shape[0] == 4 and matrix.shape[1] > 0 and np.isfinite(matrix).all()
        if not counts or (matrix < 0).any() or not (matrix.sum(axis=0) > 0).all():
            raise InputError(
                f"seq.read_motifs: motif '{name}' must be (4, width) counts with something in every column, found "
                f"shape {matrix.shape}. Fix: give rows A, C, G, T of counts."
            )
    if not found:
        raise InputError("seq.read_motifs: there are no motifs. Fix: give at least one.")
    return found


@cache
def _jaspar(release: str, taxon: str | None) -> Mapping[str, np.ndarray]:
    source = require("pyjaspar", extra="seq").jaspardb(release=release)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there are none is told below
            found = source.fetch_motifs(collection=["CORE"], tax_group=None if taxon is None else [taxon])
    finally:
        source.conn.close()
    if not found:
        raise InputError(
            f"seq.read_motifs: {release} has no motifs of taxon '{taxon}'. "
            "Fix: choose vertebrates, insects, plants, fungi, nematodes or urochordates, or None for all."
        )
    table = {f"{motif.matrix_id} {motif.name}": motif.counts for motif in found}
    return {name: np.array([table[name][base] for base in "ACGT"], dtype=np.float64) for name in sorted(table)}


def _meme(db: str) -> dict[str, np.ndarray]:
    path = Path(db).expanduser()
    if not path.is_file():
        raise InputError(
            f"seq.read_motifs: db must be a release of JASPAR ({', '.join(_RELEASES)}), the path of a MEME file or "
            f"matrices by name, found '{db}'. Fix: give one of these."
        )
    found: dict[str, np.ndarray] = {}
    for block in re.split(r"^MOTIF\s+", path.read_text(encoding="utf-8", errors="replace"), flags=re.MULTILINE)[1:]:
        title, *lines = block.splitlines()
        name = " ".join(title.split())
        at = next((i for i, line in enumerate(lines) if line.startswith("letter-probability matrix:")), len(lines))
        told = dict(re.findall(r"(w|nsites)=\s*([\d.eE+]+)", "".join(lines[at : at + 1])))
        rows = [line.split() for line in itertools.takewhile(_is_row, lines[at + 1 :])]
        if not rows or name in found or ("w" in told and int(told["w"]) != len(rows)):
            raise InputError(
                f"seq.read_motifs: motif '{name}' of '{path}' has no letter-probability matrix of 4 columns and w= "
                "rows, or its name is there twice. Fix: give a file in the minimal MEME format, of DNA."
            )
        sites = float(told.get("nsites", 0)) or _SITES
        found[name] = np.array(rows, dtype=np.float64).T * sites
    return found


def _is_row(line: str) -> bool:
    return re.fullmatch(r"\s*([\d.eE+-]+\s+){3}[\d.eE+-]+\s*", line) is not None
