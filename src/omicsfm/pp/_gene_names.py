"""One gene under many names: ids, case, and what a family was called before."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

_ENSEMBL = re.compile(r"^(ENSG\d{11})(?:\.\d+)?$")
_RENAMED = (
    (re.compile(r"^MARCH(\d+)$", re.IGNORECASE), r"MARCHF\1"),
    (re.compile(r"^SEPT(\d+)$", re.IGNORECASE), r"SEPTIN\1"),
    (re.compile(r"^([A-Z]ARS|EPRS)$"), r"\g<1>1"),
)


def gene_symbols(targets: Iterable[str], ids_path: str | Path) -> dict[str, str]:
    """Give the human gene symbol of each target: Ensembl ids are translated, other ways of case are mended.

    Families renamed since screens were first published (MARCH, SEPT, tRNA synthetases; Bruford et al. 2020, Nat Genet
    52:754) are found under their old names.

    Parameters
    ----------
    targets
        Symbols or Ensembl gene ids (with or without a version).
    ids_path
        Table with columns `symbol` and `ensembl_id`.

    Returns
    -------
    Target -> symbol; a target that the table does not know stays as it is.
    """
    table = pd.read_csv(ids_path, usecols=["symbol", "ensembl_id"], dtype=str)
    ensembl = table.dropna().drop_duplicates("ensembl_id").set_index("ensembl_id")["symbol"].to_dict()
    symbols = set(table["symbol"].dropna())
    upper = {symbol.upper(): symbol for symbol in sorted(symbols, reverse=True)}

    def symbol(target: str) -> str:
        match = _ENSEMBL.match(target.upper())
        if match:
            return ensembl.get(match[1], target)
        name = target if target in symbols else upper.get(target.upper(), target)
        new = (pattern.sub(to, name) for pattern, to in _RENAMED)
        return name if name in symbols else next((other for other in new if other in symbols), name)

    return {target: symbol(target) for target in targets}


def plain_name(name: str) -> str:
    """Give a gene's name in upper case, an Ensembl id without its version."""
    upper = name.upper()
    return upper.split(".")[0] if upper.startswith("ENS") else upper
